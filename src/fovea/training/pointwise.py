"""1×1 convolutions in bf16 whose gradients are products of matrices, which a CPU runs faster than convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fovea.training.depthwise import replaced


@contextmanager
def quick_pointwise(network: nn.Module) -> Iterator[None]:
    """While the block lasts, 1×1 convolutions have the quick backward pass, as depthwise ones do; all else stays."""
    with replaced([each for each in network.modules() if is_pointwise(each)], _forward):
        yield


def is_pointwise(layer: nn.Module) -> bool:
    """Whether it is a plain 1×1 convolution of stride 1 over all channels."""
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward
        and layer.kernel_size == layer.stride == (1, 1)
        and layer.padding in ((0, 0), "valid", "same")
        and layer.groups == 1
    )


def _forward(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    quick = torch.is_grad_enabled() and torch.is_autocast_enabled("cpu") and maps.dim() == 4
    if not quick or maps.device.type != "cpu":
        return type(layer).forward(layer, maps)
    half = (None if each is None else each.to(torch.bfloat16) for each in (maps, layer.weight, layer.bias))
    made: Tensor = PointwiseConvolution.apply(*half)
    return made


class PointwiseConvolution(torch.autograd.Function):
    """A 1×1 convolution of bf16 tensors: each pixel's channels times a matrix."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `conv2d` gives."""
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of maps, weight and bias, in bf16."""
        maps, weight = ctx.saved_tensors
        matrix, pixels = weight.flatten(1), _pixels(gradient)
        of_maps, of_weight, of_bias = ctx.needs_input_grad
        return (
            _maps(pixels @ matrix, maps.shape) if of_maps else None,
            torch.empty_like(weight).copy_(_of_weight(pixels, _pixels(maps)).view_as(weight)) if of_weight else None,
            pixels.sum(dim=0) if of_bias else None,
        )


def _of_weight(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The same product in two ways: the faster one has the more channels in its columns."""
    if gradient.shape[1] > inputs.shape[1]:
        return (inputs.T @ gradient).T
    return gradient.T @ inputs


def _pixels(maps: Tensor) -> Tensor:
    """One row for each pixel; without a copy where maps lie channels-last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(pixels: Tensor, shape: torch.Size) -> Tensor:
    images, channels, height, width = shape
    return pixels.view(images, height, width, channels).permute(0, 3, 1, 2)
