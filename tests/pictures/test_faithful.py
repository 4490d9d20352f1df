"""Pictures of how far explanations can be trusted."""

from __future__ import annotations

import pytest

from fovea.errors import DataError, ShapeError
from fovea.pictures.faithful import (
    draw_curves,
    draw_randomisation,
    faithfulness_curves,
    randomisation_lines,
)
from fovea.pictures.figure import GREY


def test_deletion_stands_left_and_insertion_right_in_per_cent_and_the_random_order_is_grey_and_dashed() -> None:
    lines = {"a": [0.9, 0.1, 0.0], "b": [0.9, 0.5, 0.0]}, {"a": [0.0, 0.8, 0.9], "b": [0.0, 0.2, 0.9]}
    left, right = draw_curves([0.0, 0.5, 1.0], *lines, random=[0.9, 0.3, 0.0], title="t").axes
    assert [line.get_label() for line in left.lines] == ["a", "b", "random order"]
    assert [line.get_label() for line in right.lines] == ["a", "b"]
    assert list(left.lines[0].get_xdata()) == [0, 50, 100]
    assert list(left.lines[0].get_ydata()) == [90, 10, 0]
    assert list(right.lines[1].get_ydata()) == [0, 20, 90]
    assert left.lines[2].get_color() == GREY
    assert left.lines[2].get_linestyle() == "--"
    assert left.lines[0].get_color() == right.lines[0].get_color() != left.lines[1].get_color()


def test_without_a_random_order_there_is_no_line_for_it() -> None:
    left, _ = draw_curves([0.0, 1.0], {"a": [1.0, 0.0]}, {"a": [0.0, 1.0]}, title="t").axes
    assert [line.get_label() for line in left.lines] == ["a"]


def test_randomisation_begins_intact_at_one_and_shows_the_threshold() -> None:
    (axes,) = draw_randomisation(["head", "conv1"], {"a": [0.7, -0.2]}, threshold=0.5, title="t").axes
    assert list(axes.lines[0].get_ydata()) == [1.0, 0.7, -0.2]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["intact", "head", "conv1"]
    assert list(axes.lines[1].get_ydata()) == [0.5, 0.5]
    assert axes.get_ylim()[0] < -0.2


def test_equal_arguments_give_equal_pngs() -> None:
    curves = [0.0, 1.0], {"a": [1.0, 0.0]}, {"a": [0.0, 1.0]}
    first, second = (faithfulness_curves(*curves, title="t") for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert randomisation_lines(["head"], {"a": [0.1]}, threshold=0.5, title="t").startswith(b"\x89PNG")


def test_a_line_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="'a' has 3 points where there are 2"):
        draw_curves([0.0, 1.0], {"a": [1.0, 0.5, 0.0]}, {"a": [0.0, 1.0]}, title="t")
    with pytest.raises(ShapeError, match="'random order' has 1 points where there are 2"):
        draw_curves([0.0, 1.0], {"a": [1.0, 0.0]}, {"a": [0.0, 1.0]}, random=[1.0], title="t")
    with pytest.raises(ShapeError, match="'a' has 1 points where there are 2"):
        draw_randomisation(["head", "conv1"], {"a": [0.7]}, threshold=0.5, title="t")


def test_methods_that_differ_between_the_panels_or_are_too_many_are_refused() -> None:
    with pytest.raises(DataError, match="deletion is of a and insertion of b"):
        draw_curves([0.0], {"a": [1.0]}, {"b": [0.0]}, title="t")
    with pytest.raises(DataError, match="0 methods cannot be drawn"):
        draw_randomisation(["head"], {}, threshold=0.5, title="t")
    with pytest.raises(DataError, match="29 methods cannot be drawn; give 1 to 28"):
        draw_randomisation(["head"], {str(n): [0.1] for n in range(29)}, threshold=0.5, title="t")
