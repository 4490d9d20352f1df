"""The challenge by year as a picture: a bar for each, the human line, equal bytes, errors with their numbers."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from PIL import Image

from fovea.errors import DataError
from fovea.pictures.figure import BLUE, DOTS_PER_INCH, GREY
from fovea.pictures.history import Bar, challenge_history, draw

BARS = [
    Bar(2011, "XRCE", None, 25.8, 31.0),
    Bar(2012, "SuperVision", "AlexNet", 15.3, 26.2),
    Bar(2017, "a team whose name is far too long for a bar", "a network whose name is far too long", 0.4, None),
]


def test_a_picture_is_a_png_and_equal_for_equal_arguments():
    first, second = (challenge_history(BARS, human_error=5.1, title="t") for _ in range(2))
    image = Image.open(io.BytesIO(first))
    assert first == second
    assert image.format == "PNG"
    assert min(image.size) > 2 * DOTS_PER_INCH


def test_bars_are_the_errors_and_grey_where_no_network_won():
    axes = draw(BARS, human_error=5.1, title="t").axes[0]
    bars = {round(bar.get_height(), 3): bar.get_facecolor() for bar in axes.patches}
    from matplotlib.colors import to_rgba

    assert bars == {25.8: to_rgba(GREY), 15.3: to_rgba(BLUE), 0.4: to_rgba(BLUE)}


def test_runners_up_and_the_human_line_stand_where_they_belong():
    axes = draw(BARS, human_error=5.1, title="t").axes[0]
    dots, line = axes.lines
    assert dots.get_ydata().tolist() == [31.0, 26.2]
    assert line.get_ydata() == [5.1, 5.1]
    assert axes.get_ylim()[1] > 31.0


def test_names_are_cut_and_a_low_bar_carries_its_number_on_top():
    axes = draw(BARS, human_error=5.1, title="t").axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[:2] == ["2011\nXRCE", "2012\nAlexNet"]
    assert "…" in labels[2]
    assert [text.get_text() for text in axes.texts] == ["25.8", "15.3", "0.4"]
    assert [text.xy[1] for text in axes.texts] == [0, 0, 0.4]


def test_nothing_is_cut_off_and_no_names_overlap():
    figure = draw(BARS * 3, human_error=5.1, title="t")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize(
    ("bars", "human", "said"),
    [
        ([], 5.1, "there is no year"),
        ([BARS[0]._replace(error=101.0)], 5.1, r"error of 2011 \(=101\) must lie in \[0, 100\]"),
        ([BARS[0]._replace(runner_up_error=float("nan"))], 5.1, r"runner_up_error of 2011 \(=nan\)"),
        (BARS, -1.0, r"human_error \(=-1\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(bars, human, said):
    with pytest.raises(DataError, match=said):
        challenge_history(bars, human_error=human, title="t")
