"""Batch normalisation and the ramp behind it as one operation, in machine code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fovea.layers.batch_norm import ShiftBatchNorm2d, ZeroGammaBatchNorm2d
from fovea.training.kernels.jobs import Job, is_walkable

NORMS = (nn.BatchNorm2d, ZeroGammaBatchNorm2d, ShiftBatchNorm2d)
CHUNK = 2**18  # bytes that a thread takes at once, about: its cache holds them
WIDE = 64  # columns of a row, at least where pixels can be joined: a turn of an unrolled loop over the widest vectors


def normalised(layer: nn.BatchNorm2d, maps: Tensor, limits: tuple[float, float]) -> Tensor | None:
    """What a layer that trains makes of maps, and limits of that; None where it is not of the usual kind."""
    usual = (
        layer.training
        and is_walkable(maps)
        and maps.numel() > maps.shape[1] == layer.num_features
        and layer.weight is not None
        and layer.weight.dtype is torch.float32
        and layer.track_running_stats
        and layer.momentum is not None
    )
    if not usual:
        return None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    running = (layer.running_mean, layer.running_var)
    made: Tensor = QuickNorm.apply(maps, layer.weight, layer.bias, running, (layer.eps, layer.momentum, *limits))
    return made


class QuickNorm(torch.autograd.Function):
    """Batch normalisation of maps and the limits behind it; moves the running statistics."""

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
    chunk = max(1, CHUNK // maps.element_size() // columns)
    chunks = -(-rows // chunk)
    told = {k.ROWS: rows, k.COLUMNS: columns, k.CHANNELS: channels, k.CHUNK_ROWS: chunk, k.CHUNKS: chunks}
    job = Job(k.WORDS, chunks, maps.dtype, told)
    job.tell({k.MAPS: maps})
    return job, columns, chunks
