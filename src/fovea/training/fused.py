"""Batch normalisation, ReLU and max pooling in a row as one operation, which on a CPU are bound by memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import MethodType
from typing import Any

from torch import Tensor, nn

from fovea.errors import MachineError
from fovea.training.depthwise import replaced
from fovea.training.halving import quickly_pooled
from fovea.training.kernels.jobs import has_kernels
from fovea.training.quick_norm import NORMS, normalised
from fovea.training.quick_pool import pooled, takes_fours

Limits = tuple[float, float]
LIMITS: dict[type[nn.Module], Limits] = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
NONE: Limits = (-math.inf, math.inf)


def is_fusible(layer: nn.Module) -> bool:
    """Whether it is a batch normalisation, or a max pooling, of a kind that has machine code."""
    return _is_norm(layer) or _is_pool(layer)


@contextmanager
def fused_layers(network: nn.Module) -> Iterator[None]:
    """While the block lasts, batch normalisation that trains and max pooling of 2×2 run in machine code on a CPU.

    With a ReLU or ReLU6 after the one or before the other, in the same `nn.Sequential` or one within it, they are one
    operation. All else stays: in evaluation, without gradients and on other devices layers are as they were; layers
    with hooks, or with a `forward` of their own instance, are called one by one.

    Raises:
        MachineError: numba is not installed, or torch's threads are of an unknown kind.
    """
    if not has_kernels():
        raise MachineError(
            "--precision float32-fused and bf16-fused need numba and OpenMP; "
            "pip install 'fovea-vision[fast]', or choose float32 or bf16"
        )
    modules = list(network.modules())
    sequences = [each for each in modules if type(each).forward is nn.Sequential.forward]
    norms, pools = ([each for each in modules if is_kind(each)] for is_kind in (_is_norm, _is_pool))
    with replaced(norms, _normalise), replaced(pools, _pool), replaced(sequences, _in_turn):
        yield


def _in_turn(sequence: nn.Sequential, maps: Any) -> Any:
    done, layers = None, [*_layers(sequence), None]
    for layer, after in pairwise(layers):
        if layer is done:
            done = None
            continue
        made = None if after is None else _together(layer, after, maps)
        maps, done = (layer(maps), None) if made is None else (made, after)
    return maps


def _layers(sequence: Any) -> Iterator[Any]:
    """The layers of a sequence and of those within it."""
    for layer in sequence:
        if _is(layer, _in_turn) and not _hooked(layer):
            yield from _layers(layer)
        else:
            yield layer


def _together(layer: Any, after: Any, maps: Any) -> Tensor | None:
    """What two layers make of maps in one operation; None where they have none."""
    if _hooked(layer) or _hooked(after):
        return None
    if _is(layer, _normalise) and _is_ramp(after):
        return normalised(layer, maps, LIMITS[type(after)])
    if _is_ramp(layer) and _is(after, _pool):
        return pooled(after, maps, LIMITS[type(layer)])
    return None


def _normalise(layer: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    made = normalised(layer, maps, NONE)
    return type(layer).forward(layer, maps) if made is None else made


def _pool(layer: nn.MaxPool2d, maps: Tensor) -> Any:
    made = pooled(layer, maps, NONE)
    return quickly_pooled(layer, maps) if made is None else made


def _is_norm(layer: nn.Module) -> bool:
    return type(layer) in NORMS


def _is_pool(layer: nn.Module) -> bool:
    return type(layer) is nn.MaxPool2d and takes_fours(layer)


def _is_ramp(layer: nn.Module) -> bool:
    return type(layer) in LIMITS and "forward" not in layer.__dict__


def _is(layer: nn.Module, forward: Any) -> bool:
    own = layer.__dict__.get("forward")
    return isinstance(own, MethodType) and own.__func__ is forward


def _hooked(layer: nn.Module) -> bool:
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))
