"""What several processes of one run tell each other, beside gradients: wishes and sums."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from fovea.errors import FoveaError, MachineError

LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")  # what torch says of it


class Ranks:
    """The processes of a run; with one alone nothing is sent.

    Messages go over gloo and main memory whatever the gradients use, so that no accelerator is waited for.

    Args:
        fabric: Launched.
        together: All processes see the same images and hold parts of one network: they count as one share of the data.

    Attributes:
        rank, count: This process's share of the data, and how many there are.
        writes: Whether it is this process that writes the run folder.
        place: Of this process among all, counted from 0.
    """

    def __init__(self, fabric: Fabric, *, together: bool = False) -> None:
        self.rank, self.count = (0, 1) if together else (fabric.global_rank, fabric.world_size)
        self.writes, self.place = bool(fabric.is_global_zero), int(fabric.global_rank)
        self._group: Any = torch.distributed.new_group(backend="gloo") if fabric.world_size > 1 else None

    def agreed(self, *wishes: bool) -> list[bool]:
        """For each wish, whether any process has it; the same answer in all of them."""
        if self._group is None:
            return list(wishes)
        told = torch.tensor(wishes, dtype=torch.uint8)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX, group=self._group)
        return [bool(each) for each in told]

    def gathered(self, sums: Tensor) -> list[list[float]]:
        """The numbers of every share of the data, in their order."""
        own = sums.cpu()
        if self.count == 1:
            return [own.tolist()]
        parts = [torch.empty_like(own) for _ in range(self.count)]
        torch.distributed.all_gather(parts, own, group=self._group)
        return [part.tolist() for part in parts]

    @contextmanager
    def parting(self) -> Iterator[None]:
        """After a run that went well, leave the groups before Python ends.

        gloo's threads may still hold tensors when the interpreter goes, and then abort the process (SIGABRT) although
        all is done. After a run that failed no group is left: that would wait for messages which nobody sends any more.
        """
        atexit.unregister(_leave)
        yield
        if self._group is not None:
            atexit.register(_leave)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say that another process of the run is gone, where only a connection is said to be.

        Raises:
            MachineError: it is.
        """
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, FoveaError) or not any(said in str(error) for said in LOST):
                raise
            raise MachineError(
                f"another process of the run has ended: process {self.place} lost its connection; what was saved is "
                "kept: go on with --resume"
            ) from error


def _leave() -> None:
    if torch.distributed.is_initialized():  # the caller may have left already
        torch.distributed.destroy_process_group()
