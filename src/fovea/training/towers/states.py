"""What an optimiser remembers, from the halves of a network to the whole and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fovea.errors import ModelError

States = dict[str, dict[str, Any]]  # what an optimiser remembers: by its own word for it, then by parameter; or turned


def by_kind(optimiser: torch.optim.Optimizer, module: nn.Module) -> States:
    """What an optimiser remembers of a module's parameters, by its own word for it, then by the parameter's name."""
    found: States = {}
    for name, parameter in module.named_parameters():
        for word, value in optimiser.state.get(parameter, {}).items():
            found.setdefault(word, {})[name] = value
    return found


def by_parameter(states: States, changed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> States:
    """Every kind merged or halved, by the parameter's new name, then by the optimiser's word."""
    found: States = {}
    for word in sorted(states):
        for name, value in changed(states[word]).items():
            found.setdefault(name, {})[word] = value
    return found


def remember(optimiser: torch.optim.Optimizer, module: nn.Module, states: States) -> None:
    """Copy into the optimiser's own tensors, whose layout in memory stays."""
    for name, parameter in module.named_parameters():
        own = optimiser.state.get(parameter, {})
        told = states.get(name, {})
        if own.keys() != told.keys():
            raise ModelError(
                f"{type(optimiser).__name__} remembers {', '.join(own) or 'nothing'} of {name}, and is to remember "
                f"{', '.join(told) or 'nothing'}; build both by fovea.training.optimisers from the same options"
            )
        for word, value in told.items():
            own[word].copy_(value)
