"""A matrix of similarities between the layers of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.errors import ShapeError
from fovea.pictures.figure import fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 12  # rows and columns up to which each cell has its number
CELL = 0.42  # inches
NAME = 1.6  # inches of a name


def similarity(
    matrix: NDArray[np.floating[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    words: Sequence[str] = ("", ""),
) -> bytes:
    """A PNG of the matrix, dark where layers see alike, with its numbers where there are few.

    Args:
        matrix: (rows, columns), about 0 to 1.
        rows: Names, the first above.
        columns: Names.
        title: Stands above it.
        words: What rows and columns are of.

    Raises:
        ShapeError: names and matrix do not fit.
    """
    return png(draw(matrix, rows, columns, title=title, words=words))


def draw(
    matrix: NDArray[np.floating[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    words: Sequence[str],
) -> Figure:
    """The figure of `similarity`."""
    if np.shape(matrix) != (len(rows), len(columns)) or 0 in np.shape(matrix):
        raise ShapeError(f"matrix (shape {np.shape(matrix)}) must be of {len(rows)} rows and {len(columns)} columns")
    with house_style():
        figure = sheet(max(5.0, CELL * len(columns) + NAME + 1.2), CELL * len(rows) + NAME + 0.9, title)
        axes = figure.subplots()
        axes.set_anchor("NW")
        drawn = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(
            range(len(columns)), [fit(name, NAME, 8) for name in columns], rotation=60, ha="right", fontsize=8
        )
        axes.set_yticks(range(len(rows)), [fit(name, NAME, 8) for name in rows], fontsize=8)
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel(words[0])
        axes.set_xlabel(words[1])
        if max(len(rows), len(columns)) <= NUMBERED:
            for (row, column), value in np.ndenumerate(matrix):
                colour = "white" if value > 0.6 else "#222222"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        across = 0.15 / (CELL * len(columns))
        bar = figure.colorbar(drawn, cax=axes.inset_axes((1 + across, 0, across, 1)))
        bar.set_label("linear CKA")
        bar.outline.set_visible(False)
    return figure
