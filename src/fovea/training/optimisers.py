"""Optimisers and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import nn

from fovea.training.options import TrainingOptions


def sgd(network: nn.Module, options: TrainingOptions) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum; weight decay on matrices and kernels only.

    Biases, the scales and shifts of normalisation, and other vectors are not decayed: they have one dimension.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        fused=True,
    )


def learning_rate(step: int, steps_per_epoch: int, options: TrainingOptions) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to zero.

    Source: Goyal et al. 2017, arXiv:1706.02677 (warm-up); Loshchilov and Hutter 2016, arXiv:1608.03983 (cosine).
    """
    total = options.epochs * steps_per_epoch
    warmup = min(round(options.warmup_epochs * steps_per_epoch), total - 1)
    if step < warmup:
        return options.lr * (step + 1) / (warmup + 1)
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
