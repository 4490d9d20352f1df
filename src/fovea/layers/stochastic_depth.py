"""Stochastic depth: while training, a residual branch is left out for some images."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import UsageError


class StochasticDepth(nn.Module):
    """Keeps the branch of each image with a probability, else gives zeros for that image; nothing in evaluation.

    What is kept is divided by the probability, so that the expected value is the same while training and after: the
    form of EfficientNet's code, there called drop connect. The paper draws once per batch instead of once per image,
    and multiplies by the probability after training.

    Args:
        survival: Probability of being kept, above 0, at most 1.

    Raises:
        UsageError: survival is no such probability.

    Source: Huang et al. 2016, arXiv:1603.09382, section 3.
    """

    def __init__(self, survival: float) -> None:
        super().__init__()
        if not 0 < survival <= 1:
            raise UsageError(f"survival (={survival}) must be above 0 and at most 1: the probability of being kept")
        self.survival = survival

    def forward(self, branch: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The branch, zero for the images that are drawn, divided by the probability for the others."""
        if not self.training or self.survival == 1:
            return branch
        kept = branch.new_empty(len(branch), *(1,) * (branch.dim() - 1)).bernoulli_(self.survival)
        return branch * (kept / self.survival)

    def extra_repr(self) -> str:
        """The probability, for print(network)."""
        return f"survival={self.survival:g}"


def linear_survival(blocks: int, survival: float) -> list[float]:
    """The probability of each block: 1 for the first, falling linearly towards that of one behind the last.

    So block i of n, counted from 0, has 1 - (1 - survival) · i / n: the form of EfficientNet's code. (The paper counts
    from 1 to n, and its last block has survival itself.)

    Args:
        blocks: Number of residual blocks in the network.
        survival: What the probability falls to.
    """
    return [1 - (1 - survival) * i / blocks for i in range(blocks)]
