"""Learning curves of several arms in one picture: the mean over their seeds, in the band between the outermost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError
from fovea.pictures.bubbles import COLOURS, DASHES
from fovea.pictures.figure import fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = 2.6  # inches of a name in the legend
STEEP = 30.0  # how many times the largest loss is the least, where the scale is logarithmic
FAINT = 0.45  # of the training accuracy, which lies beside the validation's

Runs = Sequence[Sequence[float]]  # of each seed a value for each epoch


class Curve(NamedTuple):
    """An arm: its training loss, training accuracy and validation accuracy, of each seed epoch by epoch.

    Accuracies lie in [0, 1]. Seeds may have run for different numbers of epochs.
    """

    name: str
    loss: Runs
    accuracy: Runs
    validation: Runs


def many_curves(curves: Sequence[Curve], *, title: str) -> bytes:
    """A PNG: training loss on the left, training (thin) and validation accuracy in per cent on the right.

    Raises:
        DataError: nothing to draw.
    """
    return png(draw(curves, title=title))


def draw(curves: Sequence[Curve], *, title: str) -> Figure:
    """The figure of `many_curves`."""
    from matplotlib.ticker import NullFormatter

    if not curves:
        raise DataError("there is no curve to draw; give the epochs of at least one run")
    with house_style():
        rows = (len(curves) + 2) // 3
        figure = sheet(10.0, 4.2 + 0.19 * rows, title)
        loss, accuracy = figure.subplots(1, 2)
        for place, curve in enumerate(curves):
            colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
            _line(loss, curve.loss, colour, dash, name=fit(curve.name, NAME, 9))
            _line(accuracy, _per_cent(curve.validation), colour, dash)
            _line(accuracy, _per_cent(curve.accuracy), colour, dash, thin=True)
        _frame(loss, "Training loss")
        _frame(accuracy, "Accuracy (%): validation, and thin on the varied training images")
        if _ratio(loss) > STEEP:
            loss.set_yscale("log")
            loss.yaxis.set_major_formatter("{x:g}")
            loss.yaxis.set_minor_formatter(NullFormatter())
        figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _per_cent(runs: Runs) -> list[list[float]]:
    return [[100 * value for value in run] for run in runs]


def _line(axes: Axes, runs: Runs, colour: str, dash: str, *, name: str = "", thin: bool = False) -> None:
    low, mean, high = _over_seeds(runs)
    epochs = np.arange(1, len(mean) + 1)
    marker = "." if len(mean) < 3 else ""
    width, alpha = (0.8, FAINT) if thin else (1.6, 1.0)
    axes.plot(epochs, mean, dash, color=colour, linewidth=width, alpha=alpha, label=name or "_", marker=marker)
    if len(runs) > 1 and not thin:
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def _over_seeds(runs: Runs) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The least, the mean and the largest of each epoch, over the seeds that came so far."""
    longest = max(len(run) for run in runs)
    values = np.full((len(runs), longest), np.nan)
    for row, run in zip(values, runs, strict=True):
        row[: len(run)] = run
    return np.nanmin(values, axis=0), np.nanmean(values, axis=0), np.nanmax(values, axis=0)


def _frame(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(True)


def _ratio(axes: Axes) -> float:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    return float(values.max() / values.min()) if values.min() > 0 else 1.0
