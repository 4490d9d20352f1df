"""Scheduled drop path: whole paths of a cell are dropped, the more so the longer the training has gone on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import UsageError


class DropPath(nn.Module):
    """Lets a path's feature maps through or drops them, image by image; what passes is scaled up to keep the mean.

    `drop_probability` says how often at present and starts at 0: whoever trains sets it, by `schedule_drop_path`. The
    layer keeps no count of steps, so that a resumed run needs nothing from it. In evaluation it is the identity.

    Args:
        final_probability: How often a path is dropped at the end of training, in [0, 1).

    Raises:
        UsageError: a probability outside [0, 1).

    Source: Zoph et al. 2018, arXiv:1707.07012, appendix A.7, after Larsson et al. 2017, arXiv:1605.07648.
    """

    def __init__(self, final_probability: float = 0.0) -> None:
        super().__init__()
        if not 0 <= final_probability < 1:
            raise UsageError(f"final_probability (={final_probability}) must be at least 0 and below 1")
        self.final_probability = final_probability
        self.drop_probability = 0.0

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps of each image, or zeros in their place."""
        if not self.training or self.drop_probability == 0:
            return maps
        kept = 1 - self.drop_probability
        passes = torch.rand(maps.shape[0], 1, 1, 1, device=maps.device) < kept
        return maps * passes / kept

    def extra_repr(self) -> str:
        """The probability at the end, for print(network)."""
        return f"final_probability={self.final_probability:.4g}"


def schedule_drop_path(network: nn.Module, progress: float) -> None:
    """Set how often each path of a network is dropped: linearly more from 0 to its final probability.

    Args:
        network: Any module; those of its parts that are a DropPath are set.
        progress: The share of training that is done, in [0, 1].

    Raises:
        UsageError: progress lies outside [0, 1].
    """
    if not 0 <= progress <= 1:
        raise UsageError(f"progress (={progress}) must be a share of the training, from 0 to 1")
    for module in network.modules():
        if isinstance(module, DropPath):
            module.drop_probability = progress * module.final_probability
