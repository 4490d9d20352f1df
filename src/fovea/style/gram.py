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
    rows = maps[0].permute(1, 2, 0).flatten(0, 1)
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    found: Tensor = _Gram.apply(rows, None if shares is None else shares.flatten()[:, None])
    return found


class _Gram(torch.autograd.Function):
    """rowsᵀ · (shares × rows). Its gradient is one product; autograd, which knows of no symmetry, would do two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, shares: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, shares)
        return rows.T @ (rows if shares is None else rows * shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, shares = ctx.saved_tensors
        moved = rows @ (gradient + gradient.T)
        return (moved if shares is None else moved * shares), None
