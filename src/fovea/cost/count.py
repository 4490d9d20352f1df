"""Shapes, parameters and multiply-adds of any module, without weights and without arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image costs.

    Args:
        parameters: Learnable ones; shared ones count once, buffers do not.
        multiply_adds: Of convolutions and linear layers; without biases, normalisation, pooling, activations.
        shapes: What leaves each stage, without the batch: (channels, height, width) or (units,). A part of the head
            that is called like a stage is `head.<name>`; a stage that does not run, or gives no tensor, is absent.
    """

    parameters: int
    multiply_adds: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def measure(network: nn.Module, *, in_channels: int, image_size: int) -> Cost:
    """The cost of one image of a square size, by running the module once on the meta device.

    A module with a method `multiply_adds(output)` counts itself: what it runs may do more than its layer means.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    counter = _Counter()

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: shapes.update(
            {name: tuple(output.shape[1:])} if isinstance(output, Tensor) else {}
        )

    hooks = [child.register_forward_hook(note(name)) for name, child in stages_of(network).items()]
    for module in network.modules():
        if hasattr(module, "multiply_adds"):
            hooks += [module.register_forward_pre_hook(counter.enter), module.register_forward_hook(counter.leave)]
    try:
        with counter:
            _run_on_meta(network, in_channels, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(parameters=parameters(network), multiply_adds=counter.multiply_adds, shapes=shapes)


def parameters(network: nn.Module) -> int:
    """Number of learnable parameters; shared ones count once, buffers do not."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def multiply_adds(network: nn.Module, *, in_channels: int, image_size: int) -> int:
    """Multiply-adds of one image, as `measure` counts them."""
    return measure(network, in_channels=in_channels, image_size=image_size).multiply_adds


def stage_shapes(network: nn.Module, *, in_channels: int, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape leaving each stage for one image, as `measure` finds them."""
    return measure(network, in_channels=in_channels, image_size=image_size).shapes


def stages_of(network: nn.Module) -> dict[str, nn.Module]:
    """The parts that have a row of their own: children of `features` and `head`, or the module's own children."""
    parts = [part for part in ("features", "head") if isinstance(getattr(network, part, None), nn.Module)]
    if not parts:
        return dict(network.named_children())
    stages: dict[str, nn.Module] = {}
    for part in parts:
        for name, child in getattr(network, part).named_children():
            stages[name if name not in stages else f"{part}.{name}"] = child
    return stages


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types it not
    """Adds up the operations that torch knows the cost of; inside a module that counts itself, that module's word."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch types it not
        self.multiply_adds = 0
        self.before: list[int] = []

    def enter(self, _module: nn.Module, _inputs: Any) -> None:
        self.before.append(self.multiply_adds)

    def leave(self, module: Any, _inputs: Any, output: Tensor) -> None:
        self.multiply_adds = self.before.pop() + int(module.multiply_adds(output))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operations = flop_registry.get(func._overloadpacket)
        if operations is not None:
            self.multiply_adds += operations(*args, **(kwargs or {}), out_val=out) // 2
        return out


def _run_on_meta(network: nn.Module, in_channels: int, image_size: int) -> None:
    was_training = network.training
    image = torch.empty(1, in_channels, image_size, image_size, device="meta")
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    try:
        with torch.no_grad():
            network.eval()
            if all(tensor.device.type == "meta" for tensor in tensors.values()):
                network(image)
            else:
                weightless = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
                functional_call(network, weightless, (image,))
    finally:
        network.train(was_training)
