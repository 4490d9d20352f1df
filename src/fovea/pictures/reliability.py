"""Reliability diagram: of the images that a model is so sure of, how many are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fovea.errors import ShapeError
from fovea.pictures.figure import BLUE, GREY, ORANGE, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(
    edges: Sequence[float], images: Sequence[int], confidence: Sequence[float], accuracy: Sequence[float], *, title: str
) -> bytes:
    """A PNG of accuracy against confidence by bins, above the share of the images that each bin holds.

    Bars on the dashed diagonal are a model that is right as often as it says; below it is too sure.

    Args:
        edges: Of the n bins, n + 1 of them, in [0, 1].
        images: How many fell into each.
        confidence: Their mean confidence, in [0, 1]; anything where there are none.
        accuracy: The fraction of them that is right, likewise.
        title: Stands above the picture.

    Raises:
        ShapeError: not one edge more than bins.
    """
    return png(draw(edges, images, confidence, accuracy, title=title))


def draw(
    edges: Sequence[float], images: Sequence[int], confidence: Sequence[float], accuracy: Sequence[float], *, title: str
) -> Figure:
    """The figure of `reliability_diagram`."""
    bins = len(images)
    if len(edges) != bins + 1 or len(confidence) != bins or len(accuracy) != bins:
        raise ShapeError(
            f"{bins} bins want {bins + 1} edges, {bins} confidences and {bins} accuracies; "
            f"got {len(edges)}, {len(confidence)} and {len(accuracy)}"
        )
    left, counts = np.asarray(edges[:-1]), np.asarray(images)
    widths, some = np.diff(edges), counts > 0
    with house_style():
        figure = sheet(5.4, 5.6, title)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.bar(left[some], np.asarray(accuracy)[some], widths[some], align="edge", color=BLUE, edgecolor="white")
        above.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="as right as sure")
        above.plot(np.asarray(confidence)[some], np.asarray(accuracy)[some], "o", color=ORANGE, label="mean confidence")
        above.set(ylabel="fraction right", ylim=(0, 1), xlim=(0, 1))
        above.legend(loc="upper left")
        below.bar(left, counts / max(1, counts.sum()), widths, align="edge", color=GREY, edgecolor="white")
        below.set(xlabel="confidence (largest probability)", ylabel="share of images", ylim=(0, 1))
    return figure
