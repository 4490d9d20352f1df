"""NASNet-A. Zoph, Vasudevan, Shlens and Le 2018, "Learning Transferable Architectures", arXiv:1707.07012.

Two cells, found by search on CIFAR-10, are stacked by hand: N normal cells, a reduction cell, twice over and N more,
with twice the filters behind each reduction. NASNet-A (N @ P) has P = 24 F channels at its end. Padding is TensorFlow's
SAME; initialisation, normalisation and drop path are the published code's. The genotypes equal that code's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import ShapeError, UsageError, suggestion
from fovea.layers.cell import Cell, Genotype, Incoming, Style, genotype
from fovea.layers.cell_stack import CellNet
from fovea.layers.operations import Norm

# fmt: off
# Each row makes a state from two: (state, operation) + (state, operation). State 0 is the current map, 1 the previous.
NORMAL = genotype(
    ((0, "sep5x5"), (1, "sep3x3")),  # 2
    ((1, "sep5x5"), (1, "sep3x3")),  # 3
    ((0, "avg3x3"), (1, "none")),    # 4
    ((1, "avg3x3"), (1, "avg3x3")),  # 5
    ((0, "sep3x3"), (0, "none")),    # 6
    concat=(1, 2, 3, 4, 5, 6),
)
REDUCTION = genotype(
    ((0, "sep5x5"), (1, "sep7x7")),  # 2
    ((0, "max3x3"), (1, "sep7x7")),  # 3
    ((0, "avg3x3"), (1, "sep5x5")),  # 4
    ((3, "none"),   (2, "avg3x3")),  # 5
    ((2, "sep3x3"), (0, "max3x3")),  # 6
    concat=(3, 4, 5, 6),
)
# fmt: on


class Normalisation(NamedTuple):
    """Batch normalisation's constants; momentum is torch's, one minus the code's decay."""

    eps: float
    momentum: float


IMAGENET = Normalisation(eps=1e-3, momentum=3e-4)
CIFAR = Normalisation(eps=1e-5, momentum=0.1)


class Plan(NamedTuple):
    """All that decides a network of cells but the number of classes and channels; a search mutates it."""

    normal: Genotype
    reduction: Genotype
    repeats: int  # N, normal cells in each of the three stacks
    filters: int  # F, of the first stack
    stem_channels: int
    stem_cells: int = 2  # reduction cells before the first stack; with none, the stem does not stride either
    back: int = 2  # how far back a normal cell behind a reduction cell reads; 3 skips the reduction's own input
    dropout: float = 0.5
    drop_path: float = 0.0  # of the last cell, at the end of training
    drop_by_depth: bool = True  # whether earlier cells drop less
    normalisation: Normalisation = IMAGENET
    auxiliary_width: float = 1.0


PLAN = Plan(NORMAL, REDUCTION, repeats=6, filters=168, stem_channels=96)
PLANS = {
    "large": PLAN._replace(back=3, drop_path=0.3),
    "mobile": PLAN._replace(repeats=4, filters=44, stem_channels=32),
    "cifar": PLAN._replace(filters=32, stem_channels=96, stem_cells=0, dropout=0.0, drop_path=0.4, normalisation=CIFAR),
}
STACKS = 3
AUXILIARY = (128, 768)  # channels of the auxiliary classifier's two convolutions
AUXILIARY_POOL = (5, 3)  # window and stride of its pooling
TRUNCATED = 1.3  # variance before a normal distribution is cut off at two deviations, for 1 afterwards


def nasnet_a(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 331,
    size: str = "large",
    stem: Literal["paper", "small"] = "paper",
    auxiliary: bool = False,
) -> CellNet:
    """NASNet-A: large (6 @ 4032), mobile (4 @ 1056) or cifar (6 @ 768).

    Drop path acts once `layers.drop_path.schedule_drop_path` is called in training. Batch normalisation of the
    ImageNet networks keeps 0.9997 of its running statistics at each step, as published, so that they need thousands of
    steps; the small stem comes with CIFAR's 0.9.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Decides the auxiliary classifier's last kernel alone.
        size: A row of PLANS.
        stem: "small" is the paper's for CIFAR: a 3×3 convolution to 3 F channels at stride 1, no stem cells.
        auxiliary: Whether a classifier reads the last cell before the second reduction, in training.

    Raises:
        UsageError: no such size or stem.
        ShapeError: the image is too small for the last reduction, or for the auxiliary classifier.
    """
    return cell_network(
        chosen(PLANS, size, stem),
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        auxiliary=auxiliary,
    )


def chosen(plans: dict[str, Plan], size: str, stem: str) -> Plan:
    """A row of a table of plans, with the stem of CIFAR's networks where that is asked for.

    Raises:
        UsageError: no such row, or no such stem.
    """
    if size not in plans:
        raise UsageError(f"size (={size!r}) must be one of {', '.join(plans)}.{suggestion(size, plans)}")
    if stem not in ("paper", "small"):
        raise UsageError(f"stem (={stem!r}) must be 'paper' or 'small'")
    plan = plans[size]
    if stem == "paper":
        return plan
    return plan._replace(stem_channels=3 * plan.filters, stem_cells=0, normalisation=CIFAR)


