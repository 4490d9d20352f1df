"""The path round a residual branch: the identity where it can be, and three ways where shapes change."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ShapeError, UsageError
from fovea.layers.conv_norm import ConvNorm

OPTIONS = {
    "A": "subsampled identity, zeros for new channels",
    "B": "projection where shapes change",
    "C": "projection everywhere",
}


class PaddedIdentity(nn.Module):
    """Option A: every stride-th pixel of the input, and zeros for the channels that are new. It has no parameters.

    The zeros come behind the old channels, as in Facebook's code; the paper does not say where.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, in_channels or more.
        stride: Step between the pixels that are kept, in pixels of the input.

    Raises:
        ShapeError: out_channels is below in_channels.

    Source: He et al. 2015, arXiv:1512.03385, section 3.3, option A.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        if out_channels < in_channels:
            raise ShapeError(
                f"out_channels (={out_channels}) must be in_channels (={in_channels}) or more: "
                "a shortcut of option A adds channels of zeros, and cannot drop any; take option B"
            )
        super().__init__()
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The subsampled maps with zeros behind them."""
        kept = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return f"new_channels={self.new_channels}, stride={self.stride}"


def shortcut(option: str, in_channels: int, out_channels: int, *, stride: int = 1, norm: bool = True) -> nn.Module:
    """The path round a residual branch.

    Args:
        option: "A" pads with zeros, "B" projects by a 1×1 convolution where shapes change, "C" projects everywhere.
        in_channels: Channels of the block's input.
        out_channels: Channels of the branch's output.
        stride: Step of the branch, in pixels of the input.
        norm: Whether a projection is normalised; in pre-activation networks it is not.

    Raises:
        UsageError: an unknown option.
        ShapeError: option A with fewer channels out than in.

    Source: He et al. 2015, arXiv:1512.03385, sections 3.3 and 4.1.
    """
    if option not in OPTIONS:
        known = ", ".join(f"{name} ({meaning})" for name, meaning in OPTIONS.items())
        raise UsageError(f"shortcut (={option!r}) must be one of {known}")
    if option != "C" and stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PaddedIdentity(in_channels, out_channels, stride=stride)
    if norm:
        return ConvNorm(in_channels, out_channels, 1, stride=stride, activation=None)
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
