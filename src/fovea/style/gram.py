"""Gram matrices of feature maps: which filters respond together, wherever in the picture. That is the style."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def gram(maps: Float[Tensor, "1 c h w"], shares: Float[Tensor, "h w"] | None = None) -> Float[Tensor, "c c"]:
    """Products of filters' responses, added up over the places of one picture.

    Args:
        maps: What a layer gives, of whatever precision; products are added in float32.
        shares: What each place counts; 1 where None.

    Source: Gatys, Ecker and Bethge 2016, CVPR, equation 3; with shares Gatys et al. 2017, arXiv:1611.07865, equation 6,
    whose guidance channels are the roots of our shares.
    """
    found: Tensor = _Gram.apply(maps, shares)
    return found


class _Gram(torch.autograd.Function):
    """rowsᵀ · (shares × rows), a row being a place. Its gradient is one product; autograd would do two.

    Of maps in bf16 only these are kept, not the float32 numbers that are added up.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, shares: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, shares)
        rows = _rows(maps)
        return rows.T @ (rows if shares is None else rows * shares.flatten()[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        maps, shares = ctx.saved_tensors
        moved = _rows(maps) @ (gradient + gradient.T)
        if shares is not None:
            moved = moved * shares.flatten()[:, None]
        _, channels, height, width = maps.shape
        return moved.to(maps.dtype).view(1, height, width, channels).permute(0, 3, 1, 2), None


def _rows(maps: Float[Tensor, "1 c h w"]) -> Float[Tensor, "p c"]:
    """Maps as a row of filters' responses for each place, of float32 at least."""
    rows = maps[0].permute(1, 2, 0).flatten(0, 1)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
