"""VGG. Simonyan and Zisserman 2014, arXiv:1409.1556, Table 1, columns A to E; with batch normalisation; the book's.

The paper has no form with batch normalisation; that one is the libraries'. Away from 224 pixels fc6 takes what the last
pooling leaves, where libraries average or repeat it to 7×7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, get_args

from torch import nn

from fovea.errors import UsageError, suggestion
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import Initialisation, gaussian, glorot_uniform
from fovea.layers.local_response_norm import LocalResponseNorm
from fovea.layers.side import side_after
from fovea.layers.vgg_block import VGGBlock

Block = Callable[[int, int, Sequence[int]], nn.Module]  # in_channels, out_channels, kernels
Start = Literal["paper", "gaussian", "glorot", "he"]
Stem = Literal["paper", "small"]

CHANNELS = (64, 128, 256, 512, 512)
# Table 1 on its side: the kernels of each stage. A max pooling 2×2 follows each.
# fmt: off
COLUMNS: dict[str, tuple[tuple[int, ...], ...]] = {
    "A":     ((3,),   (3,),   (3, 3),       (3, 3),       (3, 3)),
    "A-LRN": ((3,),   (3,),   (3, 3),       (3, 3),       (3, 3)),        # normalised behind the first convolution
    "B":     ((3, 3), (3, 3), (3, 3),       (3, 3),       (3, 3)),
    "C":     ((3, 3), (3, 3), (3, 3, 1),    (3, 3, 1),    (3, 3, 1)),
    "D":     ((3, 3), (3, 3), (3, 3, 3),    (3, 3, 3),    (3, 3, 3)),
    "E":     ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
# fmt: on
UNITS = (4096, 4096)  # fc6 and fc7
DROPOUT = 0.5  # behind fc6 and fc7


def vgg(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    column: str = "D",
    block: Block = VGGBlock,
    ratio: int = 1,
    start: Start = "paper",
    stem: Stem = "paper",
) -> ConvNet:
    """VGG: stages of small convolutions, each with twice the channels at half the size, and three full layers.

    How weights start. The paper draws net A from a normal distribution, biases 0, and trains B to E from A: their first
    four convolutions and their full layers are A's. Without a trained A it found Glorot's to do. So "paper" is
    `gaussian(0.01)` for A and A-LRN, and Glorot's for the others. The paper prints "10⁻² variance", a deviation of 0.1,
    with which the logits of A would start in the millions and its learning rate of 0.01 could not work; so 0.01 is
    taken for the deviation, as AlexNet has it (our reading, unconfirmed). "he" is torchvision's start: convolutions by
    He's with fan-out, full layers `gaussian(0.01)`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; fc6 takes 512 × (image_size // 32)² numbers.
        column: Of the paper's Table 1: A, A-LRN, B, C, D or E.
        block: Makes a stage from (in_channels, out_channels, kernels); it must keep the size.
        ratio: Divides the channels of every stage, rounded down; the full layers keep theirs, as in the book.
        start: How weights start: "paper", "gaussian" (0.01), "glorot" or "he".
        stem: "small" leaves out the first pooling, for images of 28 to 64 pixels.

    Raises:
        UsageError: no such column, start or stem, or a ratio that leaves no channels.
        ShapeError: image_size is less than 32, or 16 with the small stem.
    """
    _check(column, ratio, start, stem)
    stages: dict[str, nn.Module] = {}
    widths = (in_channels, *(channels // ratio for channels in CHANNELS))
    for n, (kernels, (before, channels)) in enumerate(zip(COLUMNS[column], pairwise(widths), strict=True), start=1):
        stages[f"conv{n}"] = block(before, channels, kernels)
        if n == 1 and column == "A-LRN":
            stages["lrn1"] = LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)  # AlexNet's constants
        if n > 1 or stem == "paper":
            stages[f"pool{n}"] = nn.MaxPool2d(2)
    head: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    full = (widths[-1] * side_after(stages, image_size) ** 2, *UNITS)
    for n, (features, units) in enumerate(pairwise(full), start=6):
        head[f"fc{n}"] = nn.Sequential(nn.Linear(features, units), nn.ReLU(), nn.Dropout(DROPOUT))
    head["output"] = nn.Linear(UNITS[-1], num_classes)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=_scheme(start, column))


def vgg_bn(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    column: str = "D",
    ratio: int = 1,
    stem: Stem = "paper",
) -> ConvNet:
    """VGG with batch normalisation between convolution and ReLU, in torchvision's form: biases kept, He's start.

    The arguments and errors are those of `vgg`.
    """
    return vgg(
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        column=column,
        block=partial(VGGBlock, normalised=True),
        ratio=ratio,
        start="he",
        stem=stem,
    )


def _check(column: str, ratio: int, start: str, stem: str) -> None:
    options = {"column": (column, COLUMNS), "start": (start, get_args(Start)), "stem": (stem, get_args(Stem))}
    for name, (value, known) in options.items():
        if value not in known:
            raise UsageError(f"{name} (={value!r}) must be one of {', '.join(known)}.{suggestion(str(value), known)}")
    if not isinstance(ratio, int) or not 1 <= ratio <= min(CHANNELS):
        raise UsageError(
            f"ratio (={ratio!r}) must be a whole number from 1 to {min(CHANNELS)}, the first stage's channels"
        )


def _scheme(start: str, column: str) -> Initialisation:
    if start == "paper":
        start = "gaussian" if column.startswith("A") else "glorot"
    return {"gaussian": gaussian(0.01), "glorot": glorot_uniform(), "he": _he}[start]


def _he(module: nn.Module) -> None:
    weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
    if isinstance(module, nn.Linear):
        nn.init.normal_(weight, std=0.01)
    else:
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(bias)
