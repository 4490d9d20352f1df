"""What the mobile networks share: one fold from a table of inverted residuals to stages, one head, options' rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from fovea.architectures.scaling import make_divisible, scaled
from fovea.errors import ShapeError, UsageError
from fovea.layers.inverted_residual import Row, inverted_residuals
from fovea.layers.mobile_unit import Padding, Style, unit
from fovea.layers.stochastic_depth import linear_survival

STRIDE_BEHIND_FIRST = 16  # four stages halve the maps in every network of this family
Stem = Literal["paper", "small"]  # "small", for 28 to 64 pixels, has stride 1 in its first convolution


class Table(NamedTuple):
    """A network of inverted residuals: a first convolution 3×3, the rows, a last convolution 1×1."""

    first: int
    rows: tuple[Row, ...]
    last: int


def scaled_table(table: Table, *, width: float = 1.0, depth: float = 1.0) -> Table:
    """The table wider and deeper; the two single convolutions only wider."""
    rows = scaled(table.rows, width=width, depth=depth)
    if width == 1:
        return table._replace(rows=rows)
    return Table(make_divisible(table.first * width), rows, make_divisible(table.last * width))


def stages(
    table: Table, names: Sequence[str], in_channels: int, *, stem: Stem, style: Style, survival: float = 1.0
) -> dict[str, nn.Module]:
    """The stages of a table in order, by name: its first convolution, its rows, its last convolution."""
    first, *middle, last = names
    made: dict[str, nn.Module] = {first: unit(in_channels, table.first, 3, stride=first_stride(stem), style=style)}
    survivals = linear_survival(sum(row.layers for row in table.rows), survival)
    channels = table.first
    for name, row in zip(middle, table.rows, strict=True):
        ours, survivals = survivals[: row.layers], survivals[row.layers :]
        made[name] = inverted_residuals(channels, row, survivals=ours, style=style)
        channels = row.channels
    made[last] = unit(channels, table.last, 1, style=style)
    return made


def pooled_linear(channels: int, num_classes: int, *, dropout: float) -> dict[str, nn.Module]:
    """The head: global mean, dropout, one linear layer."""
    return {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(dropout),
        "output": nn.Linear(channels, num_classes),
    }


def fan_out(module: nn.Module) -> None:
    """Start a layer as MnasNet's and EfficientNet's code does.

    Convolutions normal with variance 2 / fan-out, where the fan-out of a grouped one is that of a group, so k² for a
    depthwise one; linear layers uniform within 1/√fan-out; biases 0.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]  # a weighted layer
    if isinstance(module, nn.Linear):
        nn.init.uniform_(weight, -1 / math.sqrt(len(weight)), 1 / math.sqrt(len(weight)))
    else:
        groups: int = module.groups  # type: ignore[assignment]  # a convolution
        fan = len(weight) // groups * weight[0, 0].numel()
        nn.init.normal_(weight, std=math.sqrt(2 / fan))
    if module.bias is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # a parameter


def first_stride(stem: Stem) -> int:
    """The stride of the first convolution."""
    return 2 if stem == "paper" else 1


def check_options(image_size: int, *, padding: str, stem: str, dropout: float, survival: float = 1.0) -> None:
    """Refuse what no network of this family can be built with.

    Raises:
        UsageError: names the option, its value and the rule.
        ShapeError: the image has fewer pixels a side than the network's stride, so that its last stages would see
            one pixel and padding.
    """
    for name, value, choices in (("padding", padding, get_args(Padding)), ("stem", stem, get_args(Stem))):
        if value not in choices:
            raise UsageError(f"{name} (={value!r}) must be {' or '.join(map(repr, choices))}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout (={dropout}) must be 0 or more and below 1: the share that is set to zero")
    if not 0 < survival <= 1:
        raise UsageError(f"survival (={survival}) must be above 0 and at most 1: the probability of being kept")
    least = STRIDE_BEHIND_FIRST * (2 if stem == "paper" else 1)
    if image_size < least:
        rule = f"{least} is the least, the stride of the network"
        hint = f"; {STRIDE_BEHIND_FIRST} with stem='small'" if stem == "paper" else ""
        raise ShapeError(f"image_size (={image_size}) is too small: {rule}{hint}")
