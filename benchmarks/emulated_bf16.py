"""Any command of fovea, with bf16 at the speed of float32 on a CPU that has no instructions for it.

    python benchmarks/emulated_bf16.py train efficientnet_b0 cifar10 --precision bf16-fused ...

For accuracy, not for speed. Without such instructions torch computes bf16 convolutions one number at a time, ten to
twenty times slower than in float32. Here convolutions and products of bf16 tensors are computed in float32 and their
results rounded to bf16 once, which is what the instructions do: products of two numbers in bf16 are exact in float32,
and sums run in float32. What differs is the order of the sums. All other operations are as they are.

    python benchmarks/emulated_bf16.py --check

says how many of a convolution's results and gradients are those of float64 rounded once, by torch itself on this
machine and emulated.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
EMULATED = {aten.convolution.default, aten.convolution_backward.default, aten.mm.default, aten.addmm.default}


class Emulated(TorchDispatchMode):
    """Convolutions and products of bf16 tensors in float32, their results rounded."""

    def __torch_dispatch__(
        self, operation: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What the operation gives."""
        kwargs = kwargs or {}
        if operation not in EMULATED or not any(map(_is_half, args)):
            return operation(*args, **kwargs)
        made = operation(*[each.float() if _is_half(each) else each for each in args], **kwargs)
        if isinstance(made, Tensor):
            return made.to(torch.bfloat16)
        return tuple(None if each is None else each.to(torch.bfloat16) for each in made)


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bfloat16


def check() -> None:
    """Print how many results of convolutions are as exact as bf16 can be."""
    torch.manual_seed(0)
    half: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
    for kind, groups in {"usual": 1, "depthwise": 32}.items():
        layer = torch.nn.Conv2d(32, 32, 3, padding=1, groups=groups, bias=False).to(**half)
        images, gradient = (torch.randn(8, 32, 16, 16).to(**half) for _ in range(2))
        own = _results(layer, images, gradient)
        with Emulated():
            emulated = _results(layer, images, gradient)
        exact = _results(copy.deepcopy(layer).double(), images.double(), gradient.double())
        for name, *each in zip(("outputs", "gradient of images", "of weights"), own, emulated, exact, strict=True):
            here, there, right = (made.to(torch.bfloat16) for made in each)
            shares = [f"{(made == right).float().mean():.2%}" for made in (here, there)]
            print(f"{kind} convolution, {name}: {shares[0]} by torch, {shares[1]} emulated")


def _results(layer: torch.nn.Module, images: Tensor, gradient: Tensor) -> list[Tensor]:
    images = images.clone().requires_grad_()
    made = layer(images)
    return [made.detach(), *torch.autograd.grad(made, (images, *layer.parameters()), gradient)]


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        from fovea.commands.main import main

        with Emulated():
            sys.exit(main())
