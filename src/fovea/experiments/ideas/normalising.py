"""Batch normalisation and local response normalisation, and nothing in their place."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.experiments.ideas.change import Change, Idea, swapped
from fovea.layers.local_response_norm import LocalResponseNorm


class Shift(nn.Module):
    """What is left of a normalisation that is taken out: a learned shift of each channel, from 0.

    Convolutions before a normalisation have no bias, since its shift is one; without any, a network would be poorer by
    more than the idea.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps, shifted."""
        return maps + self.bias.to(maps.dtype)[:, None, None]


BATCH_NORM = Idea(
    words="batch normalisation",
    source="Ioffe and Szegedy 2015, arXiv:1502.03167",
    without={
        "shift": Change(
            words="its learned shift alone", network=swapped(nn.BatchNorm2d, lambda norm: Shift(norm.num_features))
        )
    },
    where="networks since BN-Inception and ResNet",
)
LRN = Idea(
    words="local response normalisation",
    source="Krizhevsky, Sutskever and Hinton 2012, section 3.3",
    without={
        "nothing": Change(
            words="nothing in its place",
            network=swapped((LocalResponseNorm, nn.LocalResponseNorm), lambda _: nn.Identity()),
        )
    },
    where="AlexNet, ZFNet, VGG-11 with LRN, GoogLeNet",
)
