"""The network as training runs it: with its auxiliary classifiers, in the arithmetic chosen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fovea.errors import MachineError
from fovea.layers.convnet import ConvNet
from fovea.training.arithmetic import autocast
from fovea.training.losses import Outputs


class Forward(nn.Module):
    """Images to what the loss takes. It is this module that ranks share, so that all gradients pass through it.

    Args:
        network: From images to logits. Where it is a `ConvNet` with auxiliary classifiers, or torchvision's GoogLeNet
            or Inception with theirs, their logits come too.
        precision: The arithmetic.
        device: Where it runs.
    """

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        super().__init__()
        self.network, self.precision, self.device = network, precision, device

    def forward(self, images: Tensor) -> Outputs:
        """The logits, with those of the auxiliary classifiers by stage where there are any."""
        with autocast(self.precision, self.device):
            if isinstance(self.network, ConvNet) and len(self.network.auxiliary):
                return self.network.forward_with_auxiliary(images)
            return _outputs(self.network(images))


def check_compiler(device: torch.device) -> None:
    """Say before the first step that torch.compile has nothing to compile with.

    Raises:
        MachineError: there is no C++ compiler, which a CPU needs.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler() if device.type == "cpu" else None
    except Exception as error:  # torch has types of its own for it, which move
        raise MachineError(
            "--compile needs a C++ compiler, and none was found; install g++ or clang, or leave --compile away"
        ) from error


def _outputs(made: Any) -> Outputs:
    """A named tuple of logits and auxiliary logits, as torchvision's networks give in training, as ours."""
    if isinstance(made, Tensor):
        return made
    others = {name: each for name, each in made._asdict().items() if name != "logits" and each is not None}
    return made.logits, others
