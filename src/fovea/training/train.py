"""Training from end to end: a network and data become a run folder with a bundle that was judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import nn

import fovea
from fovea import bundle as bundles
from fovea.bundle import Bundle
from fovea.data.indexed import notes
from fovea.data.opening import open_data
from fovea.data.sets import Split
from fovea.errors import UsageError
from fovea.evaluation.scores import Scores
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER
from fovea.runtime.model import Model
from fovea.training import checkpoints, folder, optimisers
from fovea.training.arithmetic import arranged
from fovea.training.averaging import WeightAverage, average_of
from fovea.training.checkpoints import Progress, State
from fovea.training.console import Console
from fovea.training.forward import Forward, check_compiler
from fovea.training.judging import judge, validation
from fovea.training.loop import Loop, Step
from fovea.training.memory import explained_memory
from fovea.training.options import TrainingOptions
from fovea.training.planning import Prepared, name_of, prepare
from fovea.training.recomputing import recomputing
from fovea.training.report import draw
from fovea.training.shared_norm import shared_statistics
from fovea.training.stages import Stagewise
from fovea.training.stopping import stop_on_signals
from fovea.training.towers.apart import TowersApart
from fovea.training.towers.running import state_apart
from fovea.training.watching.layers import LayerWatch
from fovea.training.watching.together import Watching
from fovea.training.watching.watcher import Watcher
from fovea.training.whitening import whiten


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: Where everything lies.
        model: The best epoch's network, ready to predict.
        history: One row per epoch.
        scores: What the best network reached, by split; "test" only where there is a test split.
    """

    folder: Path
    model: Model
    history: list[dict[str, Any]]
    scores: dict[str, Scores]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.scores.values()), f"run folder: {self.folder}"])


def train(
    network: nn.Module,
    data: Any,
    options: TrainingOptions | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    watcher: Watcher | None = None,
) -> Run:
    """Train a network, judge the best epoch, and leave a run folder.

    The best epoch is the one with the highest validation accuracy, of equals the one with the lowest validation loss.
    The test split is judged once, at the end. With a seed, a network built by `fovea.create(..., seed=)`, and the same
    versions, number of threads and precision, two runs leave equal bundles to the byte.

    Args:
        network: Any module from images to logits.
        data: `Data`, or whatever `fovea.open_data` takes: a name, a folder, (images, labels), a torch Dataset.
        options: The recipe; `TrainingOptions()` where None.
        out: The run folder; runs/<time>_<architecture>_<data> where None.
        resume: Go on with the run in `out`; its result equals that of a run never stopped.
        quiet: Tell no progress.
        watcher: Called after each epoch with all rows so far.

    Raises:
        UsageError: `out` holds something already; `resume` without `out`.
        MachineError: the device is not there, memory does not suffice, or the disk is full.
        DataError: data that cannot be learned from.
        ModelError: the network does not fit the data, or the checkpoint not the run.
        NumbersError: a number became NaN or infinite.
        RunInUse: another process writes the run folder.
        Stopped: a signal came; the run was saved.
    """
    found = None
    if resume:
        found = _resumable(out)
    elif out is not None:
        folder.check_free(Path(out))
    data = open_data(data)
    run = folder.new_name(name_of(network), data.name) if out is None else Path(out)
    with torch.random.fork_rng(devices=[]):  # the loop seeds each step; the caller's draws go on
        made = prepare(network, data, options or TrainingOptions(), run=run, found=found, measure=not quiet)
        run = Path(made.fabric.broadcast(str(run)))
        with made.ranks.parting():
            return _run(made, run, quiet=quiet, resume=resume, watcher=watcher)


def _run(made: Prepared, run: Path, *, quiet: bool, resume: bool, watcher: Watcher | None) -> Run:
    """Everything from the lock to the pictures; what was changed in the network is undone at the end."""
    ranks, told = made.ranks, made.options
    watching = Watching(run, writes=ranks.writes, tensorboard=told.keeping.tensorboard, more=watcher)
    finished = resume and (run / BUNDLE_FOLDER / BUNDLE_FILE).is_file()
    with ExitStack() as stack:
        changes: list[str] = []
        if ranks.writes:
            stack.enter_context(folder.locked(run))
            changes = folder.open_run(run, describe(made), resume=resume)
        made.fabric.barrier()
        stop = stack.enter_context(stop_on_signals())
        console = stack.enter_context(Console(quiet=quiet or not ranks.writes))
        for note in notes(made.data):
            console.say(f"note: {note}")
        console.say(str(made.plan))

        _adapt(made, stack)
        stages = Stagewise(made.network, told.stages, shared=ranks.count > 1)
        if told.stages.whiten and not (resume and (run / checkpoints.LAST).exists()):  # else it lies in the checkpoint
            whiten(made.network, made.splits["train"])
        stack.enter_context(stages.restored())
        state, step, plain = _step(made, stages)
        if told.keeping.watch and ranks.writes:
            step.layers = LayerWatch(made.network, run, len(made.batches))
        shown: Sequence[Watcher] = ()
        if not finished:  # what is finished stays as it is
            running = watching.running(made.plan.title, told.epochs, str(made.plan), step.layers)
            shown = stack.enter_context(running)
        loop = Loop(
            step=step,
            plain=plain,
            stages=stages,
            state=state,
            batches=made.batches,
            validate=validation(made, state),
            options=told,
            run=run,
            console=console,
            stop=stop,
            watchers=shown,
            changes=changes,
        )
        progress = loop.fit(resume=resume)
        done = _finish(made, run, state.average, progress)
        watching.finish("\n".join(map(str, done.scores.values())))
    return done


