"""BN-Inception. Ioffe and Szegedy 2015, arXiv:1502.03167, Figure 5; called Inception v2 by some.

The figure contradicts itself: it prints projections of 128 in 4c and 4d, but output sizes that need 96. The bare name
has the printed filters; a variant has the printed outputs. The appendix says that the first layer is separable with
eight filters a channel; the known replications have it dense, and so has the bare name. No reading gives the 13.6
million parameters that the paper states.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.convnet import ConvNet
from fovea.layers.inception_bn import NormalisedInceptionModule, Row
from fovea.layers.initialisation import he_normal

# fmt: off
TABLE = {  #              1×1  3×3r  3×3  dbl r  dbl  pool   proj
    "inception_3a": Row(   64,   64,  64,   64,   96, "avg",   32),
    "inception_3b": Row(   64,   64,  96,   64,   96, "avg",   64),
    "inception_3c": Row(    0,  128, 160,   64,   96, "max",    0, stride=2),
    "inception_4a": Row(  224,   64,  96,   96,  128, "avg",  128),
    "inception_4b": Row(  192,   96, 128,   96,  128, "avg",  128),
    "inception_4c": Row(  160,  128, 160,  128,  160, "avg",  128),
    "inception_4d": Row(   96,  128, 192,  160,  192, "avg",  128),
    "inception_4e": Row(    0,  128, 192,  192,  256, "max",    0, stride=2),
    "inception_5a": Row(  352,  192, 320,  160,  224, "avg",  128),
    "inception_5b": Row(  352,  192, 320,  192,  224, "max",  128),
}
# fmt: on
DISPUTED = ("inception_4c", "inception_4d")  # the figure prints projections of 128, but outputs that need 96
STEM = (64, 192)  # filters of conv1 and conv2; conv2 is preceded by a 1×1 with as many as conv1 has
MULTIPLIER = 8  # filters a channel of the separable stem
LEAST = {"paper": 7, "separable": 7, "small": 1}  # pixels; the smallest image that leaves something for 3a


def bn_inception(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Literal["paper", "separable", "small"] = "paper",
    projection: Literal[96, 128] = 128,
) -> ConvNet:
    """BN-Inception: no dropout, no local response normalisation; batch normalisation before every nonlinearity.

    The paper is silent about the initialisation; He's is used.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; the weights do not depend on it.
        stem: "paper", a dense 7×7 as in the replications; "separable", as the paper's appendix says; "small", for 28 to
            64 pixels: a 3×3 convolution of stride 1 and no pooling before the first module.
        projection: Filters behind the pooling in modules 4c and 4d: 128 as the figure prints them, or 96, which the
            outputs that it prints need.

    Raises:
        ShapeError: image_size is too small for the stem.
        UsageError: no such stem or projection.
    """
    _check(image_size, stem, projection)
    stages = _stem(stem, in_channels)
    channels = STEM[-1]
    for name, row in TABLE.items():
        chosen = row._replace(projection=projection) if name in DISPUTED else row
        stages[name] = NormalisedInceptionModule(channels, chosen)
        channels = chosen.out_channels(channels)
    head = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(channels, num_classes)}
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=he_normal())


def _stem(stem: str, in_channels: int) -> dict[str, nn.Module]:
    first, second = STEM
    conv2 = nn.Sequential(ConvNorm(first, first, 1), ConvNorm(first, second, 3))
    if stem == "small":
        return {"conv1": ConvNorm(in_channels, first, 3), "conv2": conv2}
    conv1: nn.Module = ConvNorm(in_channels, first, 7, stride=2)
    if stem == "separable":
        between = MULTIPLIER * in_channels
        depthwise = nn.Conv2d(in_channels, between, 7, stride=2, padding=3, groups=in_channels, bias=False)
        conv1 = nn.Sequential(depthwise, ConvNorm(between, first, 1))
    return {"conv1": conv1, "pool1": _pool(), "conv2": conv2, "pool2": _pool()}


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # the last window hangs over: 112, 56, 28


def _check(image_size: int, stem: str, projection: int) -> None:
    if stem not in LEAST:
        raise UsageError(f"stem (={stem!r}) must be one of {', '.join(LEAST)}")
    if projection not in (96, 128):
        raise UsageError(f"projection (={projection}) must be 128, as the figure prints it, or 96, as its outputs need")
    if image_size < LEAST[stem]:
        raise ShapeError(f"image_size (={image_size}) is too small for stem={stem!r}; {LEAST[stem]} is the least")
