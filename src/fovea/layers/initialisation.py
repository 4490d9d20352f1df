"""How weights start: each scheme a function of one module, applied once to every module of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

Initialisation = Callable[[nn.Module], None]

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def initialise(network: nn.Module, scheme: Initialisation) -> None:
    """Give every tensor of a network its starting value, each once.

    Convolutions and linear layers start by the scheme, which also fills their biases; every other module by its own
    `reset_parameters`. So a network can be built without memory, be given memory, and be filled.
    """
    for module in network.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if isinstance(module, WEIGHTED):
            scheme(module)
        elif reset is not None:
            reset()


@dataclass(frozen=True)
class Drawn:
    """A scheme that draws weights by one of torch.nn.init's functions and sets biases to a constant.

    Args:
        draw: Such as `nn.init.normal_`.
        settings: Its arguments beside the tensor.
        bias: The constant.
    """

    draw: Callable[..., Any]
    settings: dict[str, Any] = field(default_factory=dict)
    bias: float = 0.0

    def __call__(self, module: nn.Module) -> None:
        """Fill the weights and biases of one convolution or linear layer."""
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.constant_(parameter, self.bias)
            else:
                self.draw(parameter, **self.settings)


def he_normal(mode: str = "fan_in") -> Initialisation:
    """Normal with variance 2/fan, biases 0. Source: He et al. 2015, arXiv:1502.01852."""
    return Drawn(nn.init.kaiming_normal_, {"mode": mode, "nonlinearity": "relu"})


def glorot_uniform() -> Initialisation:
    """Uniform with variance 2/(fan-in + fan-out), biases 0. Source: Glorot and Bengio 2010, AISTATS."""
    return Drawn(nn.init.xavier_uniform_)


def gaussian(std: float, *, bias: float = 0.0) -> Initialisation:
    """Normal with a fixed standard deviation; biases constant, as AlexNet and VGG have it."""
    return Drawn(nn.init.normal_, {"std": std}, bias)


def torch_default(module: nn.Module) -> None:
    """What torch's own layers do; for networks whose paper does not say."""
    reset: Any = module.reset_parameters
    reset()


def passing_on(module: nn.Module) -> None:
    """As torch has it, but convolutions with a middle begin by passing each input map on as it is, then mix the others.

    Of a kernel of odd side the first filters, one for each input map, are 1 in the middle and 0 elsewhere.

    Source: Jordan 2024, arXiv:2404.00498, section 3.3 ("dirac initialisation", partly the identity).
    """
    torch_default(module)
    if isinstance(module, nn.Conv2d) and module.groups == 1 and all(side % 2 for side in module.kernel_size):
        nn.init.dirac_(module.weight.detach()[: module.in_channels])
