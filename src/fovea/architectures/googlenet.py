"""GoogLeNet. Szegedy et al. 2014, arXiv:1409.4842, Table 1; and the network that torchvision has under this name.

The paper's stem reads as a dense 7×7 convolution, and Caffe's replication has it so; but the row's printed 2.7K
parameters and 34M operations are those of a separable one with eight filters a channel. Both are here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.auxiliary import AuxiliaryClassifier
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.convnet import ConvNet
from fovea.layers.inception import Filters, InceptionModule, Unit, rectified
from fovea.layers.initialisation import Drawn, Initialisation, initialise
from fovea.layers.local_response_norm import LocalResponseNorm
from fovea.layers.smallest_image import shape_after

# fmt: off
TABLE = {  #              1×1  3×3r  3×3  5×5r  5×5  proj
    "inception_3a": Filters( 64,  96,  128,  16,  32,  32),
    "inception_3b": Filters(128, 128,  192,  32,  96,  64),
    "inception_4a": Filters(192,  96,  208,  16,  48,  64),
    "inception_4b": Filters(160, 112,  224,  24,  64,  64),
    "inception_4c": Filters(128, 128,  256,  24,  64,  64),
    "inception_4d": Filters(112, 144,  288,  32,  64,  64),
    "inception_4e": Filters(256, 160,  320,  32, 128, 128),
    "inception_5a": Filters(256, 160,  320,  32, 128, 128),
    "inception_5b": Filters(384, 192,  384,  48, 128, 128),
}
# fmt: on
STEM = (64, 192)  # filters of conv1 and conv2; conv2 is preceded by a 1×1 with as many as conv1 has
MULTIPLIER = 8  # filters a channel of the separable stem
POOLED = {"inception_4a": "pool3", "inception_5a": "pool4"}  # the pooling that stands before a module
AUXILIARY = ("inception_4a", "inception_4d")  # the stages that the auxiliary classifiers read

# The smallest image, in pixels, that leaves something for the last module (or 5×5 for the auxiliary classifiers).
LEAST = {"paper": 31, "separable": 31, "small": 4}
LEAST_WITH_AUXILIARY = {"paper": 79, "separable": 79, "small": 10}
LEAST_TORCHVISION = {"paper": 15, "small": 2}

Stem = Literal["paper", "separable", "small"]


class Form(NamedTuple):
    """What the paper's network and torchvision's differ in."""

    unit: Unit  # a convolution with its nonlinearity; keeps the size
    stem_unit: Callable[[int, int], nn.Module]  # the same, 7×7 at stride 2
    large_kernel: int
    norms: tuple[nn.Module, nn.Module]  # behind pool1 and behind conv2
    pool4: nn.Module


def googlenet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Stem = "paper",
    auxiliary: bool = False,
    dropout: float = 0.4,
) -> ConvNet:
    """GoogLeNet as the paper has it: nine Inception modules with 5×5, local response normalisation, dropout 40 %.

    The paper is silent about the normalisation's constants and the initialisation; both are those of Caffe's
    replication: size 5, alpha 1e-4 over the size, beta 0.75, k 1; weights uniform with variance 1/fan-in, biases 0.2,
    those of output layers 0 (the auxiliary hidden layer's 0.2 from memory).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; the auxiliary classifiers' first linear layer depends on it.
        stem: "paper", a dense 7×7; "separable", what the paper's table counts; "small", for 28 to 64 pixels: a 3×3
            convolution of stride 1 and no pooling before the first module.
        auxiliary: With the two auxiliary classifiers, for training alone; their losses count 0.3 in the paper.
        dropout: Share of the 1,024 features dropped, in [0, 1).

    Raises:
        ShapeError: image_size is too small for the stem, or for the auxiliary classifiers.
        UsageError: no such stem, or an impossible dropout.
    """
    _check(image_size, stem, dropout, least=LEAST_WITH_AUXILIARY if auxiliary else LEAST)
    form = Form(
        unit=rectified,
        stem_unit=_separable if stem == "separable" else _dense,
        large_kernel=5,
        norms=(_norm(), _norm()),
        pool4=_pool(),
    )
    stages = _stages(form, in_channels, small=stem == "small")
    heads = {}
    if auxiliary:
        until = list(stages).index(AUXILIARY[0]) + 1
        side = shape_after(nn.Sequential(*list(stages.values())[:until]), (in_channels, image_size, image_size))[-1]
        heads = _auxiliary(num_classes, unit=rectified, side=side)
    return _GoogLeNet(stages, head=_head(num_classes, dropout), in_channels=in_channels, auxiliary=heads)


def googlenet_torchvision(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Literal["paper", "small"] = "paper",
    auxiliary: bool = False,
    dropout: float = 0.2,
) -> ConvNet:
    """What torchvision calls GoogLeNet: batch-normalised, without local response normalisation, 3×3 for the 5×5.

    The 3×3 is a known fault there (issue 906) that weights have made permanent; the last pooling is 2×2. Weights start
    normal with standard deviation 0.01, as there, and biases of linear layers at 0.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        stem: "paper", 7×7 at stride 2; "small", as in `googlenet`.
        auxiliary: With the two auxiliary classifiers, for training alone.
        dropout: Share of the 1,024 features dropped, in [0, 1).

    Raises:
        ShapeError: image_size is too small.
        UsageError: no such stem, or an impossible dropout.
    """
    _check(image_size, stem, dropout, least=LEAST_TORCHVISION)
    form = Form(
        unit=_normalised,
        stem_unit=functools.partial(_normalised, stride=2),
        large_kernel=3,
        norms=(nn.Identity(), nn.Identity()),
        pool4=_pool(2),
    )
    stages = _stages(form, in_channels, small=stem == "small")
    heads = _auxiliary(num_classes, unit=_normalised, adaptive=True) if auxiliary else {}
    scheme = Drawn(nn.init.trunc_normal_, {"std": 0.01})
    head = _head(num_classes, dropout)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=scheme, auxiliary=heads)


class _GoogLeNet(ConvNet):
    def reset_parameters(self) -> None:
        """As Caffe's replication starts: biases 0.2, but 0 in the layers that give logits."""
        initialise(self.features, _caffe(0.2))
        initialise(self.head, _caffe(0.0))
        for head in self.auxiliary.children():
            for name, part in head.named_children():
                initialise(part, _caffe(0.0 if name == "output" else 0.2))


def _caffe(bias: float) -> Initialisation:
    """Caffe's "xavier": uniform with variance 1 over the fan-in alone."""
    return Drawn(nn.init.kaiming_uniform_, {"nonlinearity": "linear"}, bias)


def _stages(form: Form, in_channels: int, *, small: bool) -> dict[str, nn.Module]:
    first, second = STEM
    norm1, norm2 = form.norms
    conv2 = nn.Sequential(form.unit(first, first, 1), form.unit(first, second, 3), norm2)
    stages: dict[str, nn.Module] = {
        "conv1": form.stem_unit(in_channels, first),
        "pool1": nn.Sequential(_pool(), norm1),
        "conv2": conv2,
        "pool2": _pool(),
    }
    if small:
        stages = {"conv1": nn.Sequential(form.unit(in_channels, first, 3), norm1), "conv2": conv2}
    channels = second
    for name, filters in TABLE.items():
        if name in POOLED:
            stages[POOLED[name]] = form.pool4 if POOLED[name] == "pool4" else _pool()
        stages[name] = InceptionModule(channels, filters, unit=form.unit, large_kernel=form.large_kernel)
        channels = filters.out_channels
    return stages


def _head(num_classes: int, dropout: float) -> dict[str, nn.Module]:
    features = TABLE["inception_5b"].out_channels
    return {
        "pool5": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(dropout),
        "linear": nn.Linear(features, num_classes),
    }


def _auxiliary(num_classes: int, *, unit: Unit, side: int = 14, adaptive: bool = False) -> dict[str, nn.Module]:
    return {
        name: AuxiliaryClassifier(TABLE[name].out_channels, num_classes, side=side, adaptive=adaptive, unit=unit)
        for name in AUXILIARY
    }


def _pool(kernel: int = 3) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)  # the last window hangs over: 112, 56, 28, 14, 7


def _norm() -> LocalResponseNorm:
    return LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0, scaling="code")


def _dense(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 7, stride=2, padding=3), nn.ReLU())


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Eight 7×7 filters for each channel alone, then 1×1 over all; no nonlinearity between (the paper is silent)."""
    between = MULTIPLIER * in_channels
    return nn.Sequential(
        nn.Conv2d(in_channels, between, 7, stride=2, padding=3, groups=in_channels, bias=False),
        nn.Conv2d(between, out_channels, 1),
        nn.ReLU(),
    )


def _normalised(in_channels: int, out_channels: int, kernel: int = 7, stride: int = 1) -> ConvNorm:
    return ConvNorm(in_channels, out_channels, kernel, stride=stride, eps=1e-3)


def _check(image_size: int, stem: str, dropout: float, least: dict[str, int]) -> None:
    if stem not in least:
        raise UsageError(f"stem (={stem!r}) must be one of {', '.join(least)}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout (={dropout}) must be at least 0 and less than 1")
    if image_size < least[stem]:
        raise ShapeError(f"image_size (={image_size}) is too small for stem={stem!r}; {least[stem]} is the least")
