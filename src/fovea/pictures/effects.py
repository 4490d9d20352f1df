"""Effects with their intervals, one below the other, about a line at zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fovea.errors import DataError
from fovea.pictures.figure import BLUE, GREY, INK, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = 2.6  # inches of a name
WIDE = 20.0  # how many times the largest effect is the middle one, where the scale is logarithmic beyond a point


class Interval(NamedTuple):
    """An effect in percentage points, and half the width of its interval; None where there is none."""

    name: str
    mean: float
    half: float | None


def effects_plot(intervals: Sequence[Interval], *, title: str) -> bytes:
    """A PNG of the effects, in the order given, the first at the top; those whose interval holds zero are grey.

    Raises:
        DataError: no effect at all.
    """
    return png(draw(intervals, title=title))


def draw(intervals: Sequence[Interval], *, title: str) -> Figure:
    """The figure of `effects_plot`."""
    if not intervals:
        raise DataError("there is no effect to draw; give at least one")
    with house_style():
        figure = sheet(7.6, 1.5 + 0.34 * len(intervals), title)
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=1)
        for place, each in enumerate(intervals):
            sure = each.half is not None and abs(each.mean) > each.half
            colour = BLUE if sure else GREY
            if each.half is not None:
                axes.plot([each.mean - each.half, each.mean + each.half], [place, place], color=colour, linewidth=2)
            axes.plot([each.mean], [place], "o", color=colour, ms=6, zorder=5)
            axes.annotate(
                f"{each.mean:+.2f}",
                (each.mean, place),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
                bbox={"facecolor": "white", "pad": 0.5, "linewidth": 0},
            )
        axes.set_yticks(range(len(intervals)), [fit(each.name, NAME, 9) for each in intervals])
        axes.set_ylim(len(intervals) - 0.4, -0.8)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        if _spread(intervals) > WIDE:  # small ones would be lost beside a large one
            axes.set_xscale("symlog", linthresh=1, subs=None)
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("accuracy with the idea less accuracy without it, percentage points; bars are 95 % intervals")
        axes.grid(True, axis="x")
    return figure


def _spread(intervals: Sequence[Interval]) -> float:
    """How many times the largest effect is the middle one, which counts as a point at least."""
    sizes = sorted(abs(each.mean) for each in intervals)
    return sizes[-1] / max(1.0, sizes[(len(sizes) - 1) // 2])
