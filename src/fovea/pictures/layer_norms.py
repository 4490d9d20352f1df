"""The gradient of each layer, from the first to the last: where it vanishes, and where it explodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fovea.errors import DataError
from fovea.pictures.bubbles import COLOURS, DASHES
from fovea.pictures.figure import fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = 2.6  # inches of a name in the legend
FEW = 14  # layers whose names are written below
LAYER = 1.0  # inches of a layer's name

Norms = Mapping[str, Sequence[tuple[str, float]]]  # by arm, layers in order with their norms


def layer_norms(panels: Mapping[str, Norms], *, title: str) -> bytes:
    """A PNG of gradient norms on a logarithmic scale, a panel for each moment, a line for each arm.

    Args:
        panels: By the moment's name, by arm, each layer's name and norm, in the order of the network.
        title: Stands above.

    Raises:
        DataError: nothing to draw.
    """
    return png(draw(panels, title=title))


def draw(panels: Mapping[str, Norms], *, title: str) -> Figure:
    """The figure of `layer_norms`."""
    if not panels:
        raise DataError("there is no layer to draw; train with --watch")
    with house_style():
        arms = list(dict.fromkeys(arm for norms in panels.values() for arm in norms))
        figure = sheet(10.0, 4.2 + 0.19 * ((len(arms) + 2) // 3), title)
        made = figure.subplots(1, len(panels), squeeze=False, sharey=True).ravel()
        for axes, (moment, norms) in zip(made, panels.items(), strict=True):
            for place, arm in enumerate(arms):
                _line(axes, norms.get(arm, ()), place, fit(arm, NAME, 9))
            _frame(axes, moment, norms)
        figure.legend(*made[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _line(axes: Axes, layers: Sequence[tuple[str, float]], place: int, name: str) -> None:
    shown = [(depth, norm) for depth, (_, norm) in enumerate(layers, start=1) if norm > 0]
    if shown:
        depths, norms = zip(*shown, strict=True)
        dash = DASHES[place // len(COLOURS) % len(DASHES)]
        axes.plot(depths, norms, dash, color=COLOURS[place % len(COLOURS)], marker="o", ms=3.5, label=name)


def _frame(axes: Axes, moment: str, norms: Norms) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"Gradient norm, {moment}")
    axes.grid(True)
    names = [name for name, _ in next(iter(norms.values()))]
    if len(names) <= FEW and all([name for name, _ in each] == names for each in norms.values()):
        shown = [fit(name.removeprefix("features."), LAYER, 8) for name in names]
        axes.set_xticks(range(1, len(names) + 1), shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        axes.set_xlabel("layer, from the images on")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
