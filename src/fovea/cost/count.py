"""Shapes, parameters and multiply-adds of any module, without weights and without arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """Number of learnable parameters; shared ones count once, buffers do not."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def stage_shapes(network: nn.Module, *, in_channels: int, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape leaving each stage for one image, without the batch: (channels, height, width) or (units,).

    Stages are the children of `features` and of `head`; for a module without them, its own children. One that does
    not run, or gives no tensor, is absent.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: shapes.update(
            {name: tuple(output.shape[1:])} if isinstance(output, Tensor) else {}
        )

    parts = [part for part in ("features", "head") if isinstance(getattr(network, part, None), nn.Module)]
    parents = [getattr(network, part) for part in parts] or [network]
    hooks = [child.register_forward_hook(note(name)) for parent in parents for name, child in parent.named_children()]
    try:
        _run_on_meta(network, in_channels, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def multiply_adds(network: nn.Module, *, in_channels: int, image_size: int) -> int:
    """Multiply-adds of one image: convolutions and linear layers, without biases, normalisation, pooling, activations.

    A module with a method `multiply_adds(output)` counts itself: what it runs may do more than its layer means.
    """
    declared: dict[str, int] = {}

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda module, _inputs, output: declared.update({name: module.multiply_adds(output)})

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in network.named_modules()
        if hasattr(module, "multiply_adds")
    ]
    try:
        with FlopCounterMode(display=False) as counter:
            _run_on_meta(network, in_channels, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    by_module = counter.get_flop_counts()
    root = type(network).__name__
    run: dict[str, int] = {name: sum(by_module.get(f"{root}.{name}", {}).values()) // 2 for name in declared}
    total: int = counter.get_total_flops()
    return total // 2 - sum(run.values()) + sum(declared.values())


def _run_on_meta(network: nn.Module, in_channels: int, image_size: int) -> None:
    was_training = network.training
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    weightless = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image = torch.empty(1, in_channels, image_size, image_size, device="meta")
    try:
        with torch.no_grad():
            functional_call(network.eval(), weightless, (image,))
    finally:
        network.train(was_training)
