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
from fovea.training.fused import fused_layers, is_fusible
from fovea.training.halving import quickly_pooled
from fovea.training.kernels.jobs import has_kernels

Arithmetic = Literal["float32", "float32-fused", "bf16", "bf16-depthwise", "bf16-fused"]
CPU_HAS_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # any of these, as torch names them


def candidates(network: nn.Module, device: torch.device) -> tuple[Arithmetic, ...]:
    """The arithmetic worth trying for a network on a device: the plainest first, float32 before bf16.

    float32 always; bf16 where the hardware has it, not where it is emulated; on a CPU bf16 with the remedy for
    depthwise convolutions, where the network has some; and on a CPU both with layers fused, bf16 with that remedy as
    well, where the network has layers to be fused and numba is installed.
    """
    on_cpu = device.type == "cpu"
    fuses = on_cpu and any(map(is_fusible, network.modules())) and has_kernels()
    found: dict[Arithmetic, bool] = {"float32": True, "float32-fused": fuses}
    if has_bf16(device):
        depthwise = on_cpu and any(map(is_depthwise, network.modules()))
        found |= {"bf16": True, "bf16-depthwise": depthwise, "bf16-fused": fuses}
    return tuple(name for name, worth in found.items() if worth)


@contextmanager
def arranged(network: nn.Module, precision: str) -> Iterator[None]:
    """While the block lasts, the network is laid out for an arithmetic; what it computes stays the same.

    Weights of four dimensions lie channels-last, and stay so afterwards: other strides, the same numbers. Except in
    plain float32, means over maps have a gradient that lies channels-last. In bf16 on a CPU, under `autocast`, max
    pooling of few channels is quicker; for bf16-depthwise and bf16-fused depthwise convolutions have a quick backward
    pass; and with -fused batch normalisation, ReLU and max pooling of 2×2 are one operation where they meet.

    Raises:
        MachineError: numba is not installed, which fused layers need.
    """
    network.to(memory_format=torch.channels_last)
    with ExitStack() as remedies:
        if precision.endswith("-fused"):  # first: what has a forward of its own is left alone by the others
            remedies.enter_context(fused_layers(network))
        if precision != "float32":
            whole = [each for each in network.modules() if isinstance(each, nn.AdaptiveAvgPool2d)]
            remedies.enter_context(replaced(whole, _averaged))
        if is_reduced(precision):
            pooling = [each for each in network.modules() if isinstance(each, nn.MaxPool2d)]
            remedies.enter_context(replaced(pooling, quickly_pooled))
        if precision in ("bf16-depthwise", "bf16-fused"):
            remedies.enter_context(quick_depthwise(network))
        yield


def is_reduced(precision: str) -> bool:
    """Whether it is an arithmetic in bf16."""
    return precision.startswith("bf16")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The forward pass belongs in it: convolutions and products run in the precision, weights and sums in float32.

    Logits may come out in bf16; what follows, the loss first, is to be computed from `logits.float()`.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16) if is_reduced(precision) else nullcontext()


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
    """Whether a device computes in bf16 itself, and does not make do with float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # new in torch 2.11 or later
        return any(found.get(each) for each in CPU_HAS_BF16)
    return False
