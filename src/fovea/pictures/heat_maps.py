"""What speaks for and against, laid over the image in colours: a row of methods beside each other, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import NumbersError, ShapeError
from fovea.pictures.contact_sheet import check_images
from fovea.pictures.figure import GREY, bare, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

CELL = 2.2  # inches of one picture
LEGEND = 0.38  # inches of a bar with its words
ACROSS = 6  # pictures in a line; more go on in the next
END = 99.5  # the percentile of sizes at which a map's scale ends, so that one pixel does not make the others pale
PALEST = 0.25  # of the image's contrast is left below the colours


class Heat(NamedTuple):
    """One map.

    Args:
        words: Stand above it: the method.
        map: (h, w): more is more important; below 0 speaks against, where `signed`. Or (h, w, c), c of 1 or 3: shown
            as a picture itself, mid-grey where it is 0.
        signed: Whether below 0 has a meaning.
        below: Stand below it.
    """

    words: str
    map: NDArray[np.floating[Any]]
    signed: bool = False
    below: str = ""


def heat_maps(image: NDArray[np.uint8], heats: Sequence[Heat], *, title: str, words: str = "the image") -> bytes:
    """A PNG of an image and of maps laid over it, each as a share of its own largest value, and a legend.

    Unsigned maps go from transparent to dark red over orange, signed ones from blue (against) to red (for). The scale
    ends at the 99.5th percentile of a map's sizes; what lies beyond takes the last colour.

    Args:
        image: (h, w, 3), (h, w, 1) or (h, w), 8-bit.
        heats: The maps, of the image's size.
        title: Stands above: the image's class and its probability, say.
        words: Stand above the image itself.

    Raises:
        ShapeError: a map of another size than the image.
        NumbersError: a map with NaN or infinity.
    """
    return png(draw(image, heats, title=title, words=words))


def draw(image: NDArray[np.uint8], heats: Sequence[Heat], *, title: str, words: str) -> Figure:
    """The figure of `heat_maps`."""
    check_images([image])
    for heat in heats:
        _check(heat, image)
    count = 1 + len(heats)
    down = -(-count // ACROSS)
    across = -(-count // down)  # lines of about one length
    shape = image.shape[0] / image.shape[1]
    with house_style():
        inside = (CELL - 0.12) * min(shape, 1.5)
        figure = sheet(CELL * across, (inside + 0.5) * down + 0.4 + LEGEND * len(scales(heats)), title)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            bare(axes)
            axes.set_anchor("N")
        for axes in grid.flat[count:]:
            axes.remove()
        _titled(grid.flat[0], words, "")
        grid.flat[0].imshow(image, cmap="gray", vmin=0, vmax=255)
        for axes, heat in zip(grid.flat[1:], heats, strict=False):
            _titled(axes, heat.words, heat.below)
            axes.imshow(overlaid(image, heat))
        _legend(figure, heats)
    return figure


def overlaid(image: NDArray[np.uint8], heat: Heat) -> NDArray[np.float64]:
    """(h, w, 3) in [0, 1]: the image in grey, and over it the map's colours, the stronger the more they cover."""
    planes = np.atleast_3d(image).astype(np.float64) / 255
    grey = planes.mean(axis=2, keepdims=True).repeat(3, axis=2)
    share = shares(heat.map)
    if share.ndim == 3:
        return np.broadcast_to(share / 2 + 0.5, (*share.shape[:2], 3))
    if not heat.signed:
        share = np.clip(share, 0, None)
    colours = _colours(heat.signed)((share + 1) / 2 if heat.signed else share)[:, :, :3]
    cover = np.abs(share)[:, :, None] ** 0.5 * (1 - PALEST)
    return np.asarray((1 - cover) * (0.35 + 0.65 * grey) + cover * colours)


def shares(map_: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The map as a share of its largest size, in [-1, 1]; all 0 where it is."""
    sizes = np.abs(map_).astype(np.float64)
    end = float(np.percentile(sizes, END)) or float(sizes.max()) or 1.0
    return np.clip(map_.astype(np.float64) / end, -1, 1)


def scales(heats: Sequence[Heat]) -> list[bool]:
    """Which scales the maps that are laid over the image need: the unsigned, the signed, both or none."""
    return sorted({heat.signed for heat in heats if heat.map.ndim == 2})


def _check(heat: Heat, image: NDArray[np.uint8]) -> None:
    if heat.map.shape[:2] != image.shape[:2] or heat.map.shape[2:] not in ((), (1,), (3,)):
        raise ShapeError(f"the map of {heat.words} (shape {heat.map.shape}) must be of the image's {image.shape[:2]}")
    if not np.isfinite(heat.map).all():
        raise NumbersError(f"the map of {heat.words} has values that are NaN or infinite; only finite ones are drawn")


def _colours(signed: bool) -> Colormap:
    import matplotlib

    return matplotlib.colormaps["RdBu_r" if signed else "YlOrRd"]


def _titled(axes: Axes, above: str, below: str) -> None:
    axes.set_title(fit(above, CELL - 0.1, 9), fontsize=9, loc="left")
    if below:
        axes.text(0, -0.02, fit(below, CELL - 0.1, 8), transform=axes.transAxes, fontsize=8, color=GREY, va="top")


def _legend(figure: Figure, heats: Sequence[Heat]) -> None:
    """A bar for each of the two scales that are used."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    kinds = scales(heats)
    words = {False: ("did nothing", "did most"), True: ("speaks against", "speaks for")}
    rest = figure.get_axes()
    for signed in kinds:
        scale = ScalarMappable(Normalize(-1 if signed else 0, 1), _colours(signed))
        bar = figure.colorbar(
            scale, ax=rest, location="bottom", shrink=2.4 / figure.get_figwidth(), aspect=28, pad=0.02, anchor=(0, 0)
        )
        bar.set_ticks([-1 if signed else 0, 1], labels=list(words[signed]))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
        first, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
