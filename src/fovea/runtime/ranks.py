"""Several processes that judge one set of images together, started by torchrun."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fovea.errors import MachineError


@contextlib.contextmanager
def joined() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started: this one's place, and how many there are; (0, 1) for one alone.

    They talk over gloo and main memory. All but the first are silent for as long as it takes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    try:
        with contextlib.ExitStack() as stack:
            if rank > 0:
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield rank, ranks
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def summed(parts: Mapping[int, Tensor], batch_size: int, count: int, classes: int) -> Float[Tensor, "n k"]:
    """The logits of all images from the batches that each process has, the same in all of them.

    Args:
        parts: This process's batches by their places.
        batch_size: Images of each batch but the last.
        count: Images in all.
        classes: Columns.

    Raises:
        MachineError: an image that no process judged, or several did.
    """
    found = torch.zeros(count, classes + 1)  # the last column counts how often an image was judged
    for place, logits in parts.items():
        rows = slice(place * batch_size, place * batch_size + len(logits))
        found[rows, :-1] = logits
        found[rows, -1] += 1
    torch.distributed.all_reduce(found)  # each sum has one term that is not zero, so nothing is rounded
    wrong = (found[:, -1] != 1).nonzero()
    if len(wrong):
        raise MachineError(
            f"image {int(wrong[0])} was judged by {int(found[wrong[0], -1])} processes instead of one, as were "
            f"{len(wrong) - 1:,} others; give every process the same data and models"
        )
    return found[:, :-1].contiguous()
