"""Batch normalisation folded into the convolutions before it: the same function of an image, in fewer passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
BEFORE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ABOUT = ("__get__", "dim", "size", "numel", "is_contiguous", "is_floating_point")  # asked of a map, not of its pixels


@contextmanager
def folded(network: nn.Module, example: Tensor, call: Callable[[Tensor], Any] | None = None) -> Iterator[int]:
    """Let a network in evaluation mode run with its batch normalisations folded; it is as before afterwards.

    In evaluation mode batch normalisation is a fixed scale and shift of each map, and so is a convolution's weight and
    bias. Folded is each one whose input is a convolution's output that nothing else reads, as one forward pass shows;
    others stay (of a pre-activated block, say, whose input goes around it too). Logits differ by rounding. Meanwhile no
    other thread may use the network.

    Args:
        network: In evaluation mode; where it is in training mode nothing is folded.
        example: Images such as it takes; two are enough.
        call: What will be run, where it is not the whole network: a map that it gives is read by whoever asked for it.

    Yields:
        How many were folded.

    Source: Jacob et al. 2017, "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", arXiv:1712.05877, section 3.2.
    """
    pairs = [] if network.training else foldable(network, example, call)
    with ExitStack() as undone:
        for convolution, norm in pairs:
            _fold(convolution, norm, undone)
        yield len(pairs)


def foldable(
    network: nn.Module, example: Tensor, call: Callable[[Tensor], Any] | None = None
) -> list[tuple[nn.Module, nn.Module]]:
    """Each convolution with the batch normalisation that alone reads what it gives.

    Args:
        network: In evaluation mode.
        example: Images such as it takes.
        call: What will be run, where it is not the whole network.
    """
    if not any(isinstance(module, NORMS) for module in network.modules()):
        return []
    seen = _Uses()
    with ExitStack() as hooks, torch.no_grad(), seen:
        for module in network.modules():
            if isinstance(module, (*BEFORE, *NORMS)):
                hooks.callback(module.register_forward_hook(seen.after).remove)
        given = (call or network)(example)
    for each in tree_leaves(given):  # what the network gives is read by whoever called it
        if id(each) in seen.made:
            seen.reads[id(each)] += 1
    return [
        (convolution, norm)
        for convolution, norm, made in seen.pairs
        if seen.calls[id(convolution)] == seen.calls[id(norm)] == 1 and seen.reads[id(made)] == 1
    ]


@dataclass
class _Uses(TorchFunctionMode):
    """Who made which map, and how often each was read.

    Args:
        made: The convolution by the identity of the map that it gave.
        kept: The maps, so that no identity is given twice.
        reads: How often torch was handed each of them.
        calls: How often each module ran.
        pairs: A convolution, the normalisation that read what it gave, and that map.
    """

    made: dict[int, nn.Module] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)
    reads: dict[int, int] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    pairs: list[tuple[nn.Module, nn.Module, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") not in ABOUT or any(isinstance(each, Tensor) for each in tree_leaves(given)):
            for each in tree_leaves((args, kwargs or {})):
                if isinstance(each, Tensor) and id(each) in self.made:
                    self.reads[id(each)] += 1
        return given

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Note what a module was given and gave."""
        self.calls[id(module)] = self.calls.get(id(module), 0) + 1
        if isinstance(module, BEFORE):
            self.made[id(output)], self.reads[id(output)] = module, 0
            self.kept.append(output)
        elif id(inputs[0]) in self.made and _scales(module):
            self.pairs.append((self.made[id(inputs[0])], module, inputs[0]))


def _scales(norm: nn.Module) -> bool:
    """Whether it does nothing else but scale and shift by what it has stored."""
    return norm.running_mean is not None and not norm.training


def _fold(convolution: Any, norm: Any, undone: ExitStack) -> None:
    """Give the convolution the weights of both, and let the normalisation pass its input on."""
    weight, bias = convolution.weight, convolution.bias
    both = fuse_conv_bn_weights(weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    convolution.weight, convolution.bias = both
    replaced = norm.__dict__.get("forward")  # somebody else may have put one there
    norm.forward = _unchanged
    undone.callback(setattr, norm, "forward", replaced) if replaced else undone.callback(delattr, norm, "forward")
    undone.callback(setattr, convolution, "bias", bias)
    undone.callback(setattr, convolution, "weight", weight)


def _unchanged(maps: Tensor) -> Tensor:
    return maps
