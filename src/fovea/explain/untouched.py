"""A network that is looked into stays as it was: its modes, and its weights' flags and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fovea.errors import ModelError


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients of images alone; afterwards all is as before, after an error too.

    Weights ask for no gradient meanwhile, so none is computed or kept, and theirs stay. What a hook of the network's
    owner does is its own affair.

    Args:
        network: Any module. No other thread may use it meanwhile.

    Raises:
        ModelError: the network is a TorchScript module, into which nothing can look.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ModelError(
            f"{type(network).__name__} is or holds a TorchScript module, into which nothing can look; explain the "
            "module it was made from"
        )
    modes = [(module, module.training) for module in network.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        kind = next((parameter.device.type for parameter, _ in wanted), "cpu")
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
            yield
    finally:
        for parameter, needed in wanted:
            parameter.requires_grad_(needed)
        for module, mode in modes:
            module.training = mode
