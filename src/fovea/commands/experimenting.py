"""What the experiments' verbs share: the options of all of them, and several processes at one sweep."""

from __future__ import annotations

import contextlib
import json
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
    from fovea.experiments.ablation import Ablation
    from fovea.experiments.arms import Arm
    from fovea.experiments.comparison import Comparison
    from fovea.experiments.records import Records

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


def swept(asked: Experiment, command: Sequence[str], arms: Sequence[Arm], data: Data, plan: dict[str, Any]) -> Records:
    """What the arms reached, trained by this process and those that help it.

    Args:
        asked: How many seeds and processes; its folder is named by now.
        command: The verb, and what it was told: what helpers are started with.
        arms: What is trained.
        data: What all learn.
        plan: See `plan_of`.
    """
    from fovea.experiments.trials import run_arms

    assert asked.out is not None
    settings: dict[str, Any] = {"seeds": seeds_of(asked), "out": asked.out, "plan": plan, "tell": tell}
    if helping() or asked.processes == 1:
        return run_arms(arms, data, **settings)
    with _helped(command, asked.processes, asked.out):
        run_arms(arms, data, **settings)
    return run_arms(arms, data, **settings)  # what the helpers have done, and what one of them may have left


def print_results(result: Ablation | Comparison, folder: Path, *, title: str, as_json: bool) -> int:
    """Print a table or an object, and draw the pictures beside the results."""
    pictures = result.draw(folder, title=title)
    print(json.dumps(result.as_json()) if as_json else result)
    tell(f"results: {folder}; pictures: {', '.join(path.name for path in pictures)}")
    return 0


@contextmanager
def _helped(command: Sequence[str], processes: int, out: Path) -> Iterator[None]:
    """So many processes at the sweep in all; every one, this too, with its share of the cores as threads.

    At the end the helpers are waited for; where this process stops or fails, they are told to save and stop.
    """
    import torch

    threads = max(1, (os.cpu_count() or 1) // processes)
    torch.set_num_threads(threads)
    environment = os.environ | {WORKER: str(os.getpid()), "OMP_NUM_THREADS": str(threads)}
    told = [sys.executable, "-m", "fovea", *_without(command, ("--processes", "--out", "-o")), "--out", str(out)]
    before = signal.signal(signal.SIGTERM, _ended)
    helpers = [subprocess.Popen(told, env=environment, stdout=subprocess.DEVNULL) for _ in range(processes - 1)]
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
        signal.signal(signal.SIGTERM, before)


def _ended(number: int, _: Any) -> None:
    """Where no training listens, a signal ends this process by way of its helpers, who save."""
    raise SystemExit(128 + number)


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
