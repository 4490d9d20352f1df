"""Guided backpropagation and the deconvnet: the gradient, with another rule where it passes a ReLU.

The rule holds for the operation, wherever it stands: in a module, in a function, in place. Networks with another
activation have no such rule and are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fovea.errors import ModelError
from fovea.explain.gradients import pixel_gradient
from fovea.explain.question import Answer, Question, joined

# Where each ends above, and which of its arguments says that it works in place; a hardtanh is one where it begins at 0.
RELUS = {"relu": (torch.inf, 1), "relu6": (6.0, 1), "hardtanh": (1.0, 3)}
OTHERS = {
    *("silu", "gelu", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "tanh", "hardswish", "mish", "softplus"),
    *("softsign", "logsigmoid", "hardshrink", "softshrink", "threshold"),
}
INSTEAD = "take saliency, smoothgrad or integrated_gradients, which hold for any activation"


def guided_backpropagation(question: Question) -> Answer:
    """The gradient of which, at each ReLU, only what is positive passes, and only where the ReLU let the image pass.

    Raises:
        ModelError: the network has no ReLU, or another activation beside it.

    Source: Springenberg et al. 2014, arXiv:1412.6806, section 3.4.
    """
    return joined([_answer(part, "guided_backpropagation", masked=True) for part in question.parts()])


def deconvnet(question: Question) -> Answer:
    """The way back of Zeiler and Fergus: maxima to where pooling found them, a ReLU at each ReLU, filters transposed.

    The switches of max pooling are what ties the picture to the image; without any it would be the same picture for
    every image, so such a network is refused. Where windows of pooling overlap, what goes to one place is added.

    Raises:
        ModelError: the network has no max pooling, no ReLU, or another activation beside it.

    Source: Zeiler and Fergus 2013, arXiv:1311.2901, section 2.1.
    """
    return joined([_answer(part, "deconvnet", masked=False) for part in question.parts()])


def _answer(question: Question, method: str, *, masked: bool) -> Answer:
    with _Rule(masked=masked) as rule:
        detail = pixel_gradient(question, question.images)
    name = type(question.network).__name__
    if rule.others:
        raise ModelError(
            f"{method} has a rule for ReLU alone, and {name} runs {', '.join(sorted(rule.others))} too; {INSTEAD}"
        )
    if not rule.relus:
        raise ModelError(f"{method} is a rule for ReLU, and {name} runs none; {INSTEAD}")
    if not masked and not rule.pools:
        raise ModelError(
            f"{name} has no max pooling, so a deconvnet has no switches, and its picture would show the same for every "
            "image; take guided_backpropagation"
        )
    return Answer(detail.abs().amax(1), detail)


class _Rule(TorchFunctionMode):
    """Replaces each ReLU by one with another way back, and counts what it meets."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.relus = self.pools = 0
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        called = getattr(func, "__name__", "")
        name = called.rstrip("_")
        self.pools += "max_pool" in name
        if name in OTHERS:
            self.others.add(name)
        if name not in RELUS or not isinstance(args[0] if args else kwargs.get("input"), Tensor):
            return func(*args, **kwargs)
        images: Tensor = args[0] if args else kwargs["input"]
        ends, place = RELUS[name]
        if name == "hardtanh":
            if kwargs.get("min_val", args[1] if len(args) > 1 else -1.0) != 0:
                self.others.add("hardtanh")
                return func(*args, **kwargs)
            ends = float(kwargs.get("max_val", args[2] if len(args) > 2 else ends))
        self.relus += 1
        in_place = called.endswith("_") or kwargs.get("inplace", args[place] if len(args) > place else False)
        made: Tensor = _Relu.apply(images.clone() if in_place else images, ends, self.masked)
        return images.copy_(made) if in_place else made


class _Relu(torch.autograd.Function):
    """A ReLU on the way in; on the way back what is positive, and, where masked, what the ReLU let pass."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, ends: float, masked: bool) -> Tensor:
        if masked:
            ctx.save_for_backward((images > 0) & (images < ends))
        return images.clamp(0, ends)

    @staticmethod
    def backward(ctx: Any, *grown: Tensor) -> tuple[Tensor, None, None]:
        passed = grown[0].clamp_min(0)
        return passed * ctx.saved_tensors[0] if ctx.saved_tensors else passed, None, None
