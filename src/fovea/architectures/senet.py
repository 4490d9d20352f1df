"""SENet. Hu, Shen and Sun 2018, arXiv:1709.01507: ResNets and a ResNeXt whose branches end in squeeze-and-excitation.

As the authors' Caffe networks have them: SE-ResNets stride in the first 1×1, SE-ResNeXt in the grouped 3×3; pooling
overhangs; both layers of an excitation have biases.
"""

from __future__ import annotations

from functools import partial

from fovea.architectures.resnet import TABLE_1, WIDTHS, Stem, imagenet_stem, residual_network
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.residual import Bottleneck, Residual, ResNeXtBottleneck
from fovea.layers.squeeze_excitation import SqueezeExcitation
from fovea.layers.stage import Block

REDUCTION = 16  # channels per hidden unit of an excitation, in every stage
CARDINALITY = 32  # groups of SE-ResNeXt's 3×3, of 4 channels each in conv2_x
RESNEXT_WIDTHS = tuple(2 * width for width in WIDTHS)  # 128 = 32 × 4, and so on; its blocks widen by 2, not 4
DEPTHS = {depth: row.depths for depth, row in TABLE_1.items() if row.block is Bottleneck}


def se_resnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    depth: int = 50,
    stem: Stem = "paper",
    zero_last_gamma: bool = False,
) -> ConvNet:
    """A bottleneck ResNet with squeeze-and-excitation.

    The paper says no more of the start than "as in" He et al. 2015; ours is `resnet.he_fan_out`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels, 3 or more.
        depth: 50, 101 or 152.
        stem: "paper" or "small"; see `resnet.resnet`.
        zero_last_gamma: Whether each branch's last gain starts at 0; an excitation behind it starts without effect.

    Raises:
        UsageError: an unknown depth or stem.
        ShapeError: image_size is too small.
    """
    if depth not in DEPTHS:
        raise UsageError(f"depth (={depth}) must be one of {', '.join(map(str, DEPTHS))}")
    block = partial(excited, partial(Bottleneck, stride_in_first=True))
    opening = imagenet_stem(in_channels, image_size, stem=stem, ceil_mode=True)
    return residual_network(opening, block, DEPTHS[depth], num_classes=num_classes, zero_last_gamma=zero_last_gamma)


def se_resnext50_32x4d(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Stem = "paper",
    zero_last_gamma: bool = False,
) -> ConvNet:
    """ResNeXt-50 of 32 groups of 4 channels, with squeeze-and-excitation; it strides in the 3×3.

    Raises:
        UsageError: an unknown stem.
        ShapeError: image_size is too small.
    """
    block = partial(excited, partial(ResNeXtBottleneck, stride_in_first=False, groups=CARDINALITY))
    opening = imagenet_stem(in_channels, image_size, stem=stem, ceil_mode=True)
    return residual_network(
        opening,
        block,
        DEPTHS[50],
        widths=RESNEXT_WIDTHS,
        num_classes=num_classes,
        zero_last_gamma=zero_last_gamma,
    )


def excited(block: Block, in_channels: int, width: int, *, stride: int = 1) -> Residual:
    """A residual block whose branch ends in squeeze-and-excitation, before the addition.

    Raises:
        UsageError: the block is no `Residual`, and so has no branch to extend.
    """
    built = block(in_channels, width, stride=stride)
    if not isinstance(built, Residual):
        raise UsageError(f"{type(built).__name__} has no branch to end in squeeze-and-excitation")
    built.branch.add_module("excitation", SqueezeExcitation(built.out_channels, built.out_channels // REDUCTION))
    return built
