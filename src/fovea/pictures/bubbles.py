"""Networks as bubbles: accuracy against multiply-adds, the area is the parameters, a colour and a line is a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import UsageError
from fovea.pictures.figure import DOTS_PER_INCH, GREY, LEFT, fit, house_style, png, sheet, svg, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Array = NDArray[np.float64]

# Okabe and Ito's, without the yellow and black: pale on paper, taken by the text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7a5195")
DASHES = ("-", "--", ":", "-.")  # with a colour each: 28 families
PROTOCOLS = ("one view", "several views")  # filled, hollow
WIDTH, HEIGHT = 12.5, 8.6  # inches
WIDEST = 64.0  # points across the largest bubble
SMALL = 7.0  # points of a name
LINE = 9.0  # points from a name's foot to its head
LONGEST = 1.8  # inches of a name
GAPS = (2.0, 4.5, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0)  # points from a bubble's edge to its name
LED = 6.0  # points from which on a line leads to the name
DIRECTIONS = 24
STEPS = 8  # places of a leader that are looked at
CROWD = 60.0  # points within which bubbles crowd each other
UNCLEAR = 5.0  # ... to have its own bubble nearer than another one
INK, CLASH = 2.0, 120.0  # points of way that a name goes to cover one place less of a drawing, of a leader
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
    room = max(1.0, 0.1 * float(np.ptp(accuracies)))
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
        members = [points[place] for place in _members(points, family)]
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
    top = 10 ** int(np.log10(max(point.parameters for point in points)))
    sizes = [
        _dot(diameter(size, points), count(size), GREY, filled=False) for size in (top, top // 10, top // 100) if size
    ]
    figure.legend(handles=families, loc="outside right upper", title="family", alignment="left", handlelength=3)
    figure.legend(handles=views, loc="outside right center", title="protocol", alignment="left")
    figure.legend(handles=sizes, loc="outside right lower", title="parameters", alignment="left", handleheight=diameter(top, points) / 9, handlelength=diameter(top, points) / 9)


def _dot(across: float, label: str, colour: str, *, dash: str = "", filled: bool = True) -> Line2D:
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D

    face = to_rgba(colour, 0.4 if filled else 0.0)
    return Line2D([], [], linestyle=dash, marker="o", ms=across, mfc=face, mec=colour, color=colour, label=label)


def _names(axes: Axes, points: Sequence[Bubble]) -> None:
    """Every name beside its bubble; one that finds no room is left out."""
    from matplotlib.colors import to_rgb

    shown = [fit(point.name, LONGEST, SMALL) for point in points]
    centres, far = _in_points(axes, points)
    radii = np.array([diameter(point.parameters, points) / 2 for point in points])
    sizes = np.array([(72 * width(name, SMALL) + 2, LINE) for name in shown])
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
        "relpos": (near - box[:2]) / (box[2:] - box[:2]),
    }
    axes.annotate(
        text,
        (point.macs, point.accuracy),
        xytext=(box[:2] + box[2:]) / 2,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SMALL,
        color=colour,
        arrowprops=line if led else None,
        zorder=5,
    )


def place(centres: Array, radii: Array, sizes: Array, *, paths: Sequence[Array], frame: Array) -> list[Array | None]:
    """A box (left, bottom, right, top) of each size beside its circle, no two over each other; None where none fits.

    The most crowded circle chooses first, then each chooses again in turn, knowing all others: the same every time.

    Args:
        centres: (n, 2) The circles' centres, in points.
        radii: (n,) Their radii.
        sizes: (n, 2) Width and height of the boxes.
        paths: Lines, (k, 2) each, that the boxes had better not cover.
        frame: The right and the top that no box passes; the left and the bottom are 0.
    """
    boxes: list[Array | None] = [None] * len(centres)
    apart = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    order = np.argsort(-(apart < CROWD).sum(axis=1), kind="stable")
    drawn = np.concatenate([*map(_rings, centres, radii), *map(_along, paths)])
    for _ in range(ROUNDS):
        for each in order:
            others = [other for other, box in enumerate(boxes) if other != each and box is not None]
            taken = np.array([boxes[other] for other in others]).reshape(-1, 4)
            lines = _leaders(centres[others], radii[others], taken).reshape(-1, 2)
            choices, price = _choices(centres[each], radii[each], sizes[each])
            fits = ((choices[:, :2] >= 0) & (choices[:, 2:] <= frame)).all(axis=1) & ~_meet(choices, taken).any(axis=1)
            ways = _leaders(centres[each : each + 1], radii[each], choices)
            hidden = _inside(ways.reshape(-1, 2), taken).any(axis=0).reshape(-1, STEPS)
            clashes = _inside(lines, choices).sum(axis=1) + hidden.sum(axis=1)
            near = drawn[(np.abs(drawn - centres[each]) < radii[each] + GAPS[-1] + sizes[each]).all(axis=1)]
            price += INK * _inside(near, choices).sum(axis=1) + CLASH * clashes
            price += UNCLEAR * _nearer(choices, centres, radii, each)
            boxes[each] = choices[np.argmin(np.where(fits, price, np.inf))] if fits.any() else None
    return boxes


def _choices(centre: Array, radius: float, size: Array) -> tuple[Array, Array]:
    """The boxes that a name may have, and how far each is from its bubble."""
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = radius + np.array(GAPS)
    middles = reach[:, None, None] * ways + np.clip(1.5 * ways, -1, 1) * size / 2
    price = np.repeat(np.array(GAPS), DIRECTIONS) + np.tile(np.arange(DIRECTIONS) * 1e-3, len(GAPS))
    middles = centre + np.concatenate([middles.reshape(-1, 2), [(0.0, 0.0), (0.0, radius / 3), (0.0, -radius / 3)]])
    price = np.append(price, [0.0 if 2 * radius > size[0] + 12 else np.inf] * 3)  # within the bubble
    return np.concatenate([middles - size / 2, middles + size / 2], axis=1), price


def _leaders(centres: Array, radii: Array, boxes: Array) -> Array:
    """The lines from the boxes to their circles' edges, as STEPS places each: (n, STEPS, 2)."""
    near = np.clip(centres, boxes[:, :2], boxes[:, 2:])
    away = near - centres
    far = np.hypot(*away.T)
    edge = centres + away * np.minimum(1, radii / np.maximum(far, 1e-9))[:, None]
    return edge[:, None] + (near - edge)[:, None] * np.linspace(0, 1, STEPS)[:, None]


