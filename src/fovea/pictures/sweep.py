"""Sweep: what a growing change of the images does to accuracy, one line or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fovea.errors import ShapeError
from fovea.pictures.figure import BLUE, GREY, INK, ORANGE, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREEN, PINK = "#009e73", "#cc79a7"  # with the house's colours, of Okabe and Ito's that the colour-blind tell apart
LOOKS = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    (PINK, "D", ":"),
    (GREY, "v", "-"),
    (INK, "x", "--"),
)

Line = tuple[Sequence[float], Sequence[tuple[float, float]]]  # accuracies and their intervals


def sweep(values: Sequence[float], lines: Mapping[str, Line], *, change: str, title: str) -> bytes:
    """A PNG of fractions in per cent against the size of a change, each line in its band of uncertainty.

    Args:
        values: How large the change is, one for each point.
        lines: By name its fractions and their intervals, in [0, 1], one for each value; no intervals, no band.
        change: Names the horizontal axis, with its unit.
        title: Stands above the picture.

    Raises:
        ShapeError: a line of another length than the values.
    """
    return png(draw(values, lines, change=change, title=title))


def draw(values: Sequence[float], lines: Mapping[str, Line], *, change: str, title: str) -> Figure:
    """The figure of `sweep`."""
    for name, (accuracies, intervals) in lines.items():
        if len(accuracies) != len(values) or len(intervals) not in (0, len(values)):
            raise ShapeError(f"the line {name!r} has {len(accuracies)} points for {len(values)} values")
    from matplotlib.ticker import MaxNLocator

    with house_style():
        figure = sheet(6.8, 4.2, title)
        axes = figure.subplots()
        for place, (name, (accuracies, intervals)) in enumerate(lines.items()):
            color, marker, style = LOOKS[place % len(LOOKS)]
            if intervals:
                lows, highs = ([100 * interval[end] for interval in intervals] for end in (0, 1))
                axes.fill_between(values, lows, highs, color=color, alpha=0.15, linewidth=0)
            axes.plot(
                values, [100 * each for each in accuracies], color=color, marker=marker, linestyle=style, label=name
            )
        if all(float(value).is_integer() for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=change, ylabel="images, %", ylim=(0, 102))
        figure.legend(loc="outside lower center", ncols=2)
    return figure
