"""How much memory training takes, how much there is, and how large a batch fits."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from fovea.cost.memory import STATE, Optimiser, TrainingMemory, machine_memory, training_memory
from fovea.cost.step import Setting
from fovea.errors import FoveaError, MachineError
from fovea.training.arithmetic import is_reduced
from fovea.training.options import TrainingOptions

SHARE = 0.8  # of what is free that a step may take: allocators keep some of what they have given back
# What torch's own allocator says of it, and the C++ library; and oneDNN, which says no more and may mean other things.
SURE = ("can't allocate memory", "bad_alloc", "bad allocation")
UNSURE = ("could not create a primitive", "could not create a memory")
# Which of the two optimisers that the account knows keeps as much for each weight.
LIKE: dict[str, Optimiser] = {"sgd": "sgd", "muon": "sgd", "rmsprop": "adam", "adam": "adam", "adamw": "adam"}


class Memory(NamedTuple):
    """What a step takes and what there is, in bytes.

    Args:
        step: At the peak of a step of so many images; None where the network does not run without numbers.
        available: What this process may take.
        largest: Images that fit, computed at once; None where it is not known.
    """

    step: int | None
    available: int
    largest: int | None

    def fits(self, images: int) -> bool:
        """Whether so many images are known to fit, computed at once."""
        return self.largest is not None and self.largest >= images


def memory_of(
    network: nn.Module,
    image: tuple[int, int],
    images: int,
    options: TrainingOptions,
    device: torch.device,
    *,
    free: int | None = None,
) -> Memory:
    """The account of a step.

    Args:
        network: What is trained.
        image: Channels and side of its images.
        images: Computed at once.
        options: Precision, optimiser, recomputing, averages.
        device: Where it runs.
        free: Bytes that it may take; what is available now where None.
    """
    found = _account(network, image, images, options)
    free = available(device) if free is None else free  # after the account, which loads what it needs
    if found is None:
        return Memory(None, free, None)
    averages = found.weights if options.averaging.ema > 0 or options.averaging.swa_epochs > 0 else 0
    return Memory(found.peak + averages, free, found.largest_batch(int(SHARE * free) - averages))


def available(device: torch.device) -> int:
    """Bytes that this process may still take on a device; of the machine's memory its share among the ranks here."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by its allocator, for us
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = machine_memory()
    path = Path("/proc/meminfo")
    if path.is_file():
        said = dict(line.split(":") for line in path.read_text().splitlines() if ":" in line)
        free = min(free, int(said["MemAvailable"].split()[0]) * 1024)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and Path("/proc/self/statm").is_file():
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        free = min(free, max(0, limit - taken))
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def copies_of(options: TrainingOptions) -> int:
    """How many copies of the weights the optimiser keeps."""
    return STATE[LIKE[options.update.optimiser]][0]


def parts_that_fit(images: int, largest: int) -> int | None:
    """The fewest equal parts of a batch of which each fits; None where not even one image does."""
    return next((parts for parts in range(1, images + 1) if images % parts == 0 and images // parts <= largest), None)


@contextmanager
def explained_memory(found: Memory, images: int, device: torch.device) -> Iterator[None]:
    """Say, where memory runs out, how large a batch fits.

    Args:
        found: The account, made beforehand: where memory has run out, the step that failed still holds it.
        images: Computed at once.
        device: Where it runs.

    Raises:
        MachineError: it ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, FoveaError) or not _is_about_memory(error):
            raise
        if found.fits(images) and any(said in str(error) for said in UNSURE):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise MachineError(f"out of memory in a step of {images:,} images{_advice(found, images)}") from error


def check_memory(found: Memory, images: int) -> None:
    """Refuse before the first step what cannot fit.

    Raises:
        MachineError: a step takes more than there is.
    """
    if found.step is not None and found.step > found.available:
        raise MachineError(f"a step of {images:,} images does not fit into memory{_advice(found, images)}")


def _advice(found: Memory, images: int) -> str:
    if found.step is None or found.largest is None:
        return "; try --batch-size auto with fewer images at once: --accumulate 2, 4, …"
    needs = f": it takes {found.step / 1e9:.2f} GB, {found.available / 1e9:.2f} GB are free"
    fit = found.largest if found.largest < images else images // 2  # it ran out although it should have fitted
    if fit < 1:
        return f"{needs}, and not even one image fits; choose a smaller network or --image-size"
    whole = fit * int(os.environ.get("WORLD_SIZE", "1"))
    return f"{needs}; {fit:,} fit: choose -b {whole}, or --batch-size auto to compute it in parts"


def _account(
    network: nn.Module, image: tuple[int, int], images: int, options: TrainingOptions
) -> TrainingMemory | None:
    setting = Setting(
        in_channels=image[0],
        image_size=image[1],
        batch_size=images,
        precision="bf16" if is_reduced(options.execution.precision) else "float32",
        channels_last=True,
        checkpointing=options.execution.recompute,
    )
    try:
        return training_memory(network, setting, (LIKE[options.update.optimiser],))[0]
    except FoveaError:
        return None


def _is_about_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(said in str(error) for said in SURE + UNSURE)
