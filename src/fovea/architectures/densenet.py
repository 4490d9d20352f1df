"""DenseNet. Huang, Liu, van der Maaten and Weinberger 2016, arXiv:1608.06993, Table 1; and section 3's for CIFAR.

Weights start as in the authors' code: convolutions by He's with fan-out (the paper says only He's), the output layer as
torch's own with biases 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.convnet import ConvNet
from fovea.layers.dense_block import DenseBlock
from fovea.layers.side import side_after
from fovea.layers.transition import Transition

Stem = Literal["paper", "small"]

# Table 1: the layers of the four dense blocks.
# fmt: off
DEPTHS = {
    121: (6, 12, 24, 16),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
    161: (6, 12, 36, 24),  # of the authors' code, with growth rate 48; the paper's last version has 264 in its place
    264: (6, 12, 64, 48),  # two convolutions in each of 130 layers and five more make 265; the paper says 264
}
# fmt: on


class Growth(NamedTuple):
    """How a network grows: what each layer adds, its 1×1 convolution, what a transition leaves, what is dropped."""

    rate: int
    bottleneck: int | None  # width of the 1×1 convolution over the rate; None for none
    compression: float
    dropout: float


def densenet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    depth: int | Sequence[int] = 121,
    growth_rate: int = 32,
    bottleneck: int | None = 4,
    compression: float = 0.5,
    dropout: float = 0.0,
    stem: Stem = "paper",
) -> ConvNet:
    """DenseNet for ImageNet: 7×7 convolution, max pooling, four dense blocks with transitions between them.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; it changes no weight.
        depth: Of Table 1 (121, 169, 201, 264) or the code (161); or the layers of each block, in order.
        growth_rate: Channels that each layer adds, the paper's k; the first convolution has twice as many.
        bottleneck: The 1×1 convolution's channels over growth_rate; None leaves it out.
        compression: Share of the channels that a transition leaves, the paper's θ.
        dropout: Behind every convolution but the first; the paper has none on ImageNet.
        stem: "small" begins with 3×3 at stride 1 and no pooling, for images of 28 to 64 pixels.

    Raises:
        UsageError: a depth, compression, dropout or stem that is none.
        ShapeError: image_size is too small, or growth_rate or bottleneck below 1.
    """
    if stem not in get_args(Stem):
        raise UsageError(f"stem (={stem!r}) must be one of {', '.join(get_args(Stem))}")
    blocks = _blocks(depth)
    channels = _twice(growth_rate)
    if stem == "small":
        stages: dict[str, nn.Module] = {"conv": ConvNorm(in_channels, channels, 3)}
    else:
        stages = {"conv": ConvNorm(in_channels, channels, 7, stride=2), "pool": nn.MaxPool2d(3, stride=2, padding=1)}
    growth = Growth(growth_rate, bottleneck, compression, dropout)
    return _grown(stages, channels, blocks, growth, (in_channels, image_size, num_classes))


def cifar_densenet(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    depth: int = 40,
    growth_rate: int = 12,
    bottleneck: int | None = None,
    compression: float = 1.0,
    dropout: float = 0.0,
) -> ConvNet:
    """DenseNet for 32×32 pixels: 3×3 convolution and three dense blocks of equal length.

    The first convolution has 16 channels, or twice the growth rate in DenseNet-BC, which both narrows and compresses.
    (The authors' code has twice the growth rate in all.)

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; it changes no weight.
        depth: Layers with weights, the paper's L: 4 and a multiple of 3, or of 6 with a bottleneck.
        growth_rate: Channels that each layer adds, the paper's k.
        bottleneck: The 1×1 convolution's channels over growth_rate, 4 in DenseNet-BC; None leaves it out.
        compression: Share of the channels that a transition leaves, 0.5 in DenseNet-BC.
        dropout: Behind every convolution but the first; the paper has 0.2 on data without augmentation.

    Raises:
        UsageError: a depth, compression or dropout that is none.
        ShapeError: image_size is less than 4, or growth_rate or bottleneck below 1.
    """
    per_layer = 3 if bottleneck is None else 6
    if depth < 4 + per_layer or (depth - 4) % per_layer:
        raise UsageError(f"depth (={depth}) must be 4 and a multiple of {per_layer}, so that three blocks are equal")
    channels = _twice(growth_rate) if bottleneck is not None and compression < 1 else 16
    stages: dict[str, nn.Module] = {"conv": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)}
    growth = Growth(growth_rate, bottleneck, compression, dropout)
    return _grown(stages, channels, ((depth - 4) // per_layer,) * 3, growth, (in_channels, image_size, num_classes))


def _twice(growth_rate: int) -> int:
    if growth_rate < 1:
        raise ShapeError(f"growth_rate (={growth_rate}) must be 1 or more")
    return 2 * growth_rate


def _blocks(depth: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(depth, int):
        if depth not in DEPTHS:
            raise UsageError(
                f"depth (={depth}) must be one of {', '.join(map(str, DEPTHS))}, or the layers of each block"
            )
        return DEPTHS[depth]
    if not depth:
        raise UsageError("depth (=()) must name the layers of at least one block")
    return tuple(depth)


def _grown(
    stages: dict[str, nn.Module], channels: int, blocks: Sequence[int], growth: Growth, sizes: tuple[int, int, int]
) -> ConvNet:
    """The stem's stages, then dense blocks with transitions between them, normalisation and the averaging head."""
    in_channels, image_size, num_classes = sizes
    for n, layers in enumerate(blocks, start=1):
        block = DenseBlock(
            channels, layers, growth_rate=growth.rate, bottleneck=growth.bottleneck, dropout=growth.dropout
        )
        stages[f"dense_block{n}"], channels = block, block.out_channels
        if n < len(blocks):
            transition = Transition(channels, compression=growth.compression, dropout=growth.dropout)
            stages[f"transition{n}"], channels = transition, transition.out_channels
    stages["norm"] = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    side_after(stages, image_size)  # raises where nothing is left
    head = {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(channels, num_classes)}
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=_released)


def _released(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        module.reset_parameters()
        nn.init.zeros_(module.bias)
