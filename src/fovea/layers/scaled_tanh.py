"""The squashing function of LeNet-5."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 a): passes through (1, 1) and (-1, -1), where its curvature is largest.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", Appendix A; the constants are
    quoted from memory of the paper.
    """

    AMPLITUDE = 1.7159
    SLOPE = 2 / 3

    def forward(self, activations: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The squashed activations, in (-1.7159, 1.7159), same shape."""
        return self.AMPLITUDE * torch.tanh(self.SLOPE * activations)
