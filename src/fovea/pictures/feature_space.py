"""Images in a plane: as dots coloured by class, and as thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.errors import ShapeError
from fovea.pictures.figure import GREY, fit, house_style, png, sheet
from fovea.pictures.overlay import COLOURS
from fovea.pictures.unit_patches import block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D")
MOST = len(COLOURS) * len(MARKERS)  # classes that can be told apart; others are grey
FEW = 12  # classes up to which each has its name in the midst of its dots
ACROSS = 18  # thumbnails along a side
PANEL = 5.2  # inches


def feature_space(
    places: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    *,
    title: str,
    axes_words: Sequence[str] = ("", ""),
) -> bytes:
    """A PNG: left a dot for each image in its class's colour and shape, right the images where no other is yet.

    At most 28 classes have a colour, those with most images; the others are grey. Up to twelve have their names in the
    midst of their dots.

    Args:
        places: (n, 2).
        labels: (n,) class indices.
        classes: Their names.
        images: n pictures, 8-bit, for the thumbnails.
        title: Stands above both.
        axes_words: What the axes mean; nothing where they mean nothing.

    Raises:
        ShapeError: places, labels and images are not of one length.
    """
    return png(draw(places, labels, classes, images, title=title, axes_words=axes_words))


def draw(
    places: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    *,
    title: str,
    axes_words: Sequence[str],
) -> Figure:
    """The figure of `feature_space`."""
    if np.shape(places) != (len(labels), 2) or len(images) != len(labels):
        raise ShapeError(
            f"places (shape {np.shape(places)}) must be (n, 2), with n labels (not {len(labels)}) and n images (not "
            f"{len(images)})"
        )
    counts = np.bincount(labels, minlength=len(classes))
    there = np.flatnonzero(counts)
    shown = np.sort(there[np.argsort(-counts[there], kind="stable")][:MOST])
    more = len(there) - len(shown)
    with house_style():
        lines = -(-(len(shown) + (more > 0)) // 7)
        figure = sheet(2 * PANEL + 0.4, PANEL + 0.8 + 0.22 * lines, title)
        left, right = figure.subplots(1, 2)
        for axes in (left, right):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(axes_words[0])
            axes.set_ylabel(axes_words[1])
        names = [classes[int(label)] for label in shown]
        handles = _dots(left, places, labels, names, shown)
        _thumbnails(right, places, images)
        right.set_xlim(left.get_xlim())
        right.set_ylim(left.get_ylim())
        names = [fit(name, 1.1, 8.0) for name in (*names, f"{more} more")[: len(handles)]]
        figure.legend(handles, names, loc="outside lower left", ncols=7, fontsize=8, handletextpad=0.2, markerscale=1.6)
    return figure


def _dots(
    axes: Axes,
    places: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    names: Sequence[str],
    shown: NDArray[np.integer[Any]],
) -> list[PathCollection]:
    """The dots of each class that is shown, and last the grey ones of the others, where there are any."""
    size = float(np.clip(12000 / max(len(labels), 1), 6, 40))
    rest = places[~np.isin(labels, shown)]
    others = [axes.scatter(rest[:, 0], rest[:, 1], s=size, color=GREY, alpha=0.4, linewidths=0)] if len(rest) else []
    drawn = []
    for number, label in enumerate(shown):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS)]
        own = places[labels == label]
        drawn.append(axes.scatter(own[:, 0], own[:, 1], s=size, color=colour, marker=marker, alpha=0.75, linewidths=0))
    for name, label in zip(names, shown, strict=True) if len(shown) <= FEW else ():
        _name(axes, places[labels == label], fit(name, 1.1, 9.0))
    return [*drawn, *others]


def _name(axes: Axes, places: NDArray[np.floating[Any]], text: str) -> None:
    """Where the middle one of the dots lies, which is among them wherever they lie."""
    from matplotlib.patheffects import withStroke

    middle = places[((places - np.median(places, axis=0)) ** 2).sum(1).argmin()]
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(text, tuple(middle), ha="center", va="center", fontsize=9, fontweight="bold", path_effects=halo)


def _thumbnails(axes: Axes, places: NDArray[np.floating[Any]], images: Sequence[NDArray[np.uint8]]) -> None:
    """Each square of a grid shows the image that lies nearest to its middle."""
    low, high = places.min(0), places.max(0)
    steps = np.where(high > low, (high - low) / ACROSS, 1.0)
    cells = np.clip(((places - low) / steps).astype(int), 0, ACROSS - 1)
    middles = low + (cells + 0.5) * steps
    off = (((places - middles) / steps) ** 2).sum(1)
    taken: set[tuple[int, int]] = set()
    for row in np.argsort(off, kind="stable"):
        cell = (int(cells[row, 0]), int(cells[row, 1]))
        if cell in taken:
            continue
        taken.add(cell)
        x, y = low + np.array(cell) * steps
        axes.imshow(block([images[row]]), extent=(x, x + 0.96 * steps[0], y, y + 0.96 * steps[1]), aspect="auto")
