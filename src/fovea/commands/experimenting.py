"""What the experiments' verbs share: the options of all of them, and several processes at one sweep."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.data.options import DataOptions
from fovea.errors import UsageError, require
from fovea.training.options import TrainingOptions

if TYPE_CHECKING:
    from fovea.data.sets import Data

WORKER = "FOVEA_SWEEP_WORKER"  # set where a process only helps another one's sweep
GRACE = 120.0  # seconds that helpers have to save
KEPT = ("save_minutes", "save_steps", "watch")  # what is kept on the way, and makes sense for one run of many


@dataclass(frozen=True)
class Experiment:
    """What every experiment is told."""

    recipe: str | None = None
    """Where the options start, as for 'fovea train': a name that 'fovea recipes' lists, paper, modern or quick."""
    augment: str | None = None
    """Start the augmentation from a preset named by its paper: alexnet, vgg, inception, cifar, randaugment, …"""
    across: str = ""
    """Everything once for each value of an option: lr=0.01,0.1,1."""
    seeds: int = 3
    """How many seeds, from --seed on; two or more give intervals. More can be added later, in the same --out."""
    processes: int = 1
    """Processes that share the trials, each with its share of the cores; more can be started by hand, on the same
    --out."""
    out: Path | None = None
    """The experiment's folder, gone on with where it was stopped; runs/<time>_<what> where none is named."""
    results: Path | None = None
    """Where tables and pictures go, and are added to what is there; OUT/results where none is named."""
    show: Path | None = None
    """Train nothing: print and draw what a folder of results holds."""
    image_size: int | None = None
    """Side of the networks' images in pixels; each one's own where none is given."""
    json: bool = False
    """The result as an object for machines."""
    source: DataOptions = field(default_factory=DataOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)


def check(asked: Experiment) -> None:
    """Refuse what no experiment can do, before torch is loaded.

    Raises:
        UsageError: with the value and the rule.
    """
    require("seeds", asked.seeds, asked.seeds >= 1, "1 or more")
    require("processes", asked.processes, asked.processes >= 1, "1 or more")
    keeping = asked.training.keeping
    for name in vars(keeping):
        if name not in KEPT and getattr(keeping, name) != getattr(type(keeping)(), name):
            raise UsageError(f"--{name.replace('_', '-')} is for one run, and an experiment has many; leave it out")
    if asked.training.execution.towers_apart:
        raise UsageError("--towers-apart is for one run on several devices; leave it out of an experiment")
    if asked.training.objective.teacher:
        raise UsageError("--teacher is for one network; leave it out of an experiment")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("torchrun trains one run on several ranks; an experiment takes --processes, one trial each")


def seeds_of(asked: Experiment) -> tuple[int, ...]:
    """The seeds, from the recipe's own on."""
    return tuple(range(asked.training.seed, asked.training.seed + asked.seeds))


def plan_of(kind: str, data: Data, **more: Any) -> dict[str, Any]:
    """What every run of an experiment shares, and what a folder that holds another is refused by."""
    return {"kind": kind, "data": {"name": data.name, "fingerprint": data.fingerprint()}} | more


def tell(line: str) -> None:
    """A line for whoever watches."""
    print(line, file=sys.stderr, flush=True)


def helping() -> bool:
    """Whether this process only helps another one's sweep."""
    return WORKER in os.environ


@contextmanager
def helped(verb: str, arguments: Sequence[str], processes: int, out: Path) -> Iterator[None]:
    """So many processes at the sweep in all; every one, this too, with its share of the cores as threads.

    At the end the helpers are waited for; where this process stops or fails, they are told to save and stop.

    Args:
        verb: The command.
        arguments: What it was told.
        processes: How many in all.
        out: The experiment's folder.
    """
    if helping() or processes == 1:
        yield
        return
    import torch

    threads = max(1, (os.cpu_count() or 1) // processes)
    torch.set_num_threads(threads)
    environment = os.environ | {WORKER: str(os.getpid()), "OMP_NUM_THREADS": str(threads)}
    command = [
        sys.executable,
        "-m",
        "fovea",
        verb,
        *_without(arguments, ("--processes", "--out", "-o")),
        "--out",
        str(out),
    ]
    helpers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(processes - 1)]
    try:
        yield
        for helper in helpers:
            helper.wait()
    finally:
        for helper in helpers:
            if helper.poll() is None:
                helper.send_signal(signal.SIGTERM)
        for helper in helpers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(GRACE)


def _without(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """The arguments without these options and their values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in names:
            skip = True
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    return kept
