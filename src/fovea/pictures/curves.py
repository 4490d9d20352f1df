"""Learning curves: what every epoch did to the loss and to the accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError
from fovea.pictures.figure import BLUE, GREY, INK, ORANGE, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float | int | None]]  # read at run time, where an int is no float
FEW = 30  # up to so many points each is a dot as well
TWO_DECADES = 100.0  # a loss that spans more than this is drawn on a logarithmic scale


def learning_curves(history: History, *, title: str) -> bytes:
    """A PNG of the loss (left) and the top-1 accuracy in per cent (right) over the epochs, train and validation.

    The best epoch is ringed: the highest validation accuracy, or the highest train accuracy where nothing was
    validated; of equals the first. A loss that spans more than two decades gets a logarithmic scale.

    Args:
        history: One row per epoch with epoch, loss, accuracy, validation_loss and validation_accuracy; accuracies in
            [0, 1]. What is absent, None, NaN or infinite is left out; a line joins what was measured.
        title: Stands above both panels.

    Raises:
        DataError: no rows, a row without its epoch, or an accuracy outside [0, 1].
    """
    return png(draw(history, title=title))


def draw(history: History, *, title: str) -> Figure:
    """The figure of `learning_curves`."""
    _check(history)
    with house_style():
        figure = sheet(9.0, 3.9, title)
        loss, accuracy = figure.subplots(1, 2)
        _panel(loss, history, "loss", 1.0)
        _panel(accuracy, history, "accuracy", 100.0)
        _scale_loss(loss)
        _scale_accuracy(accuracy)
        _mark_best(accuracy, history)
        handles, labels = max((axes.get_legend_handles_labels() for axes in (loss, accuracy)), key=lambda h: len(h[0]))
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _check(history: History) -> None:
    if not history:
        raise DataError("history has no rows; a learning curve wants at least one epoch")
    for number, row in enumerate(history):
        if not np.isfinite(_value(row, "epoch")):
            raise DataError(f"row {number} of history has no epoch; every row must carry its epoch's number")
        for key in ("accuracy", "validation_accuracy"):
            value = _value(row, key)
            if value < 0 or value > 1:
                raise DataError(f"{key} (={value:g}) of epoch {row['epoch']} must lie in [0, 1]; give it as a fraction")


def _value(row: Mapping[str, float | int | None], key: str) -> float:
    value = row.get(key)
    return float("nan") if value is None or not np.isfinite(value) else float(value)


def _points(history: History, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs and values of what was measured under that key."""
    epochs = np.array([_value(row, "epoch") for row in history])
    values = np.array([_value(row, key) for row in history])
    measured = np.isfinite(values)
    return epochs[measured], values[measured]


def _panel(axes: Axes, history: History, key: str, unit: float) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, prefix, color, order in (("train", "", BLUE, 2), ("validation", "validation_", ORANGE, 3)):
        epochs, values = _points(history, prefix + key)
        if len(epochs):
            marker = "o" if len(epochs) <= FEW else ""
            axes.plot(epochs, unit * values, label=name, color=color, zorder=order, linewidth=1.6, marker=marker, ms=4)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
    first, last = (f(_value(row, "epoch") for row in history) for f in (min, max))
    margin = 0.5 if last == first else 0.03 * (last - first)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(True)


def _scale_loss(axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.ones(1)])
    logarithmic = values.min() > 0 and values.max() / values.min() > TWO_DECADES
    axes.set_title("Loss (logarithmic scale)" if logarithmic else "Loss")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _scale_accuracy(axes: Axes) -> None:
    axes.set_title("Top-1 accuracy (%)")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 100))
    for line in axes.lines:
        line.set_clip_on(False)  # dots at 0 and 100 stay whole


def _mark_best(axes: Axes, history: History) -> None:
    epochs, values = _points(history, "validation_accuracy")
    if not len(epochs):
        epochs, values = _points(history, "accuracy")
    if not len(epochs):
        return
    epoch, value = epochs[values.argmax()], 100 * values.max()
    axes.plot([epoch], [value], "o", ms=9, mfc="none", mec=INK, mew=1.4, zorder=5, clip_on=False, gid="best")
    axes.set_title(f"○ best {value:.2f} % at epoch {epoch:g}", loc="right", fontsize=9)
