"""Batch normalisation in bf16 with ReLU behind it as one operation, which on a CPU is bound by memory."""

from __future__ import annotations

import ctypes
import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from threadpoolctl import threadpool_info
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fovea.errors import MachineError
from fovea.layers.batch_norm import ShiftBatchNorm2d, ZeroGammaBatchNorm2d
from fovea.training.depthwise import replaced

NORMS = (nn.BatchNorm2d, ZeroGammaBatchNorm2d, ShiftBatchNorm2d)
Limits = tuple[float, float]
LIMITS: dict[type[nn.Module], Limits] = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
NONE: Limits = (-math.inf, math.inf)
CHUNK = 2**16  # values that a thread takes at once, about: 128 kB, which its cache holds
WIDE = 256  # columns of a row, at least where pixels can be joined: a few steps of the widest vector units


def is_quick(layer: nn.Module) -> bool:
    """Whether it is a batch normalisation of the kind meant here."""
    return type(layer) in NORMS


@cache
def has_kernels() -> bool:
    """Whether numba is installed, and torch's threads can be called."""
    return importlib.util.find_spec("numba") is not None and _threads() is not None


@contextmanager
def quick_norms(network: nn.Module) -> Iterator[None]:
    """While the block lasts, batch normalisation that trains under autocast on a CPU runs in machine code of ours.

    With a ReLU or ReLU6 behind it in the same `nn.Sequential` it is one operation. All else stays: in evaluation,
    without gradients, outside of autocast and on other devices layers are as they were; layers with hooks, or with a
    `forward` of their own instance, are called one by one.

    Raises:
        MachineError: numba is not installed, or torch's threads are of an unknown kind.
    """
    if not has_kernels():
        raise MachineError(
            "--precision bf16-fused needs numba and OpenMP; pip install 'fovea-vision[fast]', or choose bf16-depthwise"
        )
    modules = list(network.modules())
    sequences = [each for each in modules if type(each).forward is nn.Sequential.forward]
    with replaced(filter(is_quick, modules), _alone), replaced(sequences, _in_turn):
        yield


def _in_turn(sequence: nn.Sequential, maps: Any) -> Any:
    done = None
    for layer, after in pairwise([*sequence, None]):
        if layer is done:
            continue
        together = type(after) in LIMITS and _is_ours(layer) and not _hooked(layer) and not _hooked(after)
        made = _normalised(layer, maps, LIMITS[type(after)]) if together else None
        maps, done = (layer(maps), None) if made is None else (made, after)
    return maps


def _alone(layer: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    made = _normalised(layer, maps, NONE)
    return type(layer).forward(layer, maps) if made is None else made


def _is_ours(layer: nn.Module) -> bool:
    forward = layer.__dict__.get("forward")
    return isinstance(forward, MethodType) and forward.__func__ is _alone


def _hooked(layer: nn.Module) -> bool:
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))


def _normalised(layer: nn.Module, maps: Any, limits: Limits) -> Tensor | None:
    """What layer and limits make of the maps; None where that is not ours to do."""
    usual = (
        layer.training
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and maps.device.type == "cpu"
        and maps.dtype is torch.bfloat16
        and maps.dim() == 4
        and maps.numel() > maps.shape[1] == layer.num_features
        and maps.is_contiguous(memory_format=torch.channels_last)
        and layer.weight is not None
        and layer.weight.dtype is torch.float32
        and layer.track_running_stats
        and layer.momentum is not None
        and not torch.compiler.is_compiling()
    )
    if not usual:
        return None
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    running = (layer.running_mean, layer.running_var)
    made: Tensor = QuickNorm.apply(maps, layer.weight, layer.bias, running, (layer.eps, layer.momentum, *limits))
    return made


