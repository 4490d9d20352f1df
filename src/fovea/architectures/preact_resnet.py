"""Pre-activation ResNet. He, Zhang, Ren and Sun 2016, arXiv:1603.05027: the path of identities stays clean.

On ImageNet a bottleneck strides in its 3×3, as in Facebook's code; on CIFAR in its first 1×1, as in the
authors' released code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from fovea.architectures.resnet import (
    CIFAR_WIDTHS,
    WIDTHS,
    Option,
    Stem,
    cifar_depths,
    first_convolution,
    he_fan_out,
    imagenet_stem,
    pooled_linear,
)
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.pre_activation import PreActivation, PreActivationBasicBlock, PreActivationBottleneck, norm_relu
from fovea.layers.stage import Stage

# fmt: off
DEPTHS = {
    50:  (3,  4,  6, 3),
    101: (3,  4, 23, 3),
    152: (3,  8, 36, 3),
    200: (3, 24, 36, 3),
}
# fmt: on
CIFAR_STEM = 16  # channels of conv1


def preact_resnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    depth: int = 50,
    shortcut: Option = "B",
    stem: Stem = "paper",
) -> ConvNet:
    """A pre-activation network of bottlenecks for ImageNet.

    The first normalisation and ReLU stand right behind conv1, before the pooling, and serve both paths of the first
    block (the paper's appendix).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        depth: 50, 101, 152 or 200.
        shortcut: Option A, B or C; a projection is not normalised.
        stem: "paper" or "small"; see `resnet.resnet`.

    Raises:
        UsageError: an unknown depth, shortcut or stem.
    """
    if depth not in DEPTHS:
        raise UsageError(f"depth (={depth}) must be one of {', '.join(map(str, DEPTHS))}")
    opening = imagenet_stem(in_channels, image_size, stem=stem)
    block = partial(PreActivationBottleneck, shortcut=shortcut)
    return _network(opening, block, DEPTHS[depth], WIDTHS, num_classes=num_classes, entry="none")


def cifar_preact_resnet(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,  # noqa: ARG001  # any: the head averages over space
    depth: int = 164,
    bottleneck: bool = True,
    shortcut: Option = "B",
) -> ConvNet:
    """A pre-activation network for 32×32 pixels: 9n + 2 layers with bottlenecks, 6n + 2 with basic blocks.

    The paper's of 110 layers has basic blocks and shortcut A, those of 164 and 1001 bottlenecks and B.

    Raises:
        UsageError: a depth that cannot be had, or an unknown shortcut.
    """
    block: Callable[..., PreActivation] = partial(PreActivationBasicBlock, shortcut=shortcut)
    if bottleneck:
        block = partial(PreActivationBottleneck, shortcut=shortcut, stride_in_first=True)
    depths = cifar_depths(depth, layers=3 if bottleneck else 2)
    opening = {"conv1": nn.Conv2d(in_channels, CIFAR_STEM, 3, padding=1, bias=False)}
    return _network(opening, block, depths, CIFAR_WIDTHS, num_classes=num_classes, entry="both")


def _network(
    stem: Mapping[str, nn.Module],
    block: Callable[..., PreActivation],
    depths: Sequence[int],
    widths: Sequence[int],
    *,
    num_classes: int,
    entry: str,
) -> ConvNet:
    """Stages of pre-activation blocks; the first block of each shares its first activation, conv2_x's as entry says."""
    stages, conv1 = dict(stem), first_convolution(stem)
    channels = conv1.out_channels
    for n, (depth, width) in enumerate(zip(depths, widths, strict=True), start=2):
        first = partial(block, active=entry if n == 2 else "both")
        stage = Stage(block, channels, width, depth, stride=1 if n == 2 else 2, first=first)
        stages[f"conv{n}_x"], channels = stage, stage.out_channels
    stages["norm"] = norm_relu(channels)  # the last sum was not activated
    head = pooled_linear(channels, num_classes)
    return ConvNet(stages, head=head, in_channels=conv1.in_channels, scheme=he_fan_out)
