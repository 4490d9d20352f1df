"""Max pooling in bf16 for few channels, where torch goes value by value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fovea.training.quick_pool import takes_fours

FEW = 16  # channels, below which torch takes 1.7 times as long in bf16 as in float32


def quickly_pooled(layer: nn.MaxPool2d, maps: Tensor) -> Any:
    """What the layer gives; where bf16 would be slow, by halving or in float32, which finds the same ones sooner."""
    plain = type(layer).forward
    slow = maps.device.type == "cpu" and maps.dtype is torch.bfloat16 and maps.dim() == 4 and maps.shape[1] < FEW
    if slow and takes_fours(layer) and maps.shape[2] % 2 == maps.shape[3] % 2 == 0:
        return Halving.apply(maps)
    return plain(layer, maps.float()).to(maps.dtype) if slow and not layer.return_indices else plain(layer, maps)


class Halving(torch.autograd.Function):
    """The largest of each 2×2 pixels: first of neighbours in a row, then of two rows.

    The gradient goes to the first of equal pixels, as torch's does; for finite maps it is the same to the bit.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """What `max_pool2d` gives."""
        rows = torch.maximum(maps[..., ::2], maps[..., 1::2])
        ctx.save_for_backward(maps, rows)
        return torch.maximum(rows[:, :, ::2], rows[:, :, 1::2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Each pixel's gradient where it was the largest, 0 elsewhere."""
        maps, rows = ctx.saved_tensors
        of_rows, of_maps = torch.empty_like(rows), torch.empty_like(maps)
        _share(gradient, (rows[:, :, ::2], rows[:, :, 1::2]), (of_rows[:, :, ::2], of_rows[:, :, 1::2]))
        _share(of_rows, (maps[..., ::2], maps[..., 1::2]), (of_maps[..., ::2], of_maps[..., 1::2]))
        return of_maps


def _share(gradient: Tensor, values: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor]) -> None:
    """Give the gradient to the larger one of two values, bit by bit: its place has all bits of it, the other none."""
    second = (values[0] - values[1]).view(torch.int16).bitwise_right_shift_(15)  # the sign: all bits, or none
    bits, (here, there) = gradient.view(torch.int16), (place.view(torch.int16) for place in places)
    torch.bitwise_and(bits, second, out=there)
    torch.bitwise_xor(bits, there, out=here)
