"""The network of the CIFAR-10 speed runs. Jordan 2024, arXiv:2404.00498, section 3; layers as in cifar10-airbench."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from fovea.layers.batch_norm import ShiftBatchNorm2d
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import passing_on
from fovea.layers.scale import Scale
from fovea.layers.side import side_after


class Group(NamedTuple):
    """Two 3×3 convolutions of one width; a 2×2 max pooling stands behind the first."""

    name: str
    channels: int


# fmt: off
GROUPS = (
    Group("group1",  64),
    Group("group2", 256),
    Group("group3", 256),
)
# fmt: on
WHITENING_KERNEL = 2  # 2×2 patches of c channels have 4c directions, each with two signs
LOGITS = 1 / 9
EPSILON = 1e-12
MOMENTUM = 0.4  # of the running statistics, which follow quickly: there are few steps


def cifar_airbench94(*, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> ConvNet:
    """The network that reaches 94 % on CIFAR-10 in eight to ten epochs: a whitening layer, and six convolutions.

    The first convolution's filters are drawn like all others here; that they become whitening filters of the training
    images, and stay so, is a matter of training (`whiten`). The features are multiplied by 1/9 before the last layer:
    the same logits and gradients as 1/9 of its logits, and a fresh last layer finds the factor in its place.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; it decides nothing but whether anything is left.

    Raises:
        ShapeError: nothing is left of an image of this size.
    """
    channels = 2 * in_channels * WHITENING_KERNEL**2
    whitening = nn.Conv2d(in_channels, channels, WHITENING_KERNEL)
    stages: dict[str, nn.Module] = {"whiten": nn.Sequential(whitening, nn.GELU())}
    for name, width in GROUPS:
        stages[name] = _group(channels, width)
        channels = width
    side_after(stages, image_size)
    head: dict[str, nn.Module] = {
        "pool": nn.AdaptiveMaxPool2d(1),  # of 32 pixels 3×3 are left, the window of the paper
        "flatten": nn.Flatten(),
        "scale": Scale(LOGITS),
        "fc": nn.Linear(channels, num_classes, bias=False),
    }
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=passing_on)


def _group(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        ShiftBatchNorm2d(out_channels, eps=EPSILON, momentum=MOMENTUM),
        nn.GELU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        ShiftBatchNorm2d(out_channels, eps=EPSILON, momentum=MOMENTUM),
        nn.GELU(),
    )
