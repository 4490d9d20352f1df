"""The arithmetic of training: float32 or bf16, and how the network's weights lie in memory for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fovea.training.depthwise import is_depthwise, quick_depthwise, replaced
from fovea.training.halving import Halving, halves
from fovea.training.kernels.jobs import has_kernels
from fovea.training.quick_norm import is_quick, quick_norms

Arithmetic = Literal["float32", "bf16", "bf16-depthwise", "bf16-fused"]
CPU_HAS_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # any of these, as torch names them
FEW = 16  # channels, below which torch pools value by value: 1.7 times as long in bf16 as in float32


def candidates(network: nn.Module, device: torch.device) -> tuple[Arithmetic, ...]:
    """The arithmetic worth trying for a network on a device, the plainest first.

    float32 always; bf16 where the hardware has it, not where it is emulated; on a CPU bf16 with the remedy for
    depthwise convolutions, where the network has some, and with that and quick batch normalisation, where it has some
    and numba is installed.
    """
    if not has_bf16(device):
        return ("float32",)
    found: tuple[Arithmetic, ...] = ("float32", "bf16")
    if device.type == "cpu" and any(map(is_depthwise, network.modules())):
        found += ("bf16-depthwise",)
    if device.type == "cpu" and any(map(is_quick, network.modules())) and has_kernels():
        found += ("bf16-fused",)
    return found


@contextmanager
def arranged(network: nn.Module, precision: str) -> Iterator[None]:
    """While the block lasts, the network is laid out for an arithmetic; what it computes stays the same.

    Weights of four dimensions lie channels-last, and stay so afterwards: other strides, the same numbers. In bf16 on a
    CPU, under `autocast`, max pooling of few channels compares pixel by pixel or in float32, which finds the same ones
    sooner; means over maps have a gradient that lies channels-last; for bf16-depthwise depthwise convolutions have a
    quick backward pass; and for bf16-fused batch normalisation is quick as well, one operation with ReLU behind it.

    Raises:
        MachineError: numba is not installed, which bf16-fused needs.
    """
    network.to(memory_format=torch.channels_last)
    with ExitStack() as remedies:
        if precision != "float32":
            whole = [each for each in network.modules() if isinstance(each, nn.AdaptiveAvgPool2d)]
            remedies.enter_context(replaced(whole, _averaged))
            pooling = [each for each in network.modules() if isinstance(each, nn.MaxPool2d) and not each.return_indices]
            remedies.enter_context(replaced(pooling, _pooled))
        if precision in ("bf16-depthwise", "bf16-fused"):
            remedies.enter_context(quick_depthwise(network))
        if precision == "bf16-fused":
            remedies.enter_context(quick_norms(network))
        yield


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The forward pass belongs in it: convolutions and products run in the precision, weights and sums in float32.

    Logits may come out in bf16; what follows, the loss first, is to be computed from `logits.float()`.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _pooled(layer: nn.MaxPool2d, maps: Tensor) -> Any:
    plain = type(layer).forward
    slow = maps.device.type == "cpu" and maps.dtype is torch.bfloat16 and maps.dim() == 4 and maps.shape[1] < FEW
    if slow and halves(layer, maps):
        return Halving.apply(maps)
    return plain(layer, maps.float()).to(maps.dtype) if slow else plain(layer, maps)


def _averaged(layer: nn.Module, maps: Tensor) -> Any:
    quick = layer.output_size in (1, (1, 1)) and maps.device.type == "cpu" and maps.dim() == 4
    return Average.apply(maps) if quick and torch.is_grad_enabled() else type(layer).forward(layer, maps)


class Average(torch.autograd.Function):
    """The mean over each map. torch lays its gradient out channels-first, which slows all that is behind it."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """What adaptive pooling to one pixel gives."""
        ctx.shape = maps.shape
        return F.adaptive_avg_pool2d(maps, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Each pixel's share, one number in memory for all of a map."""
        shared: Tensor = gradient / (ctx.shape[2] * ctx.shape[3])
        return shared.expand(ctx.shape)


def has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # new in torch 2.11 or later
        return any(found.get(each) for each in CPU_HAS_BF16)
    return False
