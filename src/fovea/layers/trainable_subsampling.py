"""Subsampling with a trainable coefficient and bias per map, as LeNet-5 has it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class TrainableSubsampling(nn.Module):
    """The sum over each 2×2 window, times one coefficient per map, plus one bias per map; no squashing.

    Mean pooling is the special case coefficient = 1/4, bias = 0, which is how it starts where no bound is given.

    Args:
        channels: Number of feature maps, so 2 × channels parameters.
        window: Side of the window and stride, in pixels.
        bound: Coefficients and biases start uniformly within ± this, where it is given.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II-B (layers S2, S4).
    """

    def __init__(self, channels: int, *, window: int = 2, bound: float | None = None) -> None:
        super().__init__()
        self.window, self.bound = window, bound
        self.coefficient = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as mean pooling, or uniformly within the bound."""
        if self.bound is None:
            nn.init.constant_(self.coefficient, 1 / self.window**2)
            nn.init.zeros_(self.bias)
        else:
            nn.init.uniform_(self.coefficient, -self.bound, self.bound)
            nn.init.uniform_(self.bias, -self.bound, self.bound)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """The maps at 1/window of the resolution, rounded down."""
        sums = F.avg_pool2d(maps, self.window) * self.window**2
        return sums * self.coefficient[:, None, None] + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return f"{self.coefficient.numel()}, window={self.window}"