class QuickNorm(torch.autograd.Function):
    """Batch normalisation of bf16 maps and the limits behind it; moves the running statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        numbers: tuple[float, float, float, float],
    ) -> Tensor:
        """The normalised maps, limited; numbers are eps, momentum, the lower and the upper limit."""
        from fovea.training import norm_kernels as k

        job, told = _Job(maps), torch.tensor(numbers, dtype=torch.float64)
        constants, made = torch.empty(4, job.columns, dtype=torch.float32), torch.empty_like(maps)
        job.tell({k.WEIGHT: weight, k.BIAS: bias, k.MEAN: running[0], k.VARIANCE: running[1], k.MADE: made})
        job.tell({k.CONSTANTS: constants, k.NUMBERS: told, k.PARTS: job.room(3)})
        job.run(k.statistics)
        job.run(k.settle, threads=1)
        job.run(k.normalise)
        ctx.save_for_backward(maps, constants, told)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Gradients of maps, weight and bias."""
        from fovea.training import norm_kernels as k

        maps, constants, told = ctx.saved_tensors
        channels = maps.shape[1]
        job, of_maps, of_layer = _Job(maps), torch.empty_like(maps), torch.empty_like(constants)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        job.tell({k.GRADIENT: gradient, k.CONSTANTS: constants, k.NUMBERS: told, k.PARTS: job.room(2)})
        job.tell({k.SUMS: of_layer, k.MADE: of_maps})
        job.run(k.gradient_sums)
        job.run(k.settle_gradient, threads=1)
        wants_maps, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        if wants_maps:
            job.run(k.gradient)
        of_weight, of_bias = of_layer[k.OF_WEIGHT, :channels], of_layer[k.OF_BIAS, :channels]
        return (
            of_maps if wants_maps else None,
            of_weight.clone() if wants_weight else None,  # a tensor of its own, which may become the gradient
            of_bias.clone() if wants_bias else None,
            None,
            None,
        )


class _Job:
    """What the kernels are told of one layer and batch."""

    def __init__(self, maps: Tensor) -> None:
        from fovea.training import norm_kernels as k

        pixels, channels = maps.numel() // maps.shape[1], maps.shape[1]
        joined = 1  # pixels in a row, a power of two
        while joined * channels < WIDE and pixels % (2 * joined) == 0:
            joined *= 2
        self.columns, rows = joined * channels, pixels // joined
        chunk = max(1, CHUNK // self.columns)
        self._chunks = -(-rows // chunk)
        self._words = (ctypes.c_int64 * k.WORDS)()
        self._words[k.ROWS], self._words[k.COLUMNS], self._words[k.CHANNELS] = rows, self.columns, channels
        self._words[k.CHUNK_ROWS], self._words[k.CHUNKS] = chunk, self._chunks
        self._kept: list[Tensor] = []
        self.tell({k.MAPS: maps})

    def tell(self, tensors: dict[int, Tensor]) -> None:
        """Where tensors lie, by the word for them; they live as long as the job."""
        for word, tensor in tensors.items():
            self._words[word] = tensor.data_ptr()
            self._kept.append(tensor)

    def room(self, count: int) -> Tensor:
        """For so many numbers of each chunk and column."""
        return torch.empty(self._chunks, count, self.columns, dtype=torch.float32)

    def run(self, kernel: Any, threads: int = 0) -> None:
        """A kernel on so many of torch's threads; 0 takes as many as torch does and have something to do."""
        call = _threads()
        assert call is not None
        self._words[0] = 0
        call(kernel.address, self._words, threads or min(torch.get_num_threads(), self._chunks), 0)


@cache
def _threads() -> Callable[..., None] | None:
    """What calls a function on each of some threads of the pool that torch's own operations run on."""
    libraries = [Path(each["filepath"]) for each in threadpool_info() if each["user_api"] == "openmp"]
    own = [each for each in libraries if Path(torch.__file__).parent in each.parents] or libraries
    call = getattr(ctypes.CDLL(str(own[0])), "GOMP_parallel", None) if len(own) == 1 else None
    if call is not None:
        call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return call
