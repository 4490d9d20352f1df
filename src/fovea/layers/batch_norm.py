"""Batch normalisation whose statistics are frozen, re-estimated exactly, whose gain starts at zero or is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fovea.errors import UsageError


class ZeroGammaBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose gain starts at zero: at the end of a residual branch, the block starts as identity.

    Source: Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """

    def reset_parameters(self) -> None:
        """Gain and shift 0; running mean 0, running variance 1."""
        super().reset_parameters()
        if self.affine:
            nn.init.zeros_(self.weight)


class ShiftBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that learns a shift and no gain.

    The gain is a buffer of ones that no file holds, so that kernels that want one find it.

    Args:
        channels: Of the maps.
        eps: Added to the variance.
        momentum: How much of the running statistics each batch replaces.

    Source: Jordan 2024, arXiv:2404.00498, whose code has it so.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        gain = self.weight.detach()
        del self.weight
        self.register_buffer("weight", gain, persistent=False)


class _Frozen(_BatchNorm):
    """Always normalises by its running statistics, whatever mode the network is in."""

    def train(self, mode: bool = True) -> _Frozen:  # noqa: ARG002  # the mode is what is ignored
        return super().train(False)


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """Batch normalisation of vectors by fixed statistics."""


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """Batch normalisation of maps by fixed statistics."""


class FrozenBatchNorm3d(_Frozen, nn.BatchNorm3d):
    """Batch normalisation of volumes by fixed statistics."""


FROZEN = {nn.BatchNorm1d: FrozenBatchNorm1d, nn.BatchNorm2d: FrozenBatchNorm2d, nn.BatchNorm3d: FrozenBatchNorm3d}


def freeze_statistics(module: nn.Module, *, affine: bool = False) -> None:
    """Fix the running statistics of every batch normalisation in a module, in training too; keys and values stay.

    Args:
        module: A network, a part of one, or one normalisation.
        affine: Whether the gains and shifts take no gradient either.
    """
    for norm in _norms(module):
        frozen = next(cls for kind, cls in FROZEN.items() if isinstance(norm, kind))
        norm.__class__ = frozen  # as torch's lazy modules do: hooks, device and the parents' references stay
        norm.eval()
        if affine and norm.affine:
            norm.weight.requires_grad_(False)
            norm.bias.requires_grad_(False)


@torch.no_grad()
def estimate_statistics(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch normalisation to exact ones over the given batches.

    Mean and variance are those of all values of all batches together, not a moving average, as He's released
    networks have them; the variance is unbiased, as torch's. While they are measured each layer normalises by the
    statistics of its batch, as in training, and everything else runs as in evaluation. Frozen layers keep theirs.

    Args:
        module: A network of one input.
        batches: Its inputs; together a large sample of the training set, each batch as large as in training.

    Raises:
        UsageError: there is no batch.

    Source: the README of github.com/KaimingHe/deep-residual-networks, "Disclaimer and known issues", item 5.
    """
    moments = {norm: _Moments() for norm in _norms(module) if norm.track_running_stats}
    seen = False
    with _measuring(module, moments):
        for images in batches:
            seen = True
            module(images)
    if not seen:
        raise UsageError("batch statistics need at least one batch; the given batches were empty")
    for norm, moment in moments.items():
        if moment.count > 1:
            norm.running_mean.copy_(moment.mean)  # type: ignore[union-attr]  # tracked, hence there
            norm.running_var.copy_(moment.squares / (moment.count - 1))  # type: ignore[union-attr]


class _Moments:
    """Count, mean and sum of squared deviations per channel, merged batch by batch (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, maps: Float[Tensor, "n c *space"]) -> None:
        values = maps.detach().double().transpose(0, 1).flatten(1)
        count, mean = values.shape[1], values.mean(dim=1)
        squares = (values - mean[:, None]).square().sum(dim=1)
        total, difference = self.count + count, mean - self.mean
        self.squares = self.squares + squares + difference.square() * (self.count * count / total)
        self.mean = self.mean + difference * (count / total)
        self.count = total


@contextmanager
def _measuring(module: nn.Module, moments: dict[_BatchNorm, _Moments]) -> Iterator[None]:
    """Every module evaluates, these normalisations train and note what they receive; then all is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    buffers = {norm: {name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in moments}
    module.eval()
    hooks = [norm.register_forward_pre_hook(_note(moment)) for norm, moment in moments.items()]
    try:
        for norm in moments:
            norm.train()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes:
            part.training = mode
        for norm, before in buffers.items():
            for name, buffer in before.items():
                norm.get_buffer(name).copy_(buffer)


def _note(moment: _Moments) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _norm, inputs: moment.add(inputs[0])


def _norms(module: nn.Module) -> Iterator[_BatchNorm]:
    """The batch normalisations that are not frozen yet."""
    kinds = tuple(FROZEN)
    return (part for part in module.modules() if isinstance(part, kinds) and not isinstance(part, _Frozen))
