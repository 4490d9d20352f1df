"""Activation checkpointing: each block keeps its input alone and runs again going backward, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from fovea.cost.memory import blocks_of


@contextmanager
def recomputing(network: nn.Module) -> Iterator[None]:
    """While the block lasts, the network's blocks are recomputed; their own forward returns afterwards.

    Dropout draws the same masks again, and running statistics count a batch once.

    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    blocks = blocks_of(network)
    own = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _recomputed(block, block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward


def _recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(block)

    return lambda *args: (
        checkpoint(forward, *args, use_reentrant=False, context_fn=contexts) if block.training else forward(*args)
    )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch normalisation normalises by its batch and moves nothing: the first run has done so.

    A momentum of 0 leaves running statistics as they are, to the bit; only the count must be set back.
    """
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
