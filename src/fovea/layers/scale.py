"""A fixed factor."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Scale(nn.Module):
    """Multiplies by a fixed number: before a layer without bias it is a factor of what that layer gives.

    Args:
        factor: The number.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, activations: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The activations times the factor, same shape."""
        return activations * self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return f"{self.factor:g}"
