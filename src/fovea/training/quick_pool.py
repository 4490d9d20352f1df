"""The largest of each 2×2 pixels and the ramp before it as one operation, in machine code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fovea.training.kernels.jobs import Job, is_walkable

BAND = 2**16  # bytes of maps that a thread takes at once, about


def takes_fours(layer: nn.MaxPool2d) -> bool:
    """Whether a layer finds the largest of each 2×2 pixels."""
    sizes = {each if isinstance(each, int) else tuple(each) for each in (layer.kernel_size, layer.stride)}
    plain = layer.padding in (0, (0, 0)) and layer.dilation in (1, (1, 1)) and not layer.return_indices
    return plain and sizes <= {2, (2, 2)}


def pooled(layer: nn.MaxPool2d, maps: Tensor, limits: tuple[float, float]) -> Tensor | None:
    """What a layer that takes fours makes of maps, which are limited first; None where the maps are not for it."""
    if not (is_walkable(maps) and min(maps.shape[2:]) > 1):
        return None
    if layer.ceil_mode and any(each % 2 for each in maps.shape[2:]):
        return None
    made: Tensor = QuickPool.apply(maps, limits)
    return made


class QuickPool(torch.autograd.Function):
    """The largest of each 2×2 pixels of limited maps. The gradient goes to the first of equal ones, as torch's does."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, limits: tuple[float, float]) -> Tensor:
        """The smaller maps; a last row or column without a partner is left out."""
        from fovea.training.kernels import pool as k

        images, channels, height, width = maps.shape
        made = maps.new_empty(images, height // 2, width // 2, channels).permute(0, 3, 1, 2)
        told = torch.tensor(limits, dtype=torch.float64)
        job = _job(maps, told)
        job.tell({k.MADE: made})
        job.run(k.largest)
        ctx.save_for_backward(maps, told)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of the maps."""
        from fovea.training.kernels import pool as k

        maps, told = ctx.saved_tensors
        made, gradient = torch.empty_like(maps), gradient.contiguous(memory_format=torch.channels_last)
        job = _job(maps, told)
        job.tell({k.MADE: made, k.GRADIENT: gradient})
        job.run(k.gradient)
        return made, None


def _job(maps: Tensor, limits: Tensor) -> Job:
    from fovea.training.kernels import pool as k

    images, channels, height, width = maps.shape
    rows = max(1, BAND // (2 * width * channels * maps.element_size()))
    told = {k.IMAGES: images, k.HEIGHT: height, k.WIDTH: width, k.CHANNELS: channels, k.ROWS: rows}
    job = Job(k.WORDS, images * -(-(height // 2) // rows), maps.dtype, told)
    job.tell({k.MAPS: maps, k.NUMBERS: limits})
    return job
