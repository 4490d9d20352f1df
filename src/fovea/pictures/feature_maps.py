"""The feature maps of one image as a sheet, all on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.errors import NumbersError, ShapeError
from fovea.pictures.figure import bare, house_style, png, sheet
from fovea.pictures.filters import GAP, mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 64  # maps on a sheet
END = 99.5  # the percentile of values at which the scale ends
CELL = 0.95  # inches


def feature_maps(maps: NDArray[np.floating[Any]], *, title: str) -> bytes:
    """A PNG of the maps of a stage for one image, the strongest first, each with its channel's number.

    At most 64 are shown, those with the largest mean sizes; the title says how many are left out. One scale holds for
    all; it ends at the 99.5th percentile, and where values lie on both sides of 0 it is centred on it.

    Args:
        maps: (channels, height, width).
        title: Stands above the sheet.

    Raises:
        ShapeError: maps are not of three dimensions, or one of them is 0.
        NumbersError: a value is NaN or infinite.
    """
    return png(draw(maps, title=title))


def draw(maps: NDArray[np.floating[Any]], *, title: str) -> Figure:
    """The figure of `feature_maps`."""
    if np.ndim(maps) != 3 or 0 in np.shape(maps):
        raise ShapeError(f"maps (shape {np.shape(maps)}) must be (channels, height, width), none of them 0")
    if not np.isfinite(maps).all():
        raise NumbersError("feature maps with NaN or infinite values cannot be drawn; look at the network's weights")
    order = np.argsort(-np.abs(maps).mean((1, 2)), kind="stable")[:MOST]
    signed = bool(maps.min() < 0)
    end = float(np.percentile(np.abs(maps[order]), END)) or float(np.abs(maps).max()) or 1.0
    across = min(len(order), max(4, math.ceil(math.sqrt(1.6 * len(order)))))
    down = -(-len(order) // across)
    left = f" ({len(order)} of {len(maps)} maps, the strongest)" if len(order) < len(maps) else ""
    with house_style():
        figure = sheet(max(4.8, CELL * across + 1.0), CELL * down * maps.shape[1] / maps.shape[2] + 0.8, title + left)
        axes = figure.subplots()
        bare(axes)
        axes.set_anchor("NW")
        dots = mosaic(maps[order, :, :, None], across)[:, :, 0]
        colours, low = ("RdBu_r", -end) if signed else ("viridis", 0.0)
        drawn = axes.imshow(np.ma.masked_invalid(dots), cmap=colours, vmin=low, vmax=end)
        step = (dots.shape[0] - GAP) / down, (dots.shape[1] - GAP) / across
        for place, channel in enumerate(order):
            row, column = divmod(place, across)
            x, y = GAP + (column + 0.03) * step[1], GAP + (row + 0.03) * step[0]
            box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8}
            axes.text(x, y, str(channel), fontsize=6, va="top", ha="left", bbox=box)
        beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        extend = beyond[bool(maps[order].min() < low), bool(maps[order].max() > end)]
        bar = figure.colorbar(drawn, cax=axes.inset_axes((1.02, 0, 0.03, 1)), extend=extend, extendfrac=0.03)
        bar.set_label("activation")
        bar.outline.set_visible(False)
    return figure
