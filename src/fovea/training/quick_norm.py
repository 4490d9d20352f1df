"""Batch normalisation in bf16 with ReLU behind it as one operation, which on a CPU is bound by memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fovea.errors import MachineError
from fovea.layers.batch_norm import ShiftBatchNorm2d, ZeroGammaBatchNorm2d
from fovea.training.depthwise import replaced
from fovea.training.kernels.jobs import Job, has_kernels

NORMS = (nn.BatchNorm2d, ZeroGammaBatchNorm2d, ShiftBatchNorm2d)
Limits = tuple[float, float]
LIMITS: dict[type[nn.Module], Limits] = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
NONE: Limits = (-math.inf, math.inf)
CHUNK = 2**17  # values that a thread takes at once, about: 256 kB, which its cache holds
WIDE = 64  # columns of a row, at least where pixels can be joined: a turn of an unrolled loop over the widest vectors


def is_quick(layer: nn.Module) -> bool:
    """Whether it is a batch normalisation of the kind meant here."""
    return type(layer) in NORMS


@contextmanager
def quick_norms(network: nn.Module) -> Iterator[None]:
    """While the block lasts, batch normalisation that trains under autocast on a CPU runs in machine code of ours.

    With a ReLU or ReLU6 behind it in the same `nn.Sequential` it is one operation. All else stays: in evaluation,
    without gradients, outside of autocast and on other devices layers are as they were; layers with hooks, or with a
    `forward` of their own instance, are called one by one.

    Raises:
        MachineError: numba is not installed, or torch's threads are of an unknown kind.
    """
    if not has_kernels():
        raise MachineError(
            "--precision bf16-fused needs numba and OpenMP; pip install 'fovea-vision[fast]', or choose bf16-depthwise"
        )
    modules = list(network.modules())
    sequences = [each for each in modules if type(each).forward is nn.Sequential.forward]
    with replaced(filter(is_quick, modules), _alone), replaced(sequences, _in_turn):
        yield


def _in_turn(sequence: nn.Sequential, maps: Any) -> Any:
    done = None
    for layer, after in pairwise([*sequence, None]):
        if layer is done:
            continue
        together = type(after) in LIMITS and _is_ours(layer) and not _hooked(layer) and not _hooked(after)
        made = _normalised(layer, maps, LIMITS[type(after)]) if together else None
        maps, done = (layer(maps), None) if made is None else (made, after)
    return maps


def _alone(layer: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    made = _normalised(layer, maps, NONE)
    return type(layer).forward(layer, maps) if made is None else made


def _is_ours(layer: nn.Module) -> bool:
    forward = layer.__dict__.get("forward")
    return isinstance(forward, MethodType) and forward.__func__ is _alone


def _hooked(layer: nn.Module) -> bool:
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))


def _normalised(layer: nn.Module, maps: Any, limits: Limits) -> Tensor | None:
    """What layer and limits make of the maps; None where that is not ours to do."""
    usual = (
        layer.training
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and maps.device.type == "cpu"
        and maps.dtype is torch.bfloat16
        and maps.dim() == 4
        and maps.numel() > maps.shape[1] == layer.num_features
        and maps.is_contiguous(memory_format=torch.channels_last)
        and layer.weight is not None
        and layer.weight.dtype is torch.float32
        and layer.track_running_stats
        and layer.momentum is not None
        and not torch.compiler.is_compiling()
    )
    if not usual:
        return None
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    running = (layer.running_mean, layer.running_var)
    made: Tensor = QuickNorm.apply(maps, layer.weight, layer.bias, running, (layer.eps, layer.momentum, *limits))
    return made


class QuickNorm(torch.autograd.Function):
    """Batch normalisation of bf16 maps and the limits behind it; moves the running statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        numbers: tuple[float, float, float, float],
    ) -> Tensor:
        """The normalised maps, limited; numbers are eps, momentum, the lower and the upper limit."""
        from fovea.training.kernels import norm as k

        job, columns, chunks = _job(maps)
        constants, parts = (torch.empty(*shape, columns, dtype=torch.float32) for shape in ((4,), (chunks, 3)))
        made, told = torch.empty_like(maps), torch.tensor(numbers, dtype=torch.float64)
        job.tell({k.WEIGHT: weight, k.BIAS: bias, k.MEAN: running[0], k.VARIANCE: running[1]})
        job.tell({k.MADE: made, k.CONSTANTS: constants, k.NUMBERS: told, k.PARTS: parts})
        job.run(k.statistics)
        job.run(k.settle, threads=1)
        job.run(k.normalise)
        ctx.save_for_backward(maps, constants, told)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Gradients of maps, weight and bias."""
        from fovea.training.kernels import norm as k

        maps, constants, told = ctx.saved_tensors
        job, columns, chunks = _job(maps)
        of_layer, parts = (torch.empty(*shape, columns, dtype=torch.float32) for shape in ((4,), (chunks, 2)))
        of_maps, gradient = torch.empty_like(maps), gradient.contiguous(memory_format=torch.channels_last)
        job.tell({k.GRADIENT: gradient, k.MADE: of_maps, k.CONSTANTS: constants, k.NUMBERS: told})
        job.tell({k.SUMS: of_layer, k.PARTS: parts})
        job.run(k.gradient_sums)
        job.run(k.settle_gradient, threads=1)
        wants_maps, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        if wants_maps:
            job.run(k.gradient)
        of_weight, of_bias = (of_layer[which, : maps.shape[1]] for which in (k.OF_WEIGHT, k.OF_BIAS))
        return (
            of_maps if wants_maps else None,
            of_weight.clone() if wants_weight else None,  # a tensor of its own, which may become the gradient
            of_bias.clone() if wants_bias else None,
            None,
            None,
        )


def _job(maps: Tensor) -> tuple[Job, int, int]:
    """A job for maps, with the columns of their rows and the number of chunks."""
    from fovea.training.kernels import norm as k

    pixels, channels = maps.numel() // maps.shape[1], maps.shape[1]
    joined = 1  # pixels in a row, a power of two
    while joined * channels < WIDE and pixels % (2 * joined) == 0:
        joined *= 2
    columns, rows = joined * channels, pixels // joined
    chunk = max(1, CHUNK // columns)
    chunks = -(-rows // chunk)
    told = {k.ROWS: rows, k.COLUMNS: columns, k.CHANNELS: channels, k.CHUNK_ROWS: chunk, k.CHUNKS: chunks}
    job = Job(k.WORDS, chunks, told)
    job.tell({k.MAPS: maps})
    return job, columns, chunks
