"""Why convolution: shared weights and local fields, and a layer without either."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import UsageError
from fovea.experiments.ideas.change import Change, Idea, InNetwork, Shape, replaced
from fovea.layers.locally_connected import LocallyConnected2d

MOST = 200_000_000  # weights of one layer


class FullyConnected2d(nn.Module):
    """Every output sees every input: the convolution's units with neither local fields nor shared weights.

    Args:
        shape: Of the maps that come in: channels, height, width.
        out_shape: Of the maps that leave.
    """

    def __init__(self, shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.linear = nn.Linear(math.prod(shape), math.prod(out_shape))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The outputs as maps."""
        outputs: Tensor = self.linear(maps.flatten(1)).unflatten(1, self.out_shape)
        return outputs


def _without(kind: str) -> InNetwork:
    def change(network: nn.Module, shape: Shape) -> int:
        sizes = _sizes(network, shape)
        return replaced(network, lambda part: _unshared(part, *sizes[part], kind) if part in sizes else None)

    return change


def _unshared(convolution: Any, shape: Shape, out_shape: Shape, kind: str) -> nn.Module:
    channels, side = shape[0], shape[1]
    kernel, stride, padding = convolution.kernel_size[0], convolution.stride[0], convolution.padding[0]
    fan_in = channels * kernel**2 if kind == "local" else math.prod(shape)
    if fan_in * math.prod(out_shape) > MOST:
        raise UsageError(
            f"a layer of {fan_in * math.prod(out_shape):,} weights would stand for a convolution of {shape} to "
            f"{out_shape}; {MOST:,} is the most: take a smaller network or --image-size"
        )
    if kind == "full":
        return FullyConnected2d(shape, out_shape)
    return LocallyConnected2d(channels, out_shape[0], kernel, image_size=side, stride=stride, padding=padding)


def _sizes(network: nn.Module, shape: Shape) -> dict[nn.Module, tuple[Shape, Shape]]:
    """Of every usual convolution with a kernel above 1×1, the shapes that come in and leave."""
    seen: dict[nn.Module, tuple[Shape, Shape]] = {}

    def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[part] = (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))  # type: ignore[assignment]

    usual = [part for part in network.modules() if type(part) is nn.Conv2d and _is_usual(part)]
    hooks = [part.register_forward_hook(note) for part in usual]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return seen


def _is_usual(part: nn.Conv2d) -> bool:
    square = len({*part.kernel_size}) == len({*part.stride}) == 1
    return square and part.groups == 1 and part.dilation == (1, 1) and part.kernel_size != (1, 1)


SHARED_WEIGHTS = Idea(
    words="weights shared over the image",
    source="LeCun 1989, Generalization and network design strategies",
    without={
        "local": Change(words="local fields, each with weights of its own", network=_without("local")),
        "full": Change(words="every unit sees the whole image", network=_without("full")),
    },
    where="small networks such as LeNet-5",
)
