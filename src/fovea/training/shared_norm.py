"""Batch normalisation over the batches of all ranks together, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def shared_statistics(network: nn.Module) -> Iterator[None]:
    """While the block lasts, every batch normalisation in training takes mean and variance over all ranks.

    torch's own SyncBatchNorm does so on accelerators alone, and is another class, which a bundle would have to know.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    own = [norm.__dict__.get("forward") for norm in norms]
    for norm in norms:
        norm.__dict__["forward"] = partial(_forward, norm, norm.forward)
    try:
        yield
    finally:
        for norm, forward in zip(norms, own, strict=True):
            del norm.__dict__["forward"]
            if forward is not None:
                norm.__dict__["forward"] = forward


def _forward(norm: _BatchNorm, alone: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    if not norm.training:
        return alone(maps)
    values = maps.float()
    axes = [axis for axis in range(maps.dim()) if axis != 1]
    ranks = torch.distributed.get_world_size()
    # Equal shares, so that means of means are means; squares of deviations, not of values, keep the digits.
    mean = _over_ranks(values.mean(axes))
    shape = [1, -1, *[1] * (maps.dim() - 2)]
    centred = values - mean.view(shape)
    variance = _over_ranks(centred.square().mean(axes))
    _move(norm, mean, variance, maps.numel() // maps.shape[1] * ranks)
    normalised = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    return normalised.to(maps.dtype)


def _over_ranks(means: Tensor) -> Tensor:
    """The mean over all ranks, through which gradients flow back to all of them."""
    total: Tensor = _Total.apply(means)
    return total / torch.distributed.get_world_size()


class _Total(torch.autograd.Function):
    """The sum over all ranks; each rank's part has touched every rank's loss, so gradients are summed as well."""

    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        """The sum."""
        total = part.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """The sum of what all ranks say."""
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


@torch.no_grad()
def _move(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """The running statistics, as the layer alone would move them."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (count / max(1, count - 1)), share)
