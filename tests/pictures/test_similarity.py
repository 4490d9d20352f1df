"""A matrix of similarities."""

import numpy as np
import pytest

from fovea.errors import ShapeError
from fovea.pictures.similarity import NUMBERED, draw, similarity

MATRIX = np.array([[1.0, 0.2, 0.5], [0.3, 0.9, 0.1]])


def test_rows_columns_and_numbers_stand_where_they_belong():
    figure = draw(MATRIX, ["a", "b"], ["x", "y", "z"], title="t", words=("one", "two"))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.20", "0.50", "0.30", "0.90", "0.10"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("one", "two")


def test_large_matrices_have_no_numbers():
    names = [f"layer {n}" for n in range(NUMBERED + 1)]
    assert not draw(np.eye(NUMBERED + 1), names, names, title="t", words=("", "")).axes[0].texts


def test_it_is_the_same_png_each_time_and_names_must_fit():
    drawn = similarity(MATRIX, ["a", "b"], ["x", "y", "z"], title="t")
    assert drawn.startswith(b"\x89PNG")
    assert drawn == similarity(MATRIX, ["a", "b"], ["x", "y", "z"], title="t")
    with pytest.raises(ShapeError, match=r"matrix \(shape \(2, 3\)\) must be of 3 rows and 3 columns"):
        similarity(MATRIX, ["a", "b", "c"], ["x", "y", "z"], title="t")
