"""Network in Network. Lin, Chen and Yan 2013, arXiv:1312.4400; sizes from the authors' released configurations.

The paper prints no widths. Those for CIFAR-10 are the ones of the authors' configuration for cuda-convnet
(NIN/cifar-10_def), those for ImageNet the ones of their model in Caffe's zoo (seen in
quotation), which the paper does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import gaussian
from fovea.layers.mlpconv import MlpConv
from fovea.layers.side import side_after

CLASSES = 0  # stands in a table for the number of classes


class Row(NamedTuple):
    """One mlpconv layer: a convolution and two 1×1 convolutions, a ReLU behind each; and what stands before it."""

    channels: tuple[int, int, int]
    kernel: int
    stride: int
    padding: int
    std: tuple[float, float, float]  # of the Gaussians that the three start from
    dropout: bool = False  # of the maps that come in


# fmt: off
CIFAR = (
    Row(( 192,  160,      96), kernel= 5, stride=1, padding=2, std=(0.05, 0.05, 0.05)),
    Row(( 192,  192,     192), kernel= 5, stride=1, padding=2, std=(0.05, 0.05, 0.05), dropout=True),
    Row(( 192,  192, CLASSES), kernel= 3, stride=1, padding=1, std=(0.05, 0.05, 0.05), dropout=True),
)
IMAGENET = (
    Row((  96,   96,      96), kernel=11, stride=4, padding=0, std=(0.01, 0.05, 0.05)),
    Row(( 256,  256,     256), kernel= 5, stride=1, padding=2, std=(0.05, 0.05, 0.05)),
    Row(( 384,  384,     384), kernel= 3, stride=1, padding=1, std=(0.01, 0.05, 0.05)),
    Row((1024, 1024, CLASSES), kernel= 3, stride=1, padding=1, std=(0.05, 0.05, 0.01), dropout=True),
)
# fmt: on
DROPOUT = 0.5


class NetworkInNetwork(ConvNet):
    """Mlpconv layers of which the last gives one map per class, and their averages as logits: nothing else to fit.

    So the output layer is the last 1×1 convolution of the last stage, and the head has no weights. A ReLU stands behind
    that convolution too, as in the released configurations: no logit is below zero.
    """

    def __init__(
        self, stages: Mapping[str, nn.Module], *, in_channels: int, stds: Mapping[str, tuple[float, ...]]
    ) -> None:
        self.stds = dict(stds)  # before the rest, which fills the weights
        head = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__(stages, head=head, in_channels=in_channels)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self._output().out_channels

    @property
    def num_features(self) -> int:
        """Maps that the last 1×1 convolution receives."""
        return self._output().in_channels

    def reset_parameters(self) -> None:
        """Weights from Gaussians, each layer's of the released width; biases at zero."""
        for name, stds in self.stds.items():
            for convolution, std in zip(self._mlpconv(name).convolutions, stds, strict=True):
                gaussian(std)(convolution)

    def reset_head(self, num_classes: int) -> None:
        """Replace the last 1×1 convolution by a fresh one for another number of classes."""
        old, last = self._output(), list(self.stds)[-1]
        place = {"device": old.weight.device, "dtype": old.weight.dtype}
        fresh = nn.Conv2d(old.in_channels, num_classes, 1, **place)  # type: ignore[arg-type]  # device and dtype
        gaussian(self.stds[last][-1])(fresh)
        stage = self._mlpconv(last)
        stage[list(stage).index(old)] = fresh

    def _mlpconv(self, name: str) -> MlpConv:
        stage = self.features.get_submodule(name)
        assert isinstance(stage, MlpConv)
        return stage

    def _output(self) -> nn.Conv2d:
        return self._mlpconv(list(self.stds)[-1]).convolutions[-1]


def cifar_nin(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    second_pool: Literal["max", "mean"] = "max",
) -> NetworkInNetwork:
    """The network for CIFAR-10: three mlpconv layers, dropout behind the first two, no dense layer.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; it decides nothing but whether anything is left.
        second_pool: "max", as in the cuda-convnet configuration, or "mean", as the authors' model in Caffe's zoo has it
            (from memory).

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: there is no such pooling.
    """
    if second_pool not in ("max", "mean"):
        raise UsageError(f"second_pool (={second_pool!r}) must be 'max' or 'mean'")
    poolings = {2: nn.AvgPool2d(3, stride=2, ceil_mode=True)} if second_pool == "mean" else {}
    return _network(CIFAR, num_classes, in_channels, image_size, poolings)


def nin(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Literal["paper", "small"] = "paper",
) -> NetworkInNetwork:
    """The network for ImageNet of Caffe's zoo: four mlpconv layers, 29 MB of weights, no dense layer.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; it decides nothing but whether anything is left.
        stem: "paper", or "small" for 28 to 64 pixels: the first convolution is 3×3 at stride 1; the poolings stay.

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: there is no such stem.
    """
    if stem not in ("paper", "small"):
        raise UsageError(f"stem (={stem!r}) must be 'paper' or 'small'")
    rows = list(IMAGENET)
    if stem == "small":
        rows[0] = rows[0]._replace(kernel=3, stride=1, padding=1)
    return _network(rows, num_classes, in_channels, image_size, {})


def _network(
    rows: Sequence[Row], num_classes: int, in_channels: int, image_size: int, poolings: Mapping[int, nn.Module]
) -> NetworkInNetwork:
    """The rows as stages with a pooling between each two, 3×3 at stride 2 whose last window may hang over the edge."""
    stages: dict[str, nn.Module] = {}
    channels = in_channels
    for n, row in enumerate(rows, start=1):
        if n > 1:
            stages[f"pool{n - 1}"] = poolings.get(n - 1, nn.MaxPool2d(3, stride=2, ceil_mode=True))
        if row.dropout:
            stages[f"dropout{n - 1}"] = nn.Dropout(DROPOUT)
        widths = tuple(num_classes if width == CLASSES else width for width in row.channels)
        stages[f"mlpconv{n}"] = MlpConv(channels, widths, row.kernel, stride=row.stride, padding=row.padding)
        channels = widths[-1]
    side_after(stages, image_size)
    stds = {f"mlpconv{n}": row.std for n, row in enumerate(rows, start=1)}
    return NetworkInNetwork(stages, in_channels=in_channels, stds=stds)
