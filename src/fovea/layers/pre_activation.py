"""Pre-activation residual blocks: normalisation and ReLU come before each convolution; the sum is left as it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import UsageError
from fovea.layers.shortcut import shortcut as path

PLACES = ("branch", "both", "none")


def norm_relu(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU."""
    return nn.Sequential(OrderedDict({"norm": nn.BatchNorm2d(channels), "activation": nn.ReLU()}))


class PreActivation(nn.Module):
    """The sum of a branch and a shortcut, without a nonlinearity behind it, so that identities add up.

    Args:
        convolutions: The branch's convolutions in order; each but the first has normalisation and ReLU before.
        shortcut: The path round it.
        out_channels: Channels of both.
        active: Where the first normalisation and ReLU stand: in the "branch" alone; before "both" paths, as in the
            first block of each stage; or nowhere ("none"), where what comes in is active already.

    Raises:
        UsageError: active is none of the three.

    Source: He et al. 2016, arXiv:1603.05027, Figure 4(e) and appendix.
    """

    def __init__(
        self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module, out_channels: int, *, active: str = "branch"
    ) -> None:
        if active not in PLACES:
            raise UsageError(f"active (={active!r}) must be one of {', '.join(PLACES)}")
        super().__init__()
        first, *others = convolutions
        self.before = nn.Identity() if active == "none" else norm_relu(first.in_channels)
        self.shared = active == "both"
        layers: dict[str, nn.Module] = {"conv1": first}
        for n, convolution in enumerate(others, start=2):
            layers |= {f"before{n}": norm_relu(convolution.in_channels), f"conv{n}": convolution}
        self.branch = nn.Sequential(OrderedDict(layers))
        self.shortcut = shortcut
        self.out_channels = out_channels

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The block's output, of any sign."""
        active = self.before(maps)
        output: Tensor = self.branch(active) + self.shortcut(active if self.shared else maps)
        return output


class PreActivationBasicBlock(PreActivation):
    """Two 3×3 convolutions in pre-activation order.

    Args:
        in_channels: Channels of the input.
        width: Channels of both convolutions, and of the output.
        stride: Step of the first convolution, in pixels of the input.
        shortcut: Option A, B or C; a projection is not normalised.
        active: Where the first normalisation and ReLU stand; see `PreActivation`.

    Source: He et al. 2016, arXiv:1603.05027, Figure 4(e).
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self, in_channels: int, width: int, *, stride: int = 1, shortcut: str = "B", active: str = "branch"
    ) -> None:
        convolutions = (
            nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        round_it = path(shortcut, in_channels, width, stride=stride, norm=False)
        super().__init__(convolutions, round_it, width, active=active)


class PreActivationBottleneck(PreActivation):
    """1×1, 3×3 and 1×1 convolutions in pre-activation order.

    Args:
        in_channels: Channels of the input.
        width: Channels of the first two convolutions; the output has `expansion` times as many.
        stride: Step of the block, in pixels of the input.
        shortcut: Option A, B or C; a projection is not normalised.
        active: Where the first normalisation and ReLU stand; see `PreActivation`.
        stride_in_first: Whether the first 1×1 takes the step, or the 3×3.

    Source: He et al. 2016, arXiv:1603.05027, Figure 4(e), and the code released with it.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int = 1,
        shortcut: str = "B",
        active: str = "branch",
        stride_in_first: bool = False,
    ) -> None:
        out_channels = width * self.expansion
        first, second = (stride, 1) if stride_in_first else (1, stride)
        convolutions = (
            nn.Conv2d(in_channels, width, 1, stride=first, bias=False),
            nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False),
            nn.Conv2d(width, out_channels, 1, bias=False),
        )
        round_it = path(shortcut, in_channels, out_channels, stride=stride, norm=False)
        super().__init__(convolutions, round_it, out_channels, active=active)
