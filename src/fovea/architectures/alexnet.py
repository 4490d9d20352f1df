"""AlexNet. Krizhevsky, Sutskever and Hinton 2012, NIPS, section 3.5 and Figure 2; and the forms that go by its name.

Four networks do. The paper's ran on two GPUs, whose halves meet only in conv3 and in the fully connected layers. The
same without the halves is what the round figure of 62 million parameters counts. One tower of 64 first filters,
without normalisation, is what libraries call AlexNet (Krizhevsky 2014, arXiv:1404.5997, as torchvision has it). The
book Dive into Deep Learning has the ungrouped one without normalisation, for one channel and ten classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import gaussian, glorot_uniform, initialise, torch_default
from fovea.layers.local_response_norm import LocalResponseNorm, Scaling
from fovea.layers.side import side_after

Stem = Literal["paper", "small"]


class Row(NamedTuple):
    """One convolution with its ReLU, and what follows it."""

    channels: int
    kernel: int
    stride: int
    padding: int
    split: bool = False  # whether the two towers do not see each other here
    norm: bool = False  # local response normalisation
    pool: bool = False  # overlapping: maximum over 3×3 at stride 2


# fmt: off
PAPER = {
    "conv1": Row( 96, kernel=11, stride=4, padding=0, split=False, norm=True,  pool=True),
    "conv2": Row(256, kernel= 5, stride=1, padding=2, split=True,  norm=True,  pool=True),
    "conv3": Row(384, kernel= 3, stride=1, padding=1, split=False, norm=False, pool=False),
    "conv4": Row(384, kernel= 3, stride=1, padding=1, split=True,  norm=False, pool=False),
    "conv5": Row(256, kernel= 3, stride=1, padding=1, split=True,  norm=False, pool=True),
}
BOOK = {
    "conv1": Row( 96, kernel=11, stride=4, padding=1, pool=True),
    "conv2": Row(256, kernel= 5, stride=1, padding=2, pool=True),
    "conv3": Row(384, kernel= 3, stride=1, padding=1),
    "conv4": Row(384, kernel= 3, stride=1, padding=1),
    "conv5": Row(256, kernel= 3, stride=1, padding=1, pool=True),
}
ONE_TOWER = {
    "conv1": Row( 64, kernel=11, stride=4, padding=2, pool=True),
    "conv2": Row(192, kernel= 5, stride=1, padding=2, pool=True),
    "conv3": Row(384, kernel= 3, stride=1, padding=1),
    "conv4": Row(256, kernel= 3, stride=1, padding=1),
    "conv5": Row(256, kernel= 3, stride=1, padding=1, pool=True),
}
# fmt: on
UNITS = {"fc6": 4096, "fc7": 4096}
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # whose biases start at one, so that their ReLUs start active
STD = 0.01  # of the Gaussian that all weights start from
DROPOUT = 0.5
POOLED = 6  # side to which torchvision's network averages its last maps, whatever the image


def alexnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 227,
    towers: int = 2,
    scaling: Scaling = "formula",
    stem: Stem = "paper",
) -> ConvNet:
    """AlexNet as the paper has it: two towers, local response normalisation, overlapping pooling, dropout.

    The paper prints 224 pixels, on which the first filters have (224 - 11) / 4 + 1 = 54.25 places. Its code rounds that
    up to the printed 55, as though three rows and columns of zeros stood below and to the right; 227 pixels give 55
    without zeros. The order within a layer is the paper's: ReLU, normalisation, pooling; in the code the first layer's
    ReLU comes last, and the second has another normalisation that the paper does not mention.

    All weights start from a Gaussian of 0.01, the biases of conv2, conv4, conv5, fc6 and fc7 at one, all others at zero
    (section 5; the code has 0.03 in conv3 to conv5). That is meant for pixels of 0 to 255 less their mean, as the paper
    feeds them: on images of deviation 1 the signal drowns in the biases, and learning begins late.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; the fully connected layers belong to it.
        towers: 2, of which the halves of conv2, conv4, conv5 and of the normalisations do not see each other, or 1.
        scaling: How alpha of the normalisation is read: "formula", as the paper prints it, or "code", a fifth of it, as
            the network was trained and as torch and Caffe have it.
        stem: "paper", or "small" for 28 to 64 pixels: conv1 is 3×3 at stride 1. The three poolings stay, since the
            first fully connected layer grows with the square of what they leave.

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: towers is neither 1 nor 2, or there is no such scaling or stem.
    """
    if towers not in (1, 2):
        raise UsageError(f"towers (={towers}) must be 2, as published, or 1")

    def norm() -> nn.Module:
        return LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, scaling=scaling, groups=towers)

    stages = _stages(PAPER, in_channels, stem=stem, towers=towers, norm=norm)
    return _StartedAsPublished(stages, head=_head(stages, image_size, num_classes), in_channels=in_channels)


def alexnet_one_tower(
    *, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, stem: Stem = "paper"
) -> ConvNet:
    """The network of "One weird trick" in one tower, as torchvision has it: no normalisation, maps averaged to 6×6.

    Dropout stands before fc6 and fc7, and weights start as torch's own layers do. The author's released configuration
    has normalisation and Gaussians of 0.01 and 0.03; the paper's text has 384 maps in conv4 as well (from memory).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; it decides nothing but whether anything is left.
        stem: "paper", or "small" for 28 to 64 pixels, as in `alexnet`. The last maps become 6×6 at any size, so that
            the fully connected layers fit all.

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: there is no such stem.
    """
    stages = _stages(ONE_TOWER, in_channels, stem=stem)
    side_after(stages, image_size)
    head: dict[str, nn.Module] = {"pool": nn.AdaptiveAvgPool2d(POOLED), "flatten": nn.Flatten()}
    for name, (features, units) in _widths(ONE_TOWER["conv5"].channels * POOLED**2):
        head[name] = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(features, units), nn.ReLU())
    head["fc8"] = nn.Linear(UNITS["fc7"], num_classes)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=torch_default)


def alexnet_book(
    *, num_classes: int = 10, in_channels: int = 1, image_size: int = 224, stem: Stem = "paper"
) -> ConvNet:
    """The book's AlexNet, for Fashion-MNIST enlarged to 224 pixels: no towers, no normalisation, padding 1 in conv1.

    Xavier's uniform initialisation, as the book has it; biases start at zero, which it leaves to its framework.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; the fully connected layers belong to it.
        stem: "paper", or "small" for 28 to 64 pixels, as in `alexnet`.

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: there is no such stem.
    """
    stages = _stages(BOOK, in_channels, stem=stem)
    head = _head(stages, image_size, num_classes)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=glorot_uniform())


class _StartedAsPublished(ConvNet):
    def reset_parameters(self) -> None:
        """Weights from a Gaussian of 0.01; biases of some layers at one, of the others at zero."""
        for name, stage in (*self.features.named_children(), *self.head.named_children()):
            initialise(stage, gaussian(STD, bias=float(name in ONES)))


def _stages(
    rows: Mapping[str, Row],
    in_channels: int,
    *,
    stem: Stem,
    towers: int = 1,
    norm: Callable[[], nn.Module] = nn.Identity,
) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    channels = in_channels
    for number, row in enumerate(_with_stem(rows, stem).values(), start=1):
        groups = towers if row.split else 1
        conv = nn.Conv2d(channels, row.channels, row.kernel, row.stride, row.padding, groups=groups)
        stages[f"conv{number}"] = nn.Sequential(conv, nn.ReLU())
        if row.norm:
            stages[f"norm{number}"] = norm()
        if row.pool:
            stages[f"pool{number}"] = nn.MaxPool2d(3, stride=2)
        channels = row.channels
    return stages


def _with_stem(rows: Mapping[str, Row], stem: Stem) -> Mapping[str, Row]:
    if stem not in ("paper", "small"):
        raise UsageError(f"stem (={stem!r}) must be 'paper' or 'small'")
    if stem == "paper":
        return rows
    return {**rows, "conv1": rows["conv1"]._replace(kernel=3, stride=1, padding=1)}


def _head(stages: Mapping[str, nn.Module], image_size: int, num_classes: int) -> dict[str, nn.Module]:
    head: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for name, (features, units) in _widths(PAPER["conv5"].channels * side_after(stages, image_size) ** 2):
        head[name] = nn.Sequential(nn.Linear(features, units), nn.ReLU(), nn.Dropout(DROPOUT))
    head["fc8"] = nn.Linear(UNITS["fc7"], num_classes)
    return head


def _widths(features: int) -> list[tuple[str, tuple[int, int]]]:
    """By name, the inputs and outputs of each hidden fully connected layer."""
    return list(zip(UNITS, pairwise((features, *UNITS.values())), strict=True))
