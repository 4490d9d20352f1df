"""The blocks that architectures are remembered for, and what they replaced."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from fovea.experiments.ideas.change import Change, Idea, Shape, replaced, swapped
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.depthwise_separable import DepthwiseSeparable
from fovea.layers.inception import InceptionModule
from fovea.layers.inverted_residual import InvertedResidual
from fovea.layers.pre_activation import PreActivation
from fovea.layers.residual import Bottleneck, Residual
from fovea.layers.squeeze_excitation import SqueezeExcitation
from fovea.layers.vgg_block import VGGBlock


class Nothing(nn.Module):
    """A path on which nothing comes through."""

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Zero, to be added to any map."""
        return maps.new_zeros(())


def _plain(network: nn.Module, _shape: Shape) -> int:
    """Without shortcuts: He's plain network, layer by layer."""
    count = 0
    for block in network.modules():
        if isinstance(block, Residual | PreActivation):
            block.shortcut = Nothing()
            count += 1
        elif isinstance(block, InvertedResidual) and block.skip:
            block.skip = False
            count += 1
    return count


def _large_kernels(network: nn.Module, _shape: Shape) -> int:
    return replaced(network, lambda block: _one_kernel(block) if isinstance(block, VGGBlock) else None)


def _one_kernel(block: VGGBlock) -> nn.Module | None:
    """One convolution that sees what the block's 3×3 see together; None where there is but one.

    Three of 3×3 become one of 7×7; the kernel's side is 2n + 1.
    """
    convolutions: list[Any] = [part for part in block if isinstance(part, nn.Conv2d)]
    if len(convolutions) < 2 or any(convolution.kernel_size != (3, 3) for convolution in convolutions):
        return None
    normalised = any(isinstance(part, nn.BatchNorm2d) for part in block)
    kernel = 2 * len(convolutions) + 1
    return VGGBlock(convolutions[0].in_channels, convolutions[-1].out_channels, (kernel,), normalised=normalised)


def _unreduced(network: nn.Module, _shape: Shape) -> int:
    """Inception's large kernels see all channels, without the 1×1 convolutions before them."""
    count = 0
    for module in network.modules():
        if isinstance(module, InceptionModule):
            branches: tuple[Any, ...] = (module.three, module.five)  # each a Sequential of two units
            for branch in branches:
                reduction, large = branch
                large[0] = _fed(large[0], reduction[0].in_channels)
                branch[0] = nn.Identity()
                count += 1
    return count


def _fed(convolution: Any, in_channels: int) -> nn.Conv2d:
    """The convolution for another number of incoming channels, fresh."""
    return nn.Conv2d(
        in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        stride=convolution.stride,
        padding=convolution.padding,
        bias=convolution.bias is not None,
    )


def _basic(network: nn.Module, _shape: Shape) -> int:
    count = 0
    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.branch = _two_large(block.branch)
            count += 1
    return count


def _two_large(branch: Any) -> nn.Sequential:
    """Two 3×3 convolutions for about as many multiply-adds as the bottleneck's three."""
    first, middle, last = branch.conv1.conv, branch.conv2.conv, branch.conv3.conv
    channels, width, out = first.in_channels, first.out_channels, last.out_channels
    stride = first.stride[0] * middle.stride[0]
    large = width * middle.weight[0].numel()
    cost = channels * width * (stride**2 if first.stride[0] == 1 else 1) + large + width * out
    inside = max(1, round(cost / (9 * (channels + out))))
    return nn.Sequential(
        ConvNorm(channels, inside, 3, stride=stride), ConvNorm(inside, out, 3, activation=None), *list(branch)[3:]
    )


def _whole_convolutions(network: nn.Module, _shape: Shape) -> int:
    return replaced(network, _joined)


def _joined(part: Any) -> nn.Module | None:
    """A full convolution for a separable one; for a depthwise one by itself, one that sees all channels."""
    if isinstance(part, DepthwiseSeparable):
        depthwise: Any = part.depthwise
        pointwise: Any = part.pointwise
        joined: Any = ConvNorm(1, 1, 1)
        joined.conv = _dense(depthwise.conv, pointwise.conv.out_channels)
        joined.norm = pointwise.norm
        joined.activation = pointwise.activation
        return joined  # type: ignore[no-any-return]
    if isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels:
        return _dense(part, part.out_channels)
    return None


def _dense(convolution: Any, out_channels: int) -> nn.Conv2d:
    """The convolution without groups, padded as it is."""
    kind = type(convolution)
    settings: dict[str, Any] = {"stride": convolution.stride[0], "bias": convolution.bias is not None}
    if kind is nn.Conv2d:
        settings |= {"padding": convolution.padding, "dilation": convolution.dilation}
    made: nn.Conv2d = kind(convolution.in_channels, out_channels, convolution.kernel_size[0], **settings)
    return made


SKIPS = Idea(
    words="shortcuts round two or three layers",
    source="He et al. 2015, arXiv:1512.03385",
    without={"plain": Change(words="the same layers in a row", network=_plain)},
    where="ResNet, SENet, MobileNetV2, MnasNet, EfficientNet",
)
SMALL_KERNELS = Idea(
    words="stacks of 3×3 convolutions",
    source="Simonyan and Zisserman 2014, arXiv:1409.1556, section 2.3",
    without={"large": Change(words="one 5×5, 7×7 or 9×9 that sees as much", network=_large_kernels)},
    where="VGG from 11 layers on",
)
REDUCTIONS = Idea(
    words="1×1 reductions before large kernels",
    source="Szegedy et al. 2014, arXiv:1409.4842, section 4",
    without={"none": Change(words="3×3 and 5×5 on all channels", network=_unreduced)},
    where="GoogLeNet",
)
BOTTLENECKS = Idea(
    words="bottlenecks",
    source="He et al. 2015, arXiv:1512.03385, Figure 5",
    without={"basic": Change(words="two 3×3 for as many multiply-adds", network=_basic)},
    where="ResNet-50 and deeper, SE-ResNet",
)
SQUEEZE_EXCITATION = Idea(
    words="channels scaled by a gate that sees the whole image",
    source="Hu, Shen and Sun 2018, arXiv:1709.01507",
    without={
        "nothing": Change(words="channels as they are", network=swapped(SqueezeExcitation, lambda _: nn.Identity()))
    },
    where="SENet, MnasNet-A1, EfficientNet",
)
SEPARABLE = Idea(
    words="depthwise separable convolutions",
    source="Howard et al. 2017, arXiv:1704.04861",
    without={"full": Change(words="full convolutions", network=_whole_convolutions)},
    where="MobileNet, MnasNet, EfficientNet",
)
