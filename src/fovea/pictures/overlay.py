"""The learning curves of several runs over each other: which learns faster, which ends higher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError
from fovea.pictures.figure import GREY, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours that stand out from white; then again in another dash.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#222222")
DASHES = ("-", "--", ":", "-.")
MOST = len(COLOURS) * len(DASHES)  # runs that can be told apart
LABEL = 4.0  # inches of the legend's names
FEW = 30  # up to so many epochs each is a dot as well
TWO_DECADES = 100.0  # losses that span more are drawn on a logarithmic scale
PANELS = (("loss", "Training loss", 1.0), ("validation_accuracy", "Validation top-1 accuracy (%)", 100.0))


class Curve(NamedTuple):
    """One run, or several that are drawn alike: the seeds of one.

    Args:
        label: In the legend.
        histories: Of each run one row per epoch with epoch, loss and validation_accuracy, accuracies in [0, 1]; what is
            absent, None, NaN or infinite is left out.
    """

    label: str
    histories: Sequence[Sequence[Mapping[str, float | int | None]]]


def overlay(curves: Sequence[Curve], *, title: str) -> bytes:
    """A PNG of the training loss (left) and the validation accuracy in per cent (right) of all runs.

    Losses that span more than two decades get a logarithmic scale.

    Args:
        curves: At most 28.
        title: Stands above both panels.

    Raises:
        DataError: no curve with an epoch, more than can be told apart, or an accuracy outside [0, 1].
    """
    return png(draw(curves, title=title))


def draw(curves: Sequence[Curve], *, title: str) -> Figure:
    """The figure of `overlay`."""
    _check(curves)
    with house_style():
        columns = 1 if len(curves) < 4 else 2
        figure = sheet(9.5, 4.0 + 0.2 * -(-len(curves) // columns), title)
        panels = figure.subplots(1, 2)
        for axes, (key, name, unit) in zip(panels, PANELS, strict=True):
            axes.set_title(name)
            for number, curve in enumerate(curves):
                _lines(axes, curve, number, key, unit)
            _frame(axes)
        _scales(*panels)
        handles, labels = max((axes.get_legend_handles_labels() for axes in panels), key=lambda found: len(found[1]))
        labels = [fit(label, LABEL, 9.0) for label in labels]
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, handlelength=3)
    return figure


def _check(curves: Sequence[Curve]) -> None:
    if len(curves) > MOST:
        raise DataError(f"{len(curves)} runs cannot be told apart in one picture; give at most {MOST}")
    if not any(history for curve in curves for history in curve.histories):
        raise DataError("none of the runs has finished an epoch; there is nothing to draw yet")
    for curve in curves:
        for row in (row for history in curve.histories for row in history):
            value = row.get("validation_accuracy")
            if value is not None and np.isfinite(value) and not 0 <= value <= 1:
                raise DataError(f"validation_accuracy (={value:g}) of {curve.label} must lie in [0, 1]")


def _points(history: Sequence[Mapping[str, float | int | None]], key: str) -> NDArray[np.float64]:
    """(epochs, 2): the epochs in which something was measured, and what."""
    found = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    points = np.array(found, dtype=np.float64).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)]


def _lines(axes: Axes, curve: Curve, number: int, key: str, unit: float) -> None:
    """The curves of one label, alike; several of them thinner."""
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
    label: str | None = curve.label
    wide, dense = (1.6, 1.0) if len(curve.histories) == 1 else (1.0, 0.75)
    for history in curve.histories:
        points = _points(history, key)
        if len(points):
            marker = "o" if len(points) <= FEW and len(curve.histories) == 1 else ""
            drawn = axes.plot(points[:, 0], unit * points[:, 1], dash, label=label, color=colour, ms=3.5)
            drawn[0].set(marker=marker, linewidth=wide, alpha=dense)
            label = None


def _frame(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(True)


def _scales(loss: Axes, accuracy: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    low, high = accuracy.get_ylim()
    accuracy.set_ylim(max(low, 0), min(high, 100))
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in loss.lines] or [np.ones(1)])
    if values.min() > 0 and values.max() / values.min() > TWO_DECADES:
        loss.set_title("Training loss (logarithmic scale)")
        loss.set_yscale("log")
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter(NullFormatter())
