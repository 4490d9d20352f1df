"""The confusion matrix: which class was taken for which, with the errors in a colour and a scale of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError, ShapeError
from fovea.pictures.figure import GREY, INK, fit, house_style, png, sheet, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Counts = NDArray[np.integer[Any]]
WRITTEN = 30  # up to so many classes every cell shows its count
LABELS = 50  # of more classes than this only every second, fifth, tenth ... is named
LEAST = 0.02  # the scale of the errors ends no lower than this share
BLUES, ORANGES = ("#dbe9f6", "#5b9bd0", "#084c8d"), ("#feebd9", "#f08a3c", "#9c2f00")
LOUD = ("#f7ac6b", "#e0661a", "#8c2a00")  # errors where cells are but a few dots


def confusion_matrix(matrix: Counts, classes: Sequence[str], *, title: str) -> bytes:
    """A PNG of the confusion matrix: rows are true classes, columns predicted ones, colours shares of the row.

    Correct answers are blue on a scale from 0 to 100 %; errors are orange on a scale that ends at the largest error,
    so they are seen however rare; what never happened is white. Up to 30 classes each cell shows its count.

    Args:
        matrix: Counts of images, (classes, classes).
        classes: Their names, in the order of the matrix; long ones are shortened.
        title: Stands above the matrix.

    Raises:
        ShapeError: the matrix is not classes by classes.
        DataError: no classes, or something other than counts.
    """
    return png(draw(matrix, classes, title=title))


def draw(matrix: Counts, classes: Sequence[str], *, title: str) -> Figure:
    """The figure of `confusion_matrix`."""
    matrix = _checked(matrix, classes)
    few = len(classes) <= WRITTEN
    with house_style():
        points = 8.0 if few else 7.0
        names = {place: fit(classes[place], 1.6, points) for place in range(0, len(classes), step(len(classes)))}
        reach = max(width(name, points) for name in names.values())
        side = _side(matrix)
        figure = sheet(max(4.6, side + reach + 2.0), side + 0.75 * reach + 1.4, title)
        axes = figure.add_subplot()
        _paint(axes, matrix, BLUES, ORANGES if few else LOUD)
        _name(axes, names, points, slant=0 if reach < 0.9 * side / len(names) else 45 if few else 90)
        if few:
            _rule(axes, len(classes))
            _write(axes, matrix, cell=side / len(classes))
    return figure


def step(classes: int) -> int:
    """Every how many-th class is named, so that the names do not touch."""
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, classes) if classes / step <= LABELS)


def shares(matrix: Counts) -> NDArray[np.float64]:
    """Every count as a share of its row, in [0, 1]; rows without images are 0."""
    share: NDArray[np.float64] = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return share


def _checked(matrix: Counts, classes: Sequence[str]) -> Counts:
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise ShapeError(
            f"matrix (shape {matrix.shape}) must be classes by classes, ({len(classes)}, {len(classes)}) here; "
            "give one name per row"
        )
    if not len(classes):
        raise DataError("the confusion matrix has 0 classes; it wants at least one")
    if matrix.dtype.kind not in "iu" or matrix.min() < 0:
        raise DataError(f"matrix ({matrix.dtype}, least {matrix.min()}) must hold counts, integers of 0 or more")
    return matrix


def _side(matrix: Counts) -> float:
    """Inches of the matrix: whole counts fit into their cells, and a thousand classes keep a dot each."""
    if len(matrix) > WRITTEN:
        return 7.5 if len(matrix) <= 150 else 12.0
    cell = max(0.34, 0.085 * len(str(matrix.max())) + 0.08)
    return float(len(matrix) * np.clip(4.2 / len(matrix), cell, 1.45))


def _paint(axes: Axes, matrix: Counts, blues: Sequence[str], oranges: Sequence[str]) -> None:
    share, diagonal = shares(matrix), np.eye(len(matrix), dtype=bool)
    right = np.ma.masked_where(~diagonal | (matrix.sum(axis=1, keepdims=True) == 0), share)
    wrong = np.ma.masked_where(diagonal | (matrix == 0), share)
    _bar(axes, _layer(axes, right, blues, 1.0), "share correct", from_below=0.54)
    if wrong.count():
        _bar(axes, _layer(axes, wrong, oranges, max(float(wrong.max()), LEAST)), "share mistaken", from_below=0.0)
    total = int(matrix.sum())
    accuracy = f"{100 * np.trace(matrix) / total:.2f} % of {total:,} images correct" if total else "no images"
    axes.set_title(accuracy, color=GREY, fontsize=9)
    axes.set_anchor("NW")


def _layer(axes: Axes, share: NDArray[np.float64], colors: Sequence[str], most: float) -> AxesImage:
    from matplotlib.colors import LinearSegmentedColormap

    return axes.imshow(share, cmap=LinearSegmentedColormap.from_list("", colors), vmin=0, vmax=most)


def _bar(axes: Axes, image: AxesImage, label: str, from_below: float) -> None:
    beside = axes.inset_axes((1.04, from_below, 0.035, 0.46))
    bar = axes.figure.colorbar(image, cax=beside, format=lambda share, _: f"{100 * share:.3g} %")
    bar.set_label(label)
    bar.outline.set_visible(False)


def _name(axes: Axes, names: Mapping[int, str], points: float, *, slant: int) -> None:
    anchor = "right" if slant == 45 else "center"
    axes.set_yticks(list(names), list(names.values()), fontsize=points)
    axes.set_xticks(list(names), list(names.values()), fontsize=points, rotation=slant, ha=anchor)
    if slant == 45:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0 if max(names) < len(names) else 3)


def _rule(axes: Axes, classes: int) -> None:
    """Thin lines between the cells."""
    axes.set_xticks(np.arange(1, classes) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, classes) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="#ededed", linewidth=0.8)


def _write(axes: Axes, matrix: Counts, cell: float) -> None:
    """The counts, each in ink or white by the darkness of its cell of so many inches."""
    points = min(9.0, 72 * cell / (0.75 * len(str(matrix.max())) + 0.8))
    for image in axes.images:
        array = image.get_array()
        assert isinstance(array, np.ma.MaskedArray)
        for row, column in zip(*np.nonzero(~np.ma.getmaskarray(array)), strict=True):
            red, green, blue, _ = image.to_rgba(array[row, column])
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            color = "white" if dark else INK
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color, fontsize=points)
