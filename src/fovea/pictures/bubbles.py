"""Networks as bubbles: accuracy against multiply-adds, the area is the parameters, a colour and a line is a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import UsageError
from fovea.pictures.figure import DOTS_PER_INCH, GREY, LEFT, fit, house_style, png, sheet, svg, width
from fovea.pictures.placing import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Array = NDArray[Any]

# Okabe and Ito's, without the yellow and black: pale on paper, taken by the text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7a5195")
Dash = Literal["-", "--", ":", "-.", ""]
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.")  # with a colour each: 28 families
FILLED, HOLLOW = PROTOCOLS = ("one view", "several views")
WIDTH, HEIGHT = 12.5, 8.6  # inches
WIDEST = 64.0  # points across the largest bubble
SMALL = 7.0  # points of a name
LINE = 9.0  # points from a name's foot to its head
APART = 5.0  # points between two names in a line
LONGEST = 1.8  # inches of a name
LED = 6.0  # points from which on a line leads to the name


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
        axes, side = figure.subplots(1, 2, width_ratios=(7, 1))
        _scales(axes, points)
        _families(axes, points)
        _legends(side, points)
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
    room = max(1.0, 0.1 * float(np.ptp(accuracies)))
    axes.set_ylim(min(accuracies) - room / 2, max(accuracies) + room)
    axes.set_xlabel("multiply-adds for an image")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.grid(True)


def _looks(points: Sequence[Bubble]) -> dict[str, tuple[str, Dash]]:
    """Each family's colour and line, in the order in which they appear."""
    families = dict.fromkeys(point.family for point in points)
    return {
        family: (COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])
        for place, family in enumerate(families)
    }


def _members(points: Sequence[Bubble], family: str) -> list[int]:
    """Where a family's members stand among the points, in the order of their multiply-adds."""
    found = [place for place, point in enumerate(points) if point.family == family]
    return sorted(found, key=lambda place: points[place].macs)


def _families(axes: Axes, points: Sequence[Bubble]) -> None:
    for family, (colour, dash) in _looks(points).items():
        members = [points[place] for place in _members(points, family)]
        macs, accuracies = [point.macs for point in members], [point.accuracy for point in members]
        axes.plot(macs, accuracies, dash, color=colour, linewidth=1.0, alpha=0.7, zorder=2, label=family)
        axes.scatter(
            macs,
            accuracies,
            s=[diameter(point.parameters, points) ** 2 for point in members],
            facecolors=[_face(colour, point.protocol) for point in members],
            edgecolors=colour,
            linewidths=1.1,
            zorder=3,
        )
        axes.plot(macs, accuracies, ".", color=colour, markersize=2, zorder=4)  # a leader ends in this middle


def _face(colour: str, protocol: str) -> tuple[float, float, float, float]:
    from matplotlib.colors import to_rgba

    return to_rgba(colour, 0.4 if protocol == FILLED else 0.0)


def _legends(side: Axes, points: Sequence[Bubble]) -> None:
    side.set_axis_off()
    families = [_dot(7, family, colour, dash=dash) for family, (colour, dash) in _looks(points).items()]
    _legend(side, "family", families, "upper left")
    _legend(side, "protocol", [_dot(9, view, GREY, protocol=view) for view in PROTOCOLS], "center left")
    top = 10 ** int(np.log10(max(point.parameters for point in points)))
    sizes = {count(size): diameter(size, points) for size in (top, top / 10, top / 100) if size >= 1}
    circles = [_dot(across, size, GREY, protocol=HOLLOW) for size, across in sizes.items()]
    _legend(side, "parameters (area)", circles, "lower left", tall=(max(sizes.values()) + 4) / 9)


def _legend(side: Axes, title: str, handles: list[Line2D], loc: Any, *, tall: float = 0.7) -> None:
    from matplotlib.legend import Legend

    style = {"alignment": "left", "handlelength": 3.4, "handleheight": tall, "labelspacing": max(0.5, tall / 3)}
    names = [str(handle.get_label()) for handle in handles]
    side.add_artist(Legend(side, handles, names, loc=loc, title=title, borderaxespad=0, **style))  # type: ignore[arg-type]


def _dot(across: float, label: str, colour: str, *, dash: Dash = "", protocol: str = FILLED) -> Line2D:
    from matplotlib.lines import Line2D

    dot = Line2D([], [], color=colour, linestyle=dash, marker="o", markersize=across, label=label)
    dot.set_markerfacecolor(_face(colour, protocol))
    dot.set_markeredgecolor(colour)
    return dot


def _names(axes: Axes, points: Sequence[Bubble]) -> None:
    """Every name beside its bubble; one that finds no room is left out."""
    from matplotlib.colors import to_rgb

    shown = [fit(point.name, LONGEST, SMALL) for point in points]
    centres, far = _in_points(axes, points)
    radii = np.array([diameter(point.parameters, points) / 2 for point in points])
    sizes = np.array([(72 * width(name, SMALL) + APART, LINE) for name in shown])
    looks = _looks(points)
    paths = [centres[_members(points, family)] for family in looks]
    boxes = place(centres, radii, sizes, paths=paths, frame=far)
    for point, name, centre, radius, box in zip(points, shown, centres, radii, boxes, strict=True):
        if box is not None:
            colour = tuple(0.6 * part for part in to_rgb(looks[point.family][0]))
            _name(axes, name, point, colour, box - np.tile(centre, 2), float(radius))


def _in_points(axes: Axes, points: Sequence[Bubble]) -> tuple[Array, Array]:
    """The bubbles' centres and the far corner of the axes, in points from their near corner."""
    corner, far = axes.bbox.get_points() * 72 / DOTS_PER_INCH
    places = np.array([(point.macs, point.accuracy) for point in points], dtype=float)
    return axes.transData.transform(places) * 72 / DOTS_PER_INCH - corner, far - corner


def _name(axes: Axes, text: str, point: Bubble, colour: tuple[float, ...], box: Array, radius: float) -> None:
    """The text in the box around the bubble's centre, with a line to the bubble where it stands far from it."""
    near = np.clip(0, box[:2], box[2:])  # of the box, to the bubble
    led = np.hypot(*near) - radius > LED
    line = {
        "arrowstyle": "-",
        "color": colour,
        "linewidth": 0.5,
        "shrinkA": 0,
        "shrinkB": 0,
        "patchA": None,
        "relpos": (near - box[:2]) / (box[2:] - box[:2]),
    }
    axes.annotate(
        text,
        (point.macs, point.accuracy),
        xytext=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SMALL,
        color=colour,
        arrowprops=line if led else None,
        bbox={"facecolor": "white", "alpha": 0.5, "pad": 0.3, "linewidth": 0},
        zorder=5,
    )