def _adapt(made: Prepared, stack: ExitStack) -> None:
    """Let the network train as the options want it, until the stack is unwound."""
    network, told = made.network, made.options
    stack.enter_context(arranged(network, told.execution.precision))
    if told.execution.recompute:
        stack.enter_context(recomputing(network))
    if told.execution.sync_batch_norm and made.ranks.count > 1:
        stack.enter_context(shared_statistics(network))
    images = made.batches.batch_size // made.ranks.count // told.update.accumulate
    stack.enter_context(made.ranks.explained())
    stack.enter_context(explained_memory(made.plan.memory, images, made.fabric.device))


def _step(made: Prepared, stages: Stagewise) -> tuple[State, Step, Forward]:
    """What is saved, what one update does, and the network as it trains in this process alone.

    Saved is always the whole network; where its towers lie apart, it is their halves that train.
    """
    network, told, fabric = made.network, made.options, made.fabric
    stages.begin_widest(told.epochs)  # the optimiser takes what will ever learn
    halves: TowersApart | None = None
    state: State
    if told.execution.towers_apart:
        state = apart = state_apart(network, told, fabric.device, fabric.world_size)
        halves, optimiser, average = apart.halves, apart.own_optimiser, apart.own_average
    else:
        optimiser = optimisers.build(network, told.update, stages.scales(), stages.head())
        average = average_of(network, told.averaging, told.epochs)
        state = State(network, optimiser, average)
    if told.execution.compile:
        check_compiler(fabric.device)
    plain = Forward(halves or network, told.execution.precision, fabric.device)
    forward: Any = torch.compile(plain, mode=_mode(fabric.device)) if told.execution.compile else plain
    if made.ranks.count > 1 and halves is None:  # Fabric's wrapper is what shares gradients, and costs a tenth of a ms
        forward = fabric.setup_module(forward)
    step = Step(
        fabric=fabric,
        ranks=made.ranks,
        forward=forward,
        loss=made.loss,
        optimiser=optimiser,
        options=told,
        average=average,
        towers=halves,
    )
    return state, step, plain


def _resumable(out: str | Path | None) -> dict[str, Any]:
    if out is None:
        raise UsageError("resume=True goes on with the run in out; give out=")
    return folder.configuration(Path(out))


def describe(made: Prepared) -> dict[str, Any]:
    """What config.json holds: all that decides the run, and where its data lies."""
    architecture, data = bundles.describe(made.network), made.data
    asked, settled = made.asked.flat(), made.options.flat()
    return {
        "fovea": fovea.__version__,
        "network": dataclasses.asdict(architecture) if architecture else {"name": type(made.network).__name__},
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint(),
            "images": {name: len(split) for name, split in made.splits.items()},
            "classes": list(data.classes),
            "source": data.source,
        },
        "training": dataclasses.asdict(made.options),
        "chosen": {name: asked[name] for name in asked if asked[name] != settled[name]},
        "teacher": made.teacher.fingerprint if made.teacher else None,
        "weights": made.origin,
        "machine": {
            "device": made.fabric.device.type,
            "ranks": made.fabric.world_size,
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
        },
    }


def _mode(device: torch.device) -> str:
    return "reduce-overhead" if device.type == "cuda" else "default"  # the former is CUDA graphs


def _finish(made: Prepared, run: Path, average: WeightAverage | None, progress: Progress) -> Run:
    """Judge the best epoch, on test once, and write bundle and pictures."""
    made.fabric.barrier()
    best = checkpoints.load(run / checkpoints.BEST, State(made.network, average=average)).best
    if average is not None:
        average.adopt()
    judged: list[str] = [name for name in ("validation", "test") if name in made.splits]
    scores: dict[str, Scores] = {name: judge(made, made.splits[name], name) for name in judged}
    bundle = Bundle(
        network=made.network,
        architecture=bundles.describe(made.network),
        classes=made.data.classes,
        preprocessing=made.splits["train"].preprocessing,
        provenance=_provenance(made, best, progress.changes),
        metrics={name: each.summary() for name, each in scores.items()},
    )
    model = Model(bundle, device=made.fabric.device)
    if made.fabric.is_global_zero:
        bundle.save(run / BUNDLE_FOLDER)
        if made.options.keeping.pictures:
            shown: Split = made.data.split(judged[-1])
            draw(run, model, progress.history, scores[judged[-1]], shown, made.splits[judged[-1]])
    return Run(run, model, progress.history, scores)


def _provenance(made: Prepared, best: Mapping[str, Any] | None, changes: list[str]) -> dict[str, Any]:
    """What the bundle keeps of the run: no time, no duration, no host, no path."""
    modules = {"fovea": fovea, "torch": torch, "numpy": np, "pillow": PIL}
    versions = {name: module.__version__ for name, module in modules.items()}
    described = describe(made)
    kept: dict[str, Any] = bundles.as_json(
        {
            "data": {key: value for key, value in described["data"].items() if key != "source"},
            "training": made.options.meaning(),
            "teacher": described["teacher"],
            "weights": {k: v for k, v in (described["weights"] or {}).items() if k != "source"} or None,
            "best_epoch": best["epoch"] if best else None,
            "versions": versions,
            "changes": changes,
        }
    )
    return kept
