"""Inception v3. Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2015, arXiv:1512.00567, and the code released with it.

The paper's Table 1 is an outline whose stem and module counts differ from the released network (comparison from
memory); this is the released one, whose figures everyone quotes. Stages are named as later releases of it have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.auxiliary import NormalisedAuxiliaryClassifier
from fovea.layers.convnet import ConvNet
from fovea.layers.inception_factorised import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, unit
from fovea.layers.initialisation import Drawn, Initialisation, initialise
from fovea.layers.smallest_image import shape_after


class Convolution(NamedTuple):
    """A row of the stem; the small stem has the same rows at stride 1 and padded, and none of the poolings."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


# fmt: off
STEM: dict[str, Convolution | None] = {  # None: a max pooling of 3×3 at stride 2
    "conv2d_1a_3x3":  Convolution( 32, 3, stride=2),
    "conv2d_2a_3x3":  Convolution( 32, 3),
    "conv2d_2b_3x3":  Convolution( 64, 3, padding=1),
    "maxpool_3a_3x3": None,
    "conv2d_3b_1x1":  Convolution( 80, 1),
    "conv2d_4a_3x3":  Convolution(192, 3),
    "maxpool_5a_3x3": None,
}
Module = Callable[..., InceptionA | InceptionB | InceptionC | InceptionD | InceptionE]
MODULES: dict[str, tuple[Module, tuple[int, ...]]] = {
    "mixed_5b": (InceptionA, (32,)),   # filters behind the pooling
    "mixed_5c": (InceptionA, (64,)),
    "mixed_5d": (InceptionA, (64,)),
    "mixed_6a": (InceptionB, ()),
    "mixed_6b": (InceptionC, (128,)),  # filters within the 7×7 branches
    "mixed_6c": (InceptionC, (160,)),
    "mixed_6d": (InceptionC, (160,)),
    "mixed_6e": (InceptionC, (192,)),
    "mixed_7a": (InceptionD, ()),
    "mixed_7b": (InceptionE, ()),
    "mixed_7c": (InceptionE, ()),
}
# fmt: on
AUXILIARY = "mixed_6e"  # the stage that the auxiliary classifier reads
LEAST = {"paper": 75, "small": 7}  # pixels; the smallest image that leaves something for the last modules
LEAST_WITH_AUXILIARY = {"paper": 107, "small": 11}


def inception_v3(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 299,
    stem: Literal["paper", "small"] = "paper",
    auxiliary: bool = False,
    dropout: float = 0.2,
) -> ConvNet:
    """Inception v3 as released.

    The released code's initialisation: normal, cut at two standard deviations of 0.1 (0.01 in the output layer, from
    memory; in the auxiliary classifier 0.01 in the last convolution and 0.001 in the output layer); biases 0.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; the auxiliary classifier's kernel depends on it below 299.
        stem: "paper", as released; "small", for 28 to 64 pixels: every convolution of the stem at stride 1 and padded,
            and no pooling.
        auxiliary: With the auxiliary classifier, for training alone; its loss counts 0.4 in the released code (from
            memory).
        dropout: Share of the 2,048 features dropped, in [0, 1); 0.2 in the released code, 0.5 in torchvision.

    Raises:
        ShapeError: image_size is too small for the stem, or for the auxiliary classifier.
        UsageError: no such stem, or an impossible dropout.
    """
    _check(image_size, stem, dropout, LEAST_WITH_AUXILIARY if auxiliary else LEAST)
    stages, channels = _stem(in_channels, small=stem == "small")
    heads: dict[str, nn.Module] = {}
    for name, (module, arguments) in MODULES.items():
        built = module(channels, *arguments)
        stages[name], channels = built, built.out_channels
        if auxiliary and name == AUXILIARY:
            side = shape_after(nn.Sequential(*stages.values()), (in_channels, image_size, image_size))[-1]
            heads[name] = NormalisedAuxiliaryClassifier(channels, num_classes, side=side)
    head = {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(dropout),
        "linear": nn.Linear(channels, num_classes),
    }
    return _InceptionV3(stages, head=head, in_channels=in_channels, auxiliary=heads)


class _InceptionV3(ConvNet):
    def reset_parameters(self) -> None:
        """As the released code starts."""
        initialise(self.features, _cut_normal(0.1))
        initialise(self.head, _cut_normal(0.01))
        for head in self.auxiliary.children():
            for name, part in head.named_children():
                initialise(part, _cut_normal({"conv": 0.01, "output": 0.001}.get(name, 0.1)))


def _cut_normal(std: float) -> Initialisation:
    return Drawn(nn.init.trunc_normal_, {"std": std, "a": -2 * std, "b": 2 * std})


def _stem(in_channels: int, *, small: bool) -> tuple[dict[str, nn.Module], int]:
    stages: dict[str, nn.Module] = {}
    channels = in_channels
    for name, row in STEM.items():
        if row is not None:
            stride, padding = (1, row.kernel // 2) if small else (row.stride, row.padding)
            stages[name] = unit(channels, row.channels, row.kernel, stride=stride, padding=padding)
            channels = row.channels
        elif not small:
            stages[name] = nn.MaxPool2d(3, stride=2)
    return stages, channels


def _check(image_size: int, stem: str, dropout: float, least: dict[str, int]) -> None:
    if stem not in least:
        raise UsageError(f"stem (={stem!r}) must be one of {', '.join(least)}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout (={dropout}) must be at least 0 and less than 1")
    if image_size < least[stem]:
        raise ShapeError(f"image_size (={image_size}) is too small for stem={stem!r}; {least[stem]} is the least")
