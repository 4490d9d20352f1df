"""Networks as bubbles: accuracy against multiply-adds, the area is the parameters, a colour and a line is a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import UsageError
from fovea.pictures.figure import GREY, LEFT, fit, house_style, png, sheet, svg, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Points = NDArray[np.float64]

# Okabe and Ito's, without the yellow and black: pale on paper, taken by the text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7a5195")
DASHES = ("-", "--", ":", "-.")  # with a colour each: 28 families
PROTOCOLS = ("one view", "several views")  # filled, hollow
WIDTH, HEIGHT = 12.5, 8.6  # inches
WIDEST = 72.0  # points across the largest bubble
SMALL = 7.0  # points of a name
LINE = 9.0  # points from a name's foot to its head
LONGEST = 1.8  # inches of a name
GAPS = (1.0, 4.0, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0)  # points from a bubble's edge to its name
LED = 6.0  # points from which on a line leads to the name
DIRECTIONS = 24
ROUNDS = 4  # of placing every name anew among the others


class Bubble(NamedTuple):
    """One network; accuracy is top-1 in per cent, protocol "one view" or "several views"."""

    name: str
    family: str
    macs: int
    parameters: int
    accuracy: float
    protocol: str


def bubbles(points: Sequence[Bubble], *, title: str, note: str = "", form: Literal["png", "svg"] = "png") -> bytes:
    """A picture of accuracy against multiply-adds, a bubble for each network.

    Args:
        points: The networks; the members of a family are joined in the order of their multiply-adds.
        title: Stands above.
        note: Stands below.
        form: "png", or "svg" whose text is text.

    Raises:
        UsageError: no network at all, or one that has no place on the axes.
    """
    figure = draw(points, title=title, note=note)
    return svg(figure) if form == "svg" else png(figure)


def draw(points: Sequence[Bubble], *, title: str, note: str = "") -> Figure:
    """The figure of `bubbles`."""
    _check(points)
    with house_style():
        figure = sheet(WIDTH, HEIGHT, title)
        axes = figure.subplots()
        _scales(axes, points)
        _families(axes, points)
        _legends(figure, points)
        if note:
            lines = textwrap.fill(note, width=int(WIDTH * 13))
            figure.supxlabel(lines, x=LEFT / WIDTH, ha="left", fontsize=8, color=GREY)
        figure.draw_without_rendering()  # the layout settles before names look for room
        figure.set_layout_engine("none")
        _names(axes, points)
    return figure


def _check(points: Sequence[Bubble]) -> None:
    if not points:
        raise UsageError("there is no network to draw; bubbles want at least one")
    for point in points:
        for what, count in (("macs", point.macs), ("parameters", point.parameters)):
            if count <= 0:
                raise UsageError(f"{what} of {point.name} (={count}) must be positive; its axis is logarithmic")
        if not 0 <= point.accuracy <= 100:
            raise UsageError(
                f"accuracy of {point.name} (={point.accuracy:g}) must lie in [0, 100]; give it in per cent"
            )
        if point.protocol not in PROTOCOLS:
            raise UsageError(f"protocol of {point.name} (={point.protocol!r}) must be one of {', '.join(PROTOCOLS)}")


def diameter(parameters: float, points: Sequence[Bubble]) -> float:
    """Points across a bubble of so many parameters, where the largest of these bubbles is WIDEST across."""
    return float(WIDEST * np.sqrt(parameters / max(point.parameters for point in points)))


def count(number: float) -> str:
    """A count in k, M and G: 50 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:g} {unit}"
    return f"{number:g}"


def _scales(axes: Axes, points: Sequence[Bubble]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    logs = np.log10([point.macs for point in points])
    room = max(0.15, 0.06 * float(np.ptp(logs)))
    axes.set_xlim(10 ** (logs.min() - room), 10 ** (logs.max() + room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda macs, _: count(macs)))
    axes.xaxis.set_minor_locator(NullLocator())
    accuracies = [point.accuracy for point in points]
    room = max(1.0, 0.06 * float(np.ptp(accuracies)))
    axes.set_ylim(min(accuracies) - room, max(accuracies) + room)
    axes.set_xlabel("multiply-adds for an image")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.grid(True)


def _looks(points: Sequence[Bubble]) -> dict[str, tuple[str, str]]:
    """Each family's colour and line, in the order in which they appear."""
    families = dict.fromkeys(point.family for point in points)
    return {
        family: (COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])
        for place, family in enumerate(families)
    }


def _families(axes: Axes, points: Sequence[Bubble]) -> None:
    from matplotlib.colors import to_rgba

    for family, (colour, dash) in _looks(points).items():
        members = sorted((point for point in points if point.family == family), key=lambda point: point.macs)
        places = [(point.macs, point.accuracy) for point in members]
        axes.plot(*zip(*places, strict=True), dash, color=colour, linewidth=1.0, alpha=0.7, zorder=2, label=family)
        axes.scatter(
            *zip(*places, strict=True),
            s=[diameter(point.parameters, points) ** 2 for point in members],
            facecolors=[to_rgba(colour, 0.4 if point.protocol == PROTOCOLS[0] else 0.0) for point in members],
            edgecolors=colour,
            linewidths=1.1,
            zorder=3,
        )


def _legends(figure: Figure, points: Sequence[Bubble]) -> None:
    families = [_dot(7, family, colour, dash=dash) for family, (colour, dash) in _looks(points).items()]
    views = [_dot(9, "one view", GREY), _dot(9, "several views", GREY, filled=False)]
    top = max(point.parameters for point in points)
    sizes = [
        _dot(diameter(top * share, points), count(float(f"{top * share:.1g}")), GREY, filled=False)
        for share in (1, 0.1, 0.01)
    ]
    figure.legend(handles=families, loc="outside right upper", title="family", alignment="left", handlelength=3)
    figure.legend(handles=views, loc="outside right center", title="protocol", alignment="left")
    figure.legend(handles=sizes, loc="outside right lower", title="parameters", alignment="left", labelspacing=2)


def _dot(across: float, label: str, colour: str, *, dash: str = "", filled: bool = True) -> Line2D:
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D

    face = to_rgba(colour, 0.4 if filled else 0.0)
    return Line2D([], [], linestyle=dash, marker="o", ms=across, mfc=face, mec=colour, color=colour, label=label)


def _names(axes: Axes, points: Sequence[Bubble]) -> None:
    """Every name beside its bubble where there is room; one that finds none is left out."""
