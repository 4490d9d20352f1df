"""Accuracy against what it costs, a panel for each cost, with the front that nothing lies above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fovea.errors import DataError
from fovea.pictures.bubbles import COLOURS, count
from fovea.pictures.figure import GREY, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
NAME = 2.6  # inches of a name in the legend
WIDE = 100.0  # times the least cost, from which on an axis has a number for each power of ten alone


class Point(NamedTuple):
    """A network: accuracy and its interval in per cent, its costs, and those for which it lies on the front."""

    name: str
    accuracy: float
    low: float
    high: float
    costs: Mapping[str, float | None]
    front: tuple[str, ...]


def pareto(points: Sequence[Point], costs: Mapping[str, str], *, title: str) -> bytes:
    """A PNG with a panel for each cost that is known of some network; filled marks lie on its front.

    Args:
        points: The networks.
        costs: What each cost is called on its axis, by the name under which the points have it.
        title: Stands above.

    Raises:
        DataError: no point, or none whose costs are known.
    """
    return png(draw(points, costs, title=title))


def draw(points: Sequence[Point], costs: Mapping[str, str], *, title: str) -> Figure:
    """The figure of `pareto`."""
    known = [cost for cost in costs if any(point.costs.get(cost) for point in points)]
    if not known:
        raise DataError("there is no network of a known cost to draw; give at least one")
    with house_style():
        rows, columns = (len(known) + 1) // 2, min(2, len(known))
        figure = sheet(5.2 * columns, 3.6 * rows + 0.2 * (len(points) + 2) // 3, title)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, cost in zip(panels, known, strict=False):
            _panel(axes, points, cost, costs[cost])
        for axes in panels[len(known) :]:
            axes.set_visible(False)
        handles, names = max((axes.get_legend_handles_labels() for axes in panels), key=lambda found: len(found[0]))
        figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, points: Sequence[Point], cost_name: str, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    front = sorted(
        (point for point in points if cost_name in point.front), key=lambda point: float(point.costs[cost_name] or 0)
    )
    at = [float(point.costs[cost_name] or 0) for point in front]
    axes.plot(at, [point.accuracy for point in front], drawstyle="steps-post", color=GREY, linewidth=1, zorder=1)
    for place, point in enumerate(points):
        own = point.costs.get(cost_name)
        if not own:
            continue
        colour, mark = COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]
        axes.plot([own, own], [point.low, point.high], color=colour, linewidth=1.2, zorder=2)
        face = colour if cost_name in point.front else "white"
        axes.plot([own], [point.accuracy], mark, color=colour, mfc=face, ms=7, zorder=3, label=fit(point.name, NAME, 9))
    axes.set_xscale("log")
    known = [float(cost) for point in points if (cost := point.costs.get(cost_name))]
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(known) < WIDE * min(known) else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_xlabel(name)
    axes.set_ylabel("accuracy (%)")
    axes.grid(True)