def _rings(centre: Array, radius: float) -> Array:
    """A circle's edge, and a sparser ring within, as places."""
    angles = np.linspace(0, 2 * np.pi, 8 + int(radius), endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([centre + radius * ring, centre + radius / 2 * ring[::2]])


def _along(path: Array) -> Array:
    """A line as places, some points apart."""
    parts = [
        start + (end - start) * np.linspace(0, 1, 2 + int(np.hypot(*(end - start)) / 4))[:, None]
        for start, end in pairwise(path)
    ]
    return np.concatenate([path[:0], *parts])


def _nearer(boxes: Array, centres: Array, radii: Array, own: int) -> Array:
    """How many circles lie nearer to each of the boxes than its own one."""
    far = np.clip(centres, boxes[:, None, :2], boxes[:, None, 2:]) - centres
    edge = np.hypot(far[..., 0], far[..., 1]) - radii
    return np.asarray((edge < edge[:, own, None]).sum(axis=1), dtype=float)


def _inside(places: Array, boxes: Array) -> Array:
    """Which of the places lie in which of the boxes: (boxes, places)."""
    return ((places >= boxes[:, None, :2]) & (places <= boxes[:, None, 2:])).all(axis=2)


def _meet(boxes: Array, others: Array) -> Array:
    """Which of the boxes lie over which of the others: (boxes, others)."""
    return ((boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])).all(axis=2)


def _members(points: Sequence[Bubble], family: str) -> list[int]:
    """Where a family's members stand among the points, in the order of their multiply-adds."""
    found = [place for place, point in enumerate(points) if point.family == family]
    return sorted(found, key=lambda place: points[place].macs)
