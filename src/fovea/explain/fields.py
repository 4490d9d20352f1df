"""What a unit of a layer sees of the image: receptive fields, as far as they move by even steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fovea.cost.receptive_field import UNKNOWN, Field
from fovea.cost.report import inspect
from fovea.cost.rows import Row
from fovea.errors import FoveaError


def fields_of(network: nn.Module, modules: Sequence[nn.Module], images: tuple[int, int]) -> list[Field]:
    """What a unit of each module's maps sees: that of the last layer in it.

    UNKNOWN where that cannot be followed, or does not move by even steps.

    Args:
        network: Any module; nothing of it runs on numbers.
        modules: Of the network.
        images: Their channels, and their side in pixels.
    """
    paths = {module: path for path, module in network.named_modules()}
    try:
        rows = inspect(network, image_size=images[1], in_channels=images[0]).rows
    except FoveaError:  # a network that cannot be followed without numbers
        return [UNKNOWN] * len(modules)
    return [_field(rows, paths[module]) for module in modules]


def _field(rows: Sequence[Row], path: str) -> Field:
    inside = [n for n, row in enumerate(rows) if row.field and f"{row.path}.".startswith(f"{path}." if path else "")]
    field = rows[inside[-1]].field if inside else None
    if field is None or not field.known or len(field.axes) not in (0, 2):
        return UNKNOWN
    before = [row.field.axes for row in rows[: inside[-1]] if row.field and len(row.field.axes) == 2]
    enlarged = any(axis.stride > own.stride for axes in before for axis, own in zip(axes, field.axes, strict=False))
    uneven = any(number != int(number) for axis in field.axes for number in axis)
    return UNKNOWN if enlarged or uneven else field  # behind an enlargement, too, fields do not move by even steps
