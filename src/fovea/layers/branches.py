"""Parallel branches, their feature maps joined: what every Inception module is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ShapeError


class Branches(nn.Module):
    """The input through every branch; the outputs joined along the channels, in the branches' order.

    Args:
        branches: The branches by name; each keeps or reduces the maps' size as all others do.

    Raises:
        ShapeError: there is no branch.

    Source: Szegedy et al. 2014, arXiv:1409.4842, Figure 2.
    """

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not branches:
            raise ShapeError(f"branches (={dict(branches)}) must be one or more")
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """The joined outputs."""
        return torch.cat([branch(maps) for branch in self.children()], dim=1)
