"""Depthwise convolutions in bf16, with a backward pass that a CPU can run fast.

oneDNN is quick at running them forward, and at the gradient of weights where kernels are three pixels wide at most. It
is ten to a hundred times slower than that at the gradient of the images where the stride is 2, and of wider kernels'
weights. So here both are put in terms of what is quick. The numbers are those of a backward pass in bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
WIDTH = 3  # of a kernel, in pixels, up to which oneDNN is quick at the gradient of weights
LARGE, PIECE = 2**23, 2**21  # bytes of images above which they are taken in pieces, and about those of a piece


class Geometry(NamedTuple):
    """How a kernel moves over the images: (rows, columns) each."""

    stride: Pair
    padding: Pair
    dilation: Pair


def is_depthwise(layer: nn.Module) -> bool:
    """Whether it is a convolution of each channel by itself, of more than one channel, with one filter each."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


@contextmanager
def quick_depthwise(network: nn.Module) -> Iterator[None]:
    """While the block lasts, depthwise convolutions that run under autocast on a CPU have the quick backward pass.

    All else stays: outside of autocast, without gradients and on other devices they are as they were, and layers with a
    `forward` of their own instance are left alone. The network may be copied, shared and recomputed meanwhile.
    """
    with replaced([each for each in network.modules() if is_depthwise(each)], _forward):
        yield


@contextmanager
def replaced(layers: Iterable[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """While the block lasts, another forward, which receives the layer first; not where an instance has its own."""
    own = [each for each in layers if "forward" not in each.__dict__]
    for layer in own:
        layer.forward = MethodType(forward, layer)  # bound, so that a copy of the layer has its own
    try:
        yield
    finally:
        for layer in own:
            del layer.forward


def _forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    plain = type(layer).forward
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return plain(layer, *args, **kwargs)
    with _Quick():
        return plain(layer, *args, **kwargs)


class _Quick(TorchFunctionMode):
    """Takes the place of `conv2d` within a layer's own forward, which may pad or scale before."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is not torch.conv2d:
            return function(*args, **(kwargs or {}))
        made = _quick_convolution(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if made is None else made


def _quick_convolution(
    input: Tensor,  # noqa: A002  # torch's own names, by which it may be called
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: str | int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor | None:
    """The convolution; None where it is none of those that are meant here."""
    if input.device.type != "cpu" or input.dim() != 4 or not groups == input.shape[1] == len(weight) > 1:
        return None
    dilation, kernel = _pair(dilation), weight.shape[2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):
        if padding == "same" and any(each % 2 for each in reach):
            return None
        padding = (reach[0] // 2, reach[1] // 2) if padding == "same" else 0
    padding = _pair(padding)
    if any(p > r for p, r in zip(padding, reach, strict=True)):
        return None
    half = (None if each is None else each.to(torch.bfloat16) for each in (input, weight, bias))
    made: Tensor = DepthwiseConvolution.apply(*half, Geometry(_pair(stride), padding, dilation))
    return made


class DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution of bf16 tensors, with gradients by forward convolutions and those of narrow kernels."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        """What `conv2d` gives."""
        ctx.save_for_backward(images, weight)
        ctx.geometry = geometry
        return F.conv2d(images, weight, bias, *geometry, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Gradients of images, weight and bias, in bf16."""
        images, weight = ctx.saved_tensors
        of_images, of_weight, of_bias = ctx.needs_input_grad[:3]
        return (
            gradient_of_images(gradient, weight, images.shape[2:], ctx.geometry) if of_images else None,
            gradient_of_weight(gradient, images, weight, ctx.geometry) if of_weight else None,
            gradient.sum(dim=(0, 2, 3)) if of_bias else None,
            None,
        )


def gradient_of_images(gradient: Tensor, weight: Tensor, size: torch.Size, geometry: Geometry) -> Tensor:
    """A convolution with the flipped kernels of the outputs' gradient, its pixels set apart by the stride.

    Args:
        gradient: Of the outputs.
        weight: The kernels.
        size: Height and width of the images.
        geometry: Of the convolution; padding is at most dilation · (kernel - 1).
    """
    stride, padding, dilation = geometry
    border = [d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)]
    if stride != (1, 1):
        height, width = (n + p + b for n, p, b in zip(size, padding, border, strict=True))
        apart = gradient.new_zeros(len(gradient), height, width, gradient.shape[1]).permute(0, 3, 1, 2)
        rows, columns = (slice(b, b + n * s, s) for b, n, s in zip(border, gradient.shape[2:], stride, strict=True))
        apart[:, :, rows, columns] = gradient
        gradient, border = apart, [0, 0]
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, border, dilation, len(weight))


def gradient_of_weight(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of wide kernels in parts of three columns, over images that are shifted as far.

    Args:
        gradient: Of the outputs.
        images: The inputs.
        weight: The kernels, of which only sizes and strides matter.
        geometry: Of the convolution.
    """
    whole = torch.empty_like(weight)  # strides as well, which ranks expect of a gradient
    height, width = weight.shape[2:]
    if width <= WIDTH:
        return whole.copy_(_narrow(gradient, images, (height, width), geometry))
    stride, padding, dilation = geometry
    used = stride[1] * (gradient.shape[3] - 1) + dilation[1] * (WIDTH - 1) + 1
    for start in (*range(0, width - WIDTH, WIDTH), width - WIDTH):
        before = padding[1] - start * dilation[1]
        shifted = F.pad(images, (before, used - before - images.shape[3]))
        part = _narrow(gradient, shifted, (height, WIDTH), geometry._replace(padding=(padding[0], 0)))
        whole[:, :, :, start : start + WIDTH] = part
    return whole


def _narrow(gradient: Tensor, images: Tensor, kernel: Pair, geometry: Geometry) -> Tensor:
    """The gradient of narrow kernels; of large images a few at a time, copied first.

    oneDNN walks through the images once for each sixteen channels, which takes twice as long from memory as the copy
    into the cache and the walk through that.
    """
    if images.nbytes < LARGE:
        return _of_weight(gradient, images, kernel, geometry)
    few = max(1, PIECE * len(images) // images.nbytes)
    pieces = zip(torch.split(gradient, few), torch.split(images, few), strict=True)
    parts = [_of_weight(own.clone(), some.clone(), kernel, geometry).float() for own, some in pieces]
    return torch.stack(parts).sum(dim=0).to(gradient.dtype)


def _of_weight(gradient: Tensor, images: Tensor, kernel: Pair, geometry: Geometry) -> Tensor:
    channels = gradient.shape[1]
    weight, wanted = gradient.new_empty(channels, 1, *kernel), [False, True, False]
    made: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, *geometry, False, [0, 0], channels, wanted
    )
    return made[1]


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
