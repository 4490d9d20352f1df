"""Networks as bubbles: accuracy against multiply-adds, the area is the parameters, a colour and a line is a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import UsageError
from fovea.pictures.figure import DOTS_PER_INCH, GREY, LEFT, fit, house_style, png, sheet, svg, width

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
GAPS = (0.5, 4.5, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 66.0, 82.0)  # points from a bubble's edge to its name
LED = 6.0  # points from which on a line leads to the name
DIRECTIONS = 24
STEPS = 8  # places of a leader that are looked at
CROWD = 60.0  # points within which bubbles crowd each other
UNCLEAR = 8.0  # points of way that a name goes to have its own bubble nearest
INK, CLASH = 8.0, 60.0  # points of way that a name goes to cover one place less of a drawing, of a leader
ROUNDS = 5  # of placing every name anew among the others


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


class Scene(NamedTuple):
    """What stands in the way of names, in points: circles, their names' sizes, places that are drawn on, the corner."""

    centres: Array
    radii: Array
    sizes: Array
    drawn: Array
    frame: Array


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
    rings = centres[:, None] + np.array([1, 0.5])[:, None, None, None] * radii[:, None, None] * _circle(12)
    drawn = np.concatenate([rings.reshape(-1, 2), *map(_along, paths)])
    scene = Scene(centres, radii, sizes, drawn, frame)
    apart = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    order = np.argsort(-(apart < CROWD).sum(axis=1), kind="stable")
    boxes: dict[int, Array] = {}
    for each in list(map(int, order)) * ROUNDS:
        boxes.pop(each, None)
        choices, price = _choices(scene, each)
        price += _in_the_way(scene, each, choices, boxes)
        if np.isfinite(price).any():
            boxes[each] = choices[np.argmin(price)]
    return [boxes.get(each) for each in range(len(centres))]


def _in_the_way(scene: Scene, each: int, choices: Array, boxes: dict[int, Array]) -> Array:
    """What each choice costs for what it covers: infinity for another name."""
    taken = np.array([*boxes.values()]).reshape(-1, 4)
    lines, ways = _leaders(scene, list(boxes), taken), _leaders(scene, [each], choices)
    hidden = _inside(ways.reshape(-1, 2), taken).any(axis=0).reshape(-1, STEPS).sum(axis=1)
    clashes = hidden + _inside(lines.reshape(-1, 2), choices).sum(axis=1) + _cross(ways, lines).sum(axis=1)
    covered = _inside(scene.drawn, choices).sum(axis=1)
    within = ((choices[:, :2] >= 0) & (choices[:, 2:] <= scene.frame)).all(axis=1)
    price = INK * covered + CLASH * clashes + UNCLEAR * _nearer(scene, each, choices)
    return np.where(within & ~_meet(choices, taken).any(axis=1), price, np.inf)


def _choices(scene: Scene, each: int) -> tuple[Array, Array]:
    """The boxes that a name may have around its bubble, and how far each is from it."""
    ways = _circle(DIRECTIONS)
    reach = scene.radii[each] + np.array(GAPS)[:, None, None]
    middles = scene.centres[each] + reach * ways + np.clip(1.5 * ways, -1, 1) * scene.sizes[each] / 2
    middles = middles.reshape(-1, 2)
    half = scene.sizes[each] / 2
    return np.concatenate([middles - half, middles + half], axis=1), np.repeat(np.array(GAPS), DIRECTIONS)


def _leaders(scene: Scene, owners: list[int], boxes: Array) -> Array:
    """The lines from the edges of the owners' circles to the boxes, as STEPS places each: (boxes, STEPS, 2)."""
    near = np.clip(scene.centres[owners], boxes[:, :2], boxes[:, 2:])
    away = near - scene.centres[owners]
    share = np.minimum(1, scene.radii[owners] / np.maximum(np.hypot(*away.T), 1e-9))
    lines: Array = near[:, None] - (away * (1 - share)[:, None])[:, None] * np.linspace(1, 0, STEPS)[:, None]
    return lines


def _cross(ways: Array, lines: Array) -> Array:
    """Which of the leaders cross which of the others: (ways, lines)."""

    def left(start: Array, end: Array, place: Array) -> Array:
        a, b = end - start, place - start
        return np.asarray(a[..., 0] * b[..., 1] > a[..., 1] * b[..., 0])

    a, b, c, d = ways[:, :1], ways[:, -1:], lines[:, 0], lines[:, -1]
    return np.asarray((left(c, d, a) != left(c, d, b)) & (left(a, b, c) != left(a, b, d)))


def _circle(steps: int) -> Array:
    angles = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _along(path: Array) -> Array:
    """A line as places, at most 4 points apart."""
    parts = [np.linspace(one, other, 2 + int(np.hypot(*(other - one)) / 4)) for one, other in pairwise(path)]
    return np.concatenate([path, *parts])


def _nearer(scene: Scene, own: int, boxes: Array) -> Array:
    """How many circles lie nearer to each of the boxes than its own one."""
    near = np.clip(scene.centres, boxes[:, None, :2], boxes[:, None, 2:]) - scene.centres
    edge = np.hypot(near[..., 0], near[..., 1]) - scene.radii
    return np.asarray((edge < edge[:, own, None]).sum(axis=1))


def _inside(places: Array, boxes: Array) -> Array:
    """Which of the places lie in which of the boxes: (boxes, places)."""
    x, y = places.T
    left, bottom, right, top = boxes.T[..., None]
    return np.asarray((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def _meet(boxes: Array, others: Array) -> Array:
    """Which of the boxes lie over which of the others: (boxes, others)."""
    return np.asarray(((boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])).all(axis=2))
