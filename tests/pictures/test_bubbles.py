"""The bubbles: equal bytes, areas as the parameters, names beside their bubbles and over nothing else."""

from __future__ import annotations

import io
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fovea.commands.drawing import catalogue_bubbles
from fovea.errors import UsageError
from fovea.pictures.bubbles import FILLED, HOLLOW, Bubble, bubbles, count, draw, place

BUBBLES = [
    Bubble("small", "one", 300_000_000, 2_500_000, 71.0, FILLED),
    Bubble("large", "one", 4_000_000_000, 40_000_000, 76.5, HOLLOW),
    Bubble("middle", "one", 1_000_000_000, 10_000_000, 74.0, FILLED),
    Bubble('<b>$x$ & "y"</b>', "two", 1_000_000_000, 10_000_000, 74.0, FILLED),
]
TEXT = "{http://www.w3.org/2000/svg}text"


def texts(content: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(content).iter(TEXT)]


@pytest.fixture(scope="module")
def catalogue():
    points = catalogue_bubbles()
    return points, draw(points, title="the catalogue", note="a note")


@pytest.mark.parametrize("form", ["png", "svg"])
def test_equal_arguments_give_equal_bytes(form):
    first, second = (bubbles(BUBBLES, title="t", form=form) for _ in range(2))
    assert first == second


def test_the_forms_are_what_they_are_called():
    assert Image.open(io.BytesIO(bubbles(BUBBLES, title="t"))).format == "PNG"
    assert ElementTree.fromstring(bubbles(BUBBLES, title="t", form="svg")).tag.endswith("svg")


def test_every_text_stands_in_the_svg_as_text():
    found = texts(bubbles(BUBBLES, title="the title", note="the note", form="svg"))
    assert {"the title", "the note", "family", "one", "two", FILLED, HOLLOW, "parameters (area)", "10 M"} <= set(found)
    assert {point.name for point in BUBBLES} <= set(found)


def test_the_area_is_the_parameters_and_a_hollow_bubble_is_several_views():
    axes = draw(BUBBLES, title="t").axes[0]
    one, two = axes.collections
    areas = [*one.get_sizes(), *two.get_sizes()]
    assert areas == pytest.approx([areas[2] * share for share in (1 / 16, 1 / 4, 1, 1 / 4)])
    assert [face[3] > 0 for face in one.get_facecolors()] == [True, True, False]


def test_a_family_is_joined_in_the_order_of_its_multiply_adds_and_has_its_own_look():
    axes = draw(BUBBLES, title="t").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["one"].get_xdata()) == [300_000_000, 1_000_000_000, 4_000_000_000]
    many = [point._replace(family=str(place)) for place, point in enumerate(BUBBLES * 5)]
    lines = [line for line in draw(many, title="t").axes[0].lines if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


def test_the_axes_speak_in_millions_and_billions():
    axes = draw(BUBBLES, title="t").axes[0]
    labels = {axes.xaxis.get_major_formatter()(tick, 0) for tick in axes.xaxis.get_major_locator()()}
    assert {"500 M", "1 G", "2 G"} <= labels
    assert axes.get_xscale() == "log"
    assert [count(number) for number in (7, 5_000, 50e6, 2e9)] == ["7", "5 k", "50 M", "2 G"]


def test_every_network_of_the_catalogue_has_its_name(catalogue):
    points, figure = catalogue
    assert len(points) > 50
    assert sorted(text.get_text() for text in figure.axes[0].texts) == sorted(point.name for point in points)


def test_names_overlap_neither_each_other_nor_the_edge_of_the_axes(catalogue):
    _, figure = catalogue
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [type(text).__mro__[1].get_window_extent(text) for text in axes.texts]  # the text's, without its leader
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    assert all(axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1 for box in boxes)


def test_the_bubbles_and_the_legends_stand_within_the_figure(catalogue):
    _, figure = catalogue
    figure.draw_without_rendering()
    axes, side = figure.axes
    for collection in axes.collections:
        middles = axes.transData.transform(collection.get_offsets())
        radii = np.sqrt(collection.get_sizes())[:, None] / 2 * figure.dpi / 72
        assert (middles - radii >= axes.bbox.p0).all()
        assert (middles + radii <= axes.bbox.p1).all()
    boxes = [legend.get_window_extent() for legend in side.artists]
    assert len(boxes) == 3
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(axes.bbox.x1 < box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


def test_the_legends_show_sizes_true_to_scale_and_both_protocols():
    figure = draw(BUBBLES, title="t")
    dots = {dot.get_label(): dot for legend in figure.axes[1].artists for dot in legend.legend_handles}
    across = np.sqrt(figure.axes[0].collections[1].get_sizes()[0])  # of 10 million parameters
    assert dots["10 M"].get_markersize() == pytest.approx(across)
    assert dots["1 M"].get_markersize() == pytest.approx(across / np.sqrt(10))
    assert [dots[view].get_markerfacecolor()[3] > 0 for view in (FILLED, HOLLOW)] == [True, False]
    assert all(dot.get_markeredgecolor() == dot.get_color() for dot in dots.values())


def test_a_box_that_finds_no_room_is_left_out():
    centres, radii, frame = np.array([[20.0, 5.0], [20.0, 5.0]]), np.array([1.0, 1.0]), np.array([40.0, 10.0])
    boxes = place(centres, radii, np.array([[15.0, 9.0], [200.0, 9.0]]), paths=[centres], frame=frame)
    assert boxes[0] is not None
    assert boxes[1] is None


def test_one_network_alone_is_drawn():
    assert "small" in texts(bubbles(BUBBLES[:1], title="t", form="svg"))


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([], "there is no network to draw"),
        ([BUBBLES[0]._replace(macs=0)], r"macs of small \(=0\) must be positive"),
        ([BUBBLES[0]._replace(parameters=-1)], r"parameters of small \(=-1\)"),
        ([BUBBLES[0]._replace(accuracy=float("nan"))], r"accuracy of small \(=nan\) must lie in \[0, 100\]"),
        ([BUBBLES[0]._replace(protocol="many")], "protocol of small .='many'. must be one of one view, several views"),
    ],
)
def test_what_cannot_be_drawn_is_refused(points, said):
    with pytest.raises(UsageError, match=said):
        bubbles(points, title="t")
