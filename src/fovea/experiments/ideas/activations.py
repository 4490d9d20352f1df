"""ReLU and its kin against the functions that saturate."""

from __future__ import annotations

from torch import nn

from fovea.experiments.ideas.change import Change, Idea, swapped

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU)

RELU = Idea(
    words="rectified linear units",
    source="Krizhevsky, Sutskever and Hinton 2012, section 3.1; Glorot, Bordes and Bengio 2011",
    without={
        "tanh": Change(words="tanh in their place", network=swapped(RECTIFIERS, lambda _: nn.Tanh())),
        "sigmoid": Change(words="sigmoids in their place", network=swapped(RECTIFIERS, lambda _: nn.Sigmoid())),
    },
    where="networks with ReLU, ReLU6, SiLU or GELU",
)
