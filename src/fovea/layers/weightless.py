"""A module run without its weights: on tensors of the meta device, which have shapes and no numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, by one name for each place where a module holds one; tied ones stand in several places.

    For `functional_call` without its own tying, which does not give its weights back to a part with two names.
    """
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        own = {"recurse": False, "remove_duplicate": False}
        for name, tensor in (*part.named_parameters(**own), *part.named_buffers(**own)):
            found[f"{path}.{name}" if path else name] = tensor
    return found


def weightless(module: nn.Module) -> dict[str, Tensor]:
    """What stands in for the module's tensors on the meta device, by name; nothing for those that lie there."""
    tensors = named_tensors(module)
    empty = {id(each): torch.empty_like(each, device="meta") for each in tensors.values() if not each.is_meta}
    return {name: empty[id(tensor)] for name, tensor in tensors.items() if id(tensor) in empty}


def call_weightless(module: nn.Module, standing_in: dict[str, Tensor], *inputs: Tensor) -> Any:
    """What the module gives on inputs of the meta device; its own tensors are what they were afterwards."""
    return functional_call(module, standing_in, inputs, tie_weights=False) if standing_in else module(*inputs)