def cell_network(plan: Plan, *, num_classes: int, in_channels: int, image_size: int, auxiliary: bool) -> CellNet:
    """The network of a plan: the stem, three stacks of normal cells with a reduction cell between, the head.

    Raises:
        ShapeError: the image is too small for the last reduction, or for the auxiliary classifier.
    """
    least = smallest_image(plan)
    if image_size < least:
        raise ShapeError(
            f"image_size (={image_size}) must be {least} or more: the last factorised reduction needs 2×2 pixels"
        )
    cells = _cells(plan)
    read = f"normal{2 * plan.repeats - 1}"  # the last cell before the second reduction
    classifiers = {}
    if auxiliary:
        classifiers[read] = _auxiliary_classifier(plan, cells[read].outgoing, image_size, num_classes)
    return CellNet(
        {"stem_conv": _stem(plan, in_channels), **cells},
        back={row.name: row.back for row in _rows(plan)},
        head=_head(plan, list(cells.values())[-1].outgoing, num_classes),
        in_channels=in_channels,
        scheme=fan_out,
        auxiliary=classifiers,
    )


def smallest_image(plan: Plan) -> int:
    """The smallest side of which every weight sees a pixel, in pixels.

    The second half of a factorised reduction reads the pixels one further down and right: of one pixel it sees none.
    """
    behind_stem: int = 2 ** (plan.stem_cells + STACKS - 2) + 1  # halved so often, rounding up, it leaves two
    return 2 * behind_stem + 1 if plan.stem_cells else behind_stem


def fan_out(module: nn.Module) -> None:
    """Normal, cut off at two deviations, with variance 2 over the fan-out; biases 0. As the published code draws."""
    for name, parameter in module.named_parameters(recurse=False):
        if name == "bias":
            nn.init.zeros_(parameter)
            continue
        # A depthwise kernel feeds one channel: its group has one output.
        outputs = parameter.shape[0] // getattr(module, "groups", 1) * parameter[0, 0].numel()
        std = math.sqrt(TRUNCATED * 2 / outputs)
        nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)


class _Row(NamedTuple):
    name: str
    filters: int
    stride: int = 1
    back: int = 2


def _rows(plan: Plan) -> Iterator[_Row]:
    """The cells in order."""
    for n in range(plan.stem_cells):
        yield _Row(f"stem{n}", plan.filters // 2 ** (plan.stem_cells - n), stride=2)
    for stack in range(STACKS):
        filters = plan.filters * 2**stack
        if stack:
            yield _Row(f"reduction{stack - 1}", filters, stride=2)
        for n in range(plan.repeats):
            back = plan.back if stack and n == 0 else 2
            yield _Row(f"normal{stack * plan.repeats + n}", filters, back=back)


def _cells(plan: Plan) -> dict[str, Cell]:
    """The fold: each cell takes up the maps that the cells before it leave."""
    rows = list(_rows(plan))
    current = Incoming(plan.stem_channels, 2 if plan.stem_cells else 1)
    maps: list[Incoming | None] = [None, current]
    cells: dict[str, Cell] = {}
    for number, row in enumerate(rows, start=1):
        depth = number / len(rows) if plan.drop_by_depth else 1.0
        cells[row.name] = Cell(
            plan.normal if row.stride == 1 else plan.reduction,
            row.filters,
            current=current,
            previous=maps[-row.back],
            stride=row.stride,
            style=Style(_norm(plan), depth * plan.drop_path),
        )
        current = cells[row.name].outgoing
        maps.append(current)
    return cells


def _stem(plan: Plan, in_channels: int) -> nn.Module:
    stride, padding = (2, 0) if plan.stem_cells else (1, 1)
    conv = nn.Conv2d(in_channels, plan.stem_channels, 3, stride=stride, padding=padding, bias=False)
    return nn.Sequential(OrderedDict({"conv": conv, "norm": _norm(plan)(plan.stem_channels)}))


def _head(plan: Plan, incoming: Incoming, num_classes: int) -> dict[str, nn.Module]:
    return {
        "relu": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(plan.dropout),
        "output": nn.Linear(incoming.channels, num_classes),
    }


def _auxiliary_classifier(plan: Plan, incoming: Incoming, image_size: int, num_classes: int) -> nn.Module:
    window, stride = AUXILIARY_POOL
    # Every halving rounds up, but the stem's, which has no padding.
    stem = (image_size - 1) // 2 if plan.stem_cells else image_size
    side = -(-stem // (incoming.stride // (2 if plan.stem_cells else 1)))
    if side < window:
        raise ShapeError(
            f"image_size (={image_size}) is too small for the auxiliary classifier: it pools {window}×{window} pixels "
            f"and gets {side}×{side}; {incoming.stride * (window - 1) + 3} is enough"
        )
    middle, last = (int(width * plan.auxiliary_width) for width in AUXILIARY)
    parts = {
        "relu": nn.ReLU(),
        "pool": nn.AvgPool2d(window, stride=stride),
        "conv1": nn.Conv2d(incoming.channels, middle, 1, bias=False),
        "norm1": _norm(plan)(middle),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(middle, last, (side - window) // stride + 1, bias=False),
        "norm2": _norm(plan)(last),
        "relu2": nn.ReLU(),
        "flatten": nn.Flatten(),
        "output": nn.Linear(last, num_classes),
    }
    return nn.Sequential(OrderedDict(parts))


def _norm(plan: Plan) -> Norm:
    return partial(nn.BatchNorm2d, eps=plan.normalisation.eps, momentum=plan.normalisation.momentum)
