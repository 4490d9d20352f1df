"""A challenge by year: a bar for the winner's error, a dot for the runner-up's, a line for what people reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fovea.errors import DataError
from fovea.pictures.figure import BLUE, GREY, INK, ORANGE, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = 1.05  # of the sheet for each bar
SMALL = 8.0  # points of the names below the bars
LOWEST = 0.07  # of the highest bar: what holds a number


class Bar(NamedTuple):
    """One year; errors in per cent."""

    year: int
    winner: str
    network: str | None  # None: no network, drawn grey
    error: float
    runner_up_error: float | None


def challenge_history(bars: Sequence[Bar], *, human_error: float, title: str) -> bytes:
    """A PNG of the winner's error by year, with the runner-up's and the human one.

    Args:
        bars: A year each, in the order of the years.
        human_error: What people reach, in per cent; a line across.
        title: Stands above.

    Raises:
        DataError: no year at all, or an error outside 0 to 100 per cent.
    """
    return png(draw(bars, human_error=human_error, title=title))


def draw(bars: Sequence[Bar], *, human_error: float, title: str) -> Figure:
    """The figure of `challenge_history`."""
    _check(bars, human_error)
    with house_style():
        figure = sheet(max(6.0, 1.0 + INCHES * len(bars)), 4.4, title)
        axes = figure.subplots()
        _bars(axes, bars)
        _runners_up(axes, bars)
        axes.axhline(human_error, color=ORANGE, linestyle="--", linewidth=1.4, zorder=3, label=f"human {human_error:g}")
        _scales(axes, bars)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _check(bars: Sequence[Bar], human_error: float) -> None:
    if not bars:
        raise DataError("there is no year to draw; a history wants at least one")
    errors = {f"error of {bar.year}": bar.error for bar in bars} | {"human_error": human_error}
    errors |= {f"runner_up_error of {bar.year}": bar.runner_up_error for bar in bars if bar.runner_up_error is not None}
    for what, error in errors.items():
        if not 0 <= error <= 100:
            raise DataError(f"{what} (={error:g}) must lie in [0, 100]; give it in per cent")


def _bars(axes: Axes, bars: Sequence[Bar]) -> None:
    for color, label, has in ((GREY, "winner, no network", False), (BLUE, "winner, a network", True)):
        places = [place for place, bar in enumerate(bars) if (bar.network is not None) == has]
        if places:
            axes.bar(places, [bars[place].error for place in places], width=0.62, color=color, label=label)
    top = max(bar.error for bar in bars)
    for place, bar in enumerate(bars):  # the number stands in the foot of its bar, or on top of one too low for it
        inside = bar.error > LOWEST * top
        axes.annotate(
            f"{bar.error:g}",
            (place, 0 if inside else bar.error),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color="white" if inside else INK,
            fontweight="bold",
        )


def _runners_up(axes: Axes, bars: Sequence[Bar]) -> None:
    seconds = [(place, bar.runner_up_error) for place, bar in enumerate(bars) if bar.runner_up_error is not None]
    if seconds:
        places, errors = np.array(seconds, dtype=float).T
        axes.plot(places + 0.2, errors, "o", ms=5, mfc="white", mec=INK, zorder=4, label="runner-up")


def _scales(axes: Axes, bars: Sequence[Bar]) -> None:
    names = [fit(bar.network or bar.winner, INCHES * 0.9, SMALL) for bar in bars]
    axes.set_xticks(range(len(bars)), [f"{bar.year}\n{name}" for bar, name in zip(bars, names, strict=True)])
    axes.tick_params(axis="x", length=0, labelsize=SMALL)
    axes.set_ylim(0, 1.08 * max(max(bar.error, bar.runner_up_error or 0) for bar in bars) or 1)
    axes.set_ylabel("top-5 error (%)")
    axes.grid(True, axis="y")
