"""Curves of accuracy against a change."""

from __future__ import annotations

import pytest

from fovea.errors import ShapeError
from fovea.pictures.sweep import draw


def test_a_line_for_each_name_in_per_cent_and_a_band_where_there_are_intervals() -> None:
    lines = {"net": ([1.0, 0.5], [(0.9, 1.0), (0.4, 0.6)]), "other": ([0.3, 0.2], [])}
    (axes,) = draw([0, 4], lines, change="shift, pixels", title="t").axes
    assert [line.get_label() for line in axes.lines] == ["net", "other"]
    assert list(axes.lines[0].get_ydata()) == [100, 50]
    assert len(axes.collections) == 1


def test_a_line_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="'net' has 1 points for 2 values"):
        draw([0, 4], {"net": ([1.0], [])}, change="shift", title="t")
