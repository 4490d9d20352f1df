"""A job: what a kernel is told, and the threads that run it. Nothing here needs numba, but what is run does."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info
from torch import Tensor


@cache
def has_kernels() -> bool:
    """Whether numba is installed and goes with the other packages, and torch's threads can be called."""
    try:
        import fovea.training.kernels.norm  # noqa: F401  # numba itself refuses a NumPy that it does not know
    except ImportError:
        return False
    return _threads() is not None


def is_walkable(maps: Tensor) -> bool:
    """Whether kernels can walk through maps of a network that trains: on a CPU, of a kind, pixel after pixel."""
    return (
        maps.device.type == "cpu"
        and maps.dtype in (torch.bfloat16, torch.float32)
        and maps.dim() == 4
        and maps.is_contiguous(memory_format=torch.channels_last)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


class Job:
    """The words that kernels read: numbers, and where tensors lie.

    Args:
        words: How many there are; the first is the next piece of work.
        pieces: Of work, at most as many threads have something to do.
        kind: Of its maps, bfloat16 or float32.
        numbers: By the word for them.
    """

    def __init__(self, words: int, pieces: int, kind: torch.dtype, numbers: Mapping[int, int]) -> None:
        self._words, self._pieces, self._kind = (ctypes.c_int64 * words)(), pieces, kind
        for word, value in numbers.items():
            self._words[word] = value
        self._kept: list[Tensor] = []

    def tell(self, tensors: Mapping[int, Tensor]) -> None:
        """Where tensors lie, by the word for them; they live as long as the job."""
        for word, tensor in tensors.items():
            self._words[word] = tensor.data_ptr()
            self._kept.append(tensor)

    def run(self, kernel: Any, threads: int = 0) -> None:
        """A kernel on so many of torch's threads; 0 takes as many as torch does and have something to do.

        The first time for a kind of maps takes a third of a second: numba compiles.
        """
        call = _threads()
        assert call is not None
        self._words[0] = 0
        call(kernel.address(self._kind), self._words, threads or min(torch.get_num_threads(), self._pieces), 0)


@cache
def _threads() -> Callable[..., None] | None:
    """What calls a function on each of some threads of the pool that torch's own operations run on."""
    libraries = [Path(each["filepath"]) for each in threadpool_info() if each["user_api"] == "openmp"]
    own = [each for each in libraries if Path(torch.__file__).parent in each.parents] or libraries
    call = getattr(ctypes.CDLL(str(own[0])), "GOMP_parallel", None) if len(own) == 1 else None
    if call is not None:
        call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return call
