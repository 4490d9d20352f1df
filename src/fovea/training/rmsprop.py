"""RMSProp as TensorFlow has it, which the recipes of Inception v3, MobileNets, MnasNet and EfficientNet mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers as wide as a number of so many bytes


class RMSProp(torch.optim.Optimizer):
    """Each gradient is divided by the root of a running mean of its square.

    It differs from torch's in three ways: the mean of squares starts at one, epsilon stands within the root, and the
    learning rate is multiplied into the momentum, so that a change of the rate does not rescale past updates.

    Where the attribute `found_inf` is 1, a step changes neither weights nor state; a GPU is not waited for.

    Args:
        groups: Parameters, or groups of them with a `weight_decay` each: an L2 penalty, added to the gradient.
        lr: Learning rate.
        rho: Decay of the mean of squares.
        momentum: Decay of the momentum; 0 keeps none.
        epsilon: Added to the mean of squares.

    Source: Tieleman and Hinton 2012, Neural Networks for Machine Learning, lecture 6e; the form is that of
    TensorFlow's ApplyRMSProp (tensorflow/core/kernels/training_ops.cc).
    """

    def __init__(
        self,
        groups: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        super().__init__(groups, {"lr": lr, "rho": rho, "momentum": momentum, "epsilon": epsilon, "weight_decay": 0.0})
        for group in self.param_groups:
            for parameter in group["params"]:
                state = {"square": torch.ones_like(parameter, requires_grad=False)}
                if momentum > 0:
                    state["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
                self.state[parameter] = state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = evaluated(closure)
        found = getattr(self, "found_inf", None)
        if not raised(found):
            for group in self.param_groups:
                self._update(group, unread(found))
        return loss

    def _update(self, group: dict[str, Any], found: Tensor | None) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        gradients: Sequence[Tensor] = [parameter.grad for parameter in parameters]
        if group["weight_decay"] > 0:
            gradients = torch._foreach_add(list(gradients), parameters, alpha=group["weight_decay"])
        gradients = quenched(gradients, found)

        squares = [self.state[parameter]["square"] for parameter in parameters]
        torch._foreach_mul_(squares, unless(found, group["rho"]))
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["rho"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)

        if group["momentum"] == 0:
            torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])
            return
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(buffers, unless(found, group["momentum"]))
        torch._foreach_addcdiv_(buffers, gradients, roots, value=group["lr"])
        torch._foreach_sub_(parameters, buffers if found is None else torch._foreach_mul(buffers, 1 - found))


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """What torch's optimisers do with a closure: run it, with gradients, before the update."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def raised(found: Tensor | None) -> bool:
    """Whether the flag is up, where reading it waits for nothing: on a CPU."""
    return found is not None and found.device.type == "cpu" and bool(found)


def unread(found: Tensor | None) -> Tensor | None:
    """The flag, where only the device itself can read it without being waited for."""
    return None if found is None or found.device.type == "cpu" else found


def unless(found: Tensor | None, factor: float) -> float | Tensor:
    """The factor; 1, where the flag is up."""
    return factor if found is None else factor + found * (1 - factor)


def quenched(tensors: Sequence[Tensor], found: Tensor | None) -> list[Tensor]:
    """The tensors; zeros in their stead where the flag is up, even for NaN, which no product of numbers removes."""
    if found is None:
        return list(tensors)
    bits = [tensor.view(BITS[tensor.element_size()]) for tensor in tensors]
    kept = torch._foreach_mul(bits, (1 - found).to(bits[0].dtype))
    return [each.view(tensor.dtype) for each, tensor in zip(kept, tensors, strict=True)]
