"""The filters of a first layer as a sheet, all on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.errors import NumbersError, ShapeError
from fovea.pictures.figure import GREY, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Weights = NDArray[np.floating[Any]]
MOST = 256  # filters on a sheet of colour or grey
MOST_ROWS, MOST_COLUMNS = 16, 16  # filters and input channels where each channel is a picture of its own
TILE = 24  # dots that a small kernel is enlarged to
GAP = 3  # dots between tiles
BACKGROUND = "#bdbdbd"


def filters(weights: Weights, *, title: str) -> bytes:
    """A PNG of convolution filters, every weight on one scale that is centred on zero.

    Three input channels are shown as colours (mid-grey is 0), one as red (positive) and blue (negative) with a colour
    bar; any other number gives one row per filter, one tile per input channel. At most 256 filters, or 16 filters by
    16 channels, are shown; the title says where some are left out. The scale ends at the 99.5th percentile of the
    sizes, and what lies beyond takes its last colour.

    Args:
        weights: (out_channels, in_channels, kernel height, kernel width).
        title: Stands above the sheet.

    Raises:
        ShapeError: weights are not of four dimensions, or one of them is 0.
        NumbersError: a weight is NaN or infinite.
    """
    return png(draw(weights, title=title))


def draw(weights: Weights, *, title: str) -> Figure:
    """The figure of `filters`."""
    _check(weights)
    scale = float(np.percentile(np.abs(weights), 99.5)) or float(np.abs(weights).max()) or 1.0
    single = weights.shape[1] in (1, 3)
    limits = (MOST, weights.shape[1]) if single else (MOST_ROWS, MOST_COLUMNS)
    kept = weights[: limits[0], : limits[1]]
    with house_style():
        tiles = np.moveaxis(kept, 1, -1) if single else kept.reshape(-1, *kept.shape[2:], 1)
        columns = _columns(len(kept)) if single else kept.shape[1]
        dots = mosaic(tiles, columns)
        rows = math.ceil(len(tiles) / columns)
        cell = min(0.9, 7.2 / max(columns, rows))
        height = cell * rows * kept.shape[2] / kept.shape[3]
        figure = sheet(max(4.8, cell * columns + 1.8), height + 1.3, title + _left_out(weights, kept))
        axes = figure.add_subplot()
        _paint(axes, dots, scale)
        if not single:
            _number(axes, kept)
    return figure


def mosaic(tiles: Weights, columns: int) -> NDArray[np.float64]:
    """The tiles (n, h, w, c) enlarged and laid out row by row in so many columns; the gaps are NaN."""
    times = max(1, TILE // max(tiles.shape[1:3]))
    large = tiles.astype(np.float64).repeat(times, axis=1).repeat(times, axis=2)
    _, height, width, channels = large.shape
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), np.nan)
    for number, tile in enumerate(large):
        row, column = divmod(number, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _check(weights: Weights) -> None:
    if np.ndim(weights) != 4 or 0 in np.shape(weights):
        raise ShapeError(
            f"weights (shape {np.shape(weights)}) must be (out_channels, in_channels, kernel height, kernel width), "
            "none of them 0"
        )
    bad = int((~np.isfinite(weights)).sum())
    if bad:
        raise NumbersError(f"{bad} of {weights.size} weights are NaN or infinite; only finite ones can be drawn")


def _columns(tiles: int) -> int:
    """So many columns that the sheet is half as wide again as high, and full where the number allows it."""
    wanted = math.sqrt(1.5 * tiles)
    full = [n for n in range(math.ceil(math.sqrt(tiles)), int(2 * math.sqrt(tiles)) + 1) if tiles % n == 0]
    return min(full, key=lambda n: abs(n - wanted), default=math.ceil(wanted))


def _left_out(weights: Weights, kept: Weights) -> str:
    words = []
    if len(kept) < len(weights):
        words.append(f"{len(kept)} of {len(weights)} filters")
    if kept.shape[1] < weights.shape[1]:
        words.append(f"{kept.shape[1]} of {weights.shape[1]} input channels")
    return f" ({', '.join(words)})" if words else ""


def _paint(axes: Axes, dots: NDArray[np.float64], scale: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("NW")
    axes.spines[:].set_visible(False)
    if dots.shape[2] == 3:
        axes.imshow(np.nan_to_num(np.clip(dots / scale / 2 + 0.5, 0, 1), nan=1.0))
        axes.set_title(f"mid-grey is 0, full colour is ±{scale:.2g}", color=GREY, fontsize=9)
        return
    axes.set_facecolor(BACKGROUND)
    image = axes.imshow(np.ma.masked_invalid(dots[:, :, 0]), cmap="RdBu_r", vmin=-scale, vmax=scale)
    beyond = "both" if np.nanmax(np.abs(dots)) > scale else "neither"
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.03, 1)), extend=beyond, extendfrac=0.03)
    bar.set_label("weight")
    bar.outline.set_visible(False)


def _number(axes: Axes, kept: Weights) -> None:
    height, width = axes.images[0].get_size()
    tall, wide = height / kept.shape[0], width / kept.shape[1]
    axes.set_yticks((np.arange(len(kept)) + 0.5) * tall, [str(n) for n in range(len(kept))])
    axes.set_xticks((np.arange(kept.shape[1]) + 0.5) * wide, [str(n) for n in range(kept.shape[1])])
    axes.tick_params(length=0)
    axes.set_ylabel("filter")
    axes.set_xlabel("input channel")
