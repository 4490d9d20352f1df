"""ResNet. He, Zhang, Ren and Sun 2015, arXiv:1512.03385, Table 1; the CIFAR networks of section 4.2; their plain twins.

The bare names are the paper's: a bottleneck strides in its first 1×1, and the pooling is that of the authors' released
Caffe networks. `_v1_5` strides in the 3×3, as in Facebook's code and torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import WEIGHTED
from fovea.layers.residual import BasicBlock, Bottleneck, PlainBlock, zero_last_gammas
from fovea.layers.stage import Block, Stage

Option = Literal["A", "B", "C"]
Stem = Literal["paper", "small"]


class Row(NamedTuple):
    """A column of Table 1: the block, and how many of them in conv2_x to conv5_x."""

    block: type[nn.Module]
    depths: tuple[int, ...]


STEM = 64  # channels of conv1
WIDTHS = (64, 128, 256, 512)  # of conv2_x to conv5_x
# fmt: off
TABLE_1 = {
    18:  Row(BasicBlock, (2, 2,  2, 2)),
    34:  Row(BasicBlock, (3, 4,  6, 3)),
    50:  Row(Bottleneck, (3, 4,  6, 3)),
    101: Row(Bottleneck, (3, 4, 23, 3)),
    152: Row(Bottleneck, (3, 8, 36, 3)),
}
# fmt: on
CIFAR_WIDTHS = (16, 32, 64)  # for maps of 32, 16 and 8 pixels; 2n layers each: 6n + 2 in all


def resnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    depth: int = 50,
    shortcut: Option = "B",
    stem: Stem = "paper",
    zero_last_gamma: bool = False,
) -> ConvNet:
    """A residual network of Table 1, with the paper's strides.

    With 18 and 34 layers the paper compares all three shortcuts; the default is B, as for the deeper ones. conv1 pools
    as Facebook's networks of 18 and 34 layers do, and the authors' deeper ones.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; any that survives the stem.
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A (zeros), B (projection where shapes change) or C (projection everywhere).
        stem: "paper", or "small" for images of 28 to 64 pixels: conv1 is 3×3 with stride 1, and no pooling.
        zero_last_gamma: Whether each branch's last gain starts at 0; the paper's start at 1.

    Raises:
        UsageError: an unknown depth, shortcut or stem.
        ShapeError: image_size is too small.
    """
    kind, depths = _row(depth)
    bottlenecks = kind is Bottleneck
    block: Block = partial(BasicBlock, shortcut=shortcut)
    if bottlenecks:
        block = partial(Bottleneck, shortcut=shortcut, stride_in_first=True)
    opening = imagenet_stem(in_channels, image_size, stem=stem, ceil_mode=bottlenecks)
    return residual_network(opening, block, depths, num_classes=num_classes, zero_last_gamma=zero_last_gamma)


def resnet_v1_5(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    depth: int = 50,
    shortcut: Option = "B",
    stem: Stem = "paper",
    zero_last_gamma: bool = False,
) -> ConvNet:
    """A bottleneck network of Table 1 that strides in the 3×3, as Facebook's code and torchvision have it.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        depth: 50, 101 or 152.
        shortcut: Option A, B or C.
        stem: "paper" or "small"; see `resnet`.
        zero_last_gamma: Whether each branch's last gain starts at 0.

    Raises:
        UsageError: an unknown depth, shortcut or stem.
    """
    block, depths = _row(depth)
    if block is not Bottleneck:
        raise UsageError(
            f"depth (={depth}) has no bottlenecks, and so no other place for the stride: take resnet{depth}"
        )
    strided = partial(Bottleneck, stride_in_first=False, shortcut=shortcut)
    opening = imagenet_stem(in_channels, image_size, stem=stem)
    return residual_network(opening, strided, depths, num_classes=num_classes, zero_last_gamma=zero_last_gamma)


def plain(
    *, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, depth: int = 34, stem: Stem = "paper"
) -> ConvNet:
    """The twin of ResNet-18 or -34 without shortcuts, which gets worse with depth.

    Raises:
        UsageError: a depth other than 18 and 34, or an unknown stem.
    """
    block, depths = _row(depth)
    if block is not BasicBlock:
        raise UsageError(f"depth (={depth}) of a plain network must be 18 or 34")
    opening = imagenet_stem(in_channels, image_size, stem=stem)
    return residual_network(opening, PlainBlock, depths, num_classes=num_classes)


def cifar_resnet(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,  # noqa: ARG001  # any: the head averages over space
    depth: int = 20,
    width: float = 1.0,
    shortcut: Option = "A",
    zero_last_gamma: bool = False,
) -> ConvNet:
    """A residual network for 32×32 pixels of 6n + 2 layers; the paper has 20, 32, 44, 56, 110 and 1202, all with A.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; any, since the head averages over space.
        depth: Layers.
        width: Multiplies the channels of every stage, rounded; the paper's is 1, wide networks have more
            (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
        shortcut: Option A, B or C; see `layers.shortcut.shortcut`.
        zero_last_gamma: Whether each branch's last gain starts at 0.

    Raises:
        UsageError: a depth that is not 6n + 2, a width that leaves no channels, or an unknown shortcut.
    """
    block = partial(BasicBlock, shortcut=shortcut)
    depths, widths = cifar_depths(depth, layers=2), cifar_widths(width)
    opening = cifar_stem(in_channels, widths[0])
    return residual_network(
        opening, block, depths, widths=widths, num_classes=num_classes, zero_last_gamma=zero_last_gamma
    )


def cifar_plain(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,  # noqa: ARG001  # any: the head averages over space
    depth: int = 20,
    width: float = 1.0,
) -> ConvNet:
    """The twin of `cifar_resnet` without shortcuts; the paper has 20, 32, 44 and 56 layers, and 110 that fail.

    Raises:
        UsageError: a depth that is not 6n + 2, or a width that leaves no channels.
    """
    depths, widths = cifar_depths(depth, layers=2), cifar_widths(width)
    return residual_network(
        cifar_stem(in_channels, widths[0]), PlainBlock, depths, widths=widths, num_classes=num_classes
    )


def residual_network(
    stem: Mapping[str, nn.Module],
    block: Block,
    depths: Sequence[int],
    *,
    num_classes: int,
    widths: Sequence[int] = WIDTHS,
    zero_last_gamma: bool = False,
) -> ConvNet:
    """Stages of any block behind a stem, each but the first halving the resolution, and the mean of the last.

    Args:
        stem: The stages before conv2_x; conv1 holds the first convolution.
        block: Makes a block; see `layers.stage.Block`.
        depths: How many blocks each stage has.
        num_classes: Number of logits.
        widths: The blocks' width in each stage.
        zero_last_gamma: Whether each branch's last gain starts at 0.
    """
    stages, conv1 = dict(stem), first_convolution(stem)
    channels = conv1.out_channels
    for n, (depth, width) in enumerate(zip(depths, widths, strict=True), start=2):
        stage = Stage(block, channels, width, depth, stride=1 if n == 2 else 2)
        stages[f"conv{n}_x"], channels = stage, stage.out_channels
    if zero_last_gamma:
        zero_last_gammas(nn.ModuleList(stages.values()))
    head = pooled_linear(channels, num_classes)
    return ConvNet(stages, head=head, in_channels=conv1.in_channels, scheme=he_fan_out)


def first_convolution(stem: Mapping[str, nn.Module]) -> nn.Conv2d:
    """The convolution of conv1, which knows the channels of the images and of what follows."""
    return next(module for module in stem["conv1"].modules() if isinstance(module, nn.Conv2d))


def imagenet_stem(
    in_channels: int, image_size: int, *, stem: Stem = "paper", ceil_mode: bool = False
) -> dict[str, nn.Module]:
    """conv1 and pool1 of Table 1: 224 pixels become 112, and 56.

    Args:
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        stem: "paper": 7×7 with stride 2, then max pooling; or "small": 3×3 with stride 1 and no pooling.
        ceil_mode: Whether the pooling overhangs to the right, as Caffe's, instead of padding both sides.

    Raises:
        UsageError: an unknown stem.
        ShapeError: nothing would be left of the image.
    """
    if stem == "small":
        return {"conv1": ConvNorm(in_channels, STEM, 3)}
    if stem != "paper":
        raise UsageError(f"stem (={stem!r}) must be paper or small")
    if ceil_mode and image_size < 3:
        raise ShapeError(f"image_size (={image_size}) leaves pool1 nothing to pool; 3 is the least")
    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True) if ceil_mode else nn.MaxPool2d(3, stride=2, padding=1)
    return {"conv1": ConvNorm(in_channels, STEM, 7, stride=2), "pool1": pool}


def cifar_stem(in_channels: int, width: int = CIFAR_WIDTHS[0]) -> dict[str, nn.Module]:
    """conv1 for 32×32 pixels: 3×3 to 16 channels, or as many as there are."""
    return {"conv1": ConvNorm(in_channels, width, 3)}


def cifar_widths(width: float) -> tuple[int, ...]:
    """The channels of the three stages, so many times the paper's.

    Raises:
        UsageError: nothing would be left of them.
    """
    if not 1 / CIFAR_WIDTHS[0] <= width < float("inf"):
        raise UsageError(f"width (={width}) must be at least 1/{CIFAR_WIDTHS[0]}, so that channels are left")
    return tuple(round(channels * width) for channels in CIFAR_WIDTHS)


def cifar_depths(depth: int, *, layers: int) -> tuple[int, ...]:
    """How many blocks of so many layers each of the three stages has in a network of so many layers.

    Raises:
        UsageError: the depth cannot be had.
    """
    blocks, rest = divmod(depth - 2, 3 * layers)
    if rest or blocks < 1:
        raise UsageError(
            f"depth (={depth}) must be {3 * layers}n + 2: three stages of n blocks of {layers} layers each"
        )
    return (blocks,) * len(CIFAR_WIDTHS)


def pooled_linear(channels: int, num_classes: int) -> dict[str, nn.Module]:
    """The head: the mean over space, then one linear layer."""
    return {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "output": nn.Linear(channels, num_classes),
    }


def he_fan_out(module: nn.Module) -> None:
    """How residual networks start: convolutions by He's normal, the classifier as torch has it, biases 0.

    The paper says "as in" He et al. 2015, arXiv:1502.01852, which allows fan-in or fan-out; fan-out, and what it says
    of the classifier, is the code that Facebook and the authors released.
    """
    if not isinstance(module, WEIGHTED):
        return
    if isinstance(module, nn.Linear):
        module.reset_parameters()
    else:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _row(depth: int) -> Row:
    if depth not in TABLE_1:
        raise UsageError(f"depth (={depth}) must be one of {', '.join(map(str, TABLE_1))}")
    return TABLE_1[depth]
