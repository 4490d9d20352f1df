"""Runs over each other: a line for each, told apart, equal bytes, errors with their numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fovea.errors import DataError
from fovea.pictures import overlay
from fovea.pictures.overlay import MOST, Curve, draw


def rows(count, accuracy=0.5, loss=1.0):
    return [{"epoch": n, "loss": loss / n, "validation_accuracy": accuracy} for n in range(1, count + 1)]


def test_a_picture_is_a_png_and_equal_for_equal_arguments():
    curves = [Curve("lr 0.1", [rows(3)]), Curve("lr 0.2", [rows(5, 0.6)])]
    first, second = (overlay(curves, title="t") for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).format == "PNG"


def test_every_run_is_a_line_in_both_panels_and_once_in_the_legend():
    curves = [Curve("a", [rows(3)]), Curve("b", [rows(5, 0.6)]), Curve("seeds", [rows(2), rows(2, 0.7)])]
    figure = draw(curves, title="t")
    loss, accuracy = figure.axes
    assert [len(axes.lines) for axes in (loss, accuracy)] == [4, 4]
    assert loss.lines[0].get_ydata().tolist() == [1.0, 0.5, pytest.approx(1 / 3)]
    assert accuracy.lines[1].get_ydata().tolist() == [60.0] * 5
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "seeds"]
    assert loss.lines[2].get_color() == loss.lines[3].get_color()
    assert loss.lines[2].get_linewidth() < loss.lines[0].get_linewidth()


def test_all_runs_that_fit_are_told_apart():
    lines = draw([Curve(str(n), [rows(2)]) for n in range(MOST)], title="t").axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == MOST


def test_nothing_is_cut_off_where_there_are_many_with_long_names():
    figure = draw([Curve(f"{n} a name that is far too long " * 9, [rows(2)]) for n in range(MOST)], title="t")
    figure.draw_without_rendering()
    box, legend = figure.bbox, figure.legends[0].get_window_extent()
    assert box.x0 <= legend.x0
    assert legend.x1 <= box.x1
    assert box.y0 <= legend.y0
    panels = [axes.get_window_extent() for axes in figure.axes]
    assert all(panel.height > 150 and legend.y1 < panel.y0 for panel in panels)


def test_a_loss_over_more_than_two_decades_is_logarithmic():
    assert draw([Curve("a", [rows(3)])], title="t").axes[0].get_yscale() == "linear"
    wide = draw([Curve("a", [rows(3)]), Curve("b", [rows(3, loss=0.001)])], title="t").axes[0]
    assert wide.get_yscale() == "log"
    assert wide.get_title(loc="left") == "Training loss (logarithmic scale)"


def test_what_was_not_measured_is_left_out():
    gaps = [{"epoch": 1, "loss": None}, {"epoch": 2, "loss": float("nan")}, {"epoch": 3, "loss": 2.0}]
    figure = draw([Curve("a", [gaps]), Curve("b", [[]])], title="t")
    loss, accuracy = figure.axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[3.0, 2.0]]]
    assert accuracy.texts[0].get_text() == "not measured"
    assert overlay([Curve("a", [gaps])], title="t").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ([], "none of the runs has finished an epoch"),
        ([Curve("a", [[]]), Curve("b", [])], "none of the runs has finished an epoch"),
        ([Curve("a", [rows(1)])] * (MOST + 1), f"{MOST + 1} runs cannot be told apart"),
        ([Curve("a", [rows(1, 97.5)])], r"validation_accuracy \(=97.5\) of a must lie in \[0, 1\]"),
        ([Curve("a", [rows(1, np.float64(-0.1))])], r"validation_accuracy \(=-0.1\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(curves, said):
    with pytest.raises(DataError, match=said):
        overlay(curves, title="t")
