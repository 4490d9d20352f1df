"""Training from end to end: a network and data become a run folder with a bundle that was judged."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

import fovea
from fovea import bundle as bundles
from fovea.bundle import Bundle
from fovea.cost.count import measure, parameters
from fovea.data.fitted import Fitted
from fovea.data.indexed import notes
from fovea.data.opening import open_data
from fovea.data.sets import Data, Split
from fovea.errors import MachineError, ModelError, UsageError
from fovea.evaluation.scores import Scores, score
from fovea.files import BUNDLE_FOLDER
from fovea.runtime.model import Model, network_logits
from fovea.training import checkpoints, folder
from fovea.training.console import Console, plan
from fovea.training.inputs import prepared, training_batches
from fovea.training.loop import Loop
from fovea.training.optimisers import sgd
from fovea.training.options import TrainingOptions
from fovea.training.report import draw
from fovea.training.stopping import stop_on_signals


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
) -> Run:
    """Train a network, judge the best epoch, and leave a run folder.

    The best epoch is the one with the highest validation accuracy, of equals the one with the lowest validation loss.
    The test split is judged once, at the end. With a seed, a network built by `fovea.create(..., seed=)`, and the same
    versions and number of threads, two runs leave equal bundles to the byte.

    Args:
        network: Any module from images to logits.
        data: `Data`, or whatever `fovea.open_data` takes: a name, a folder, (images, labels), a torch Dataset.
        options: The recipe; `TrainingOptions()` where None.
        out: The run folder; runs/<time>_<architecture>_<data> where None.
        resume: Go on with the run in `out`; its result equals that of a run never stopped.
        quiet: Tell no progress.

    Raises:
        UsageError: `out` holds something already; `resume` without `out`.
        MachineError: the device is not there, or the disk is full.
        DataError: data that cannot be learned from.
        ModelError: the network does not fit the data, or the checkpoint not the run.
        NumbersError: the loss became NaN or infinite.
        RunInUse: another process writes the run folder.
        Stopped: a signal came; the run was saved.
    """
    options = options or TrainingOptions()
    if resume:
        _check_resumable(out)
    elif out is not None:
        folder.check_free(Path(out))
    data = open_data(data)
    splits = prepared(network, data, options)
    described = _describe(network, data, splits, options)
    fabric = _fabric(options)
    name = described["network"]["name"].rpartition(":")[2]  # of file.py:Class the class
    batches = training_batches(splits["train"], options, fabric)
    run = Path(fabric.broadcast(str(folder.new_name(name, data.name) if out is None else out)))
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))  # the loop seeds each step; the caller's draws go on
        if fabric.is_global_zero:
            stack.enter_context(folder.locked(run))
            _open_folder(run, described, resume=resume)
        stop = stack.enter_context(stop_on_signals())
        console = stack.enter_context(Console(quiet=quiet or not fabric.is_global_zero))
        for note in notes(data):
            console.say(f"note: {note}")
        console.say(_plan(f"{name} on {data.name}", network, splits))
        loop = Loop(
            fabric=fabric,
            network=network,
            optimiser=sgd(network, options),
            batches=batches,
            validate=lambda: _judge(fabric, network, splits["validation"], data, "validation"),
            options=options,
            run=run,
            console=console,
            stop=stop,
        )
        history = loop.fit(resume=resume).history
        return _finish(fabric, network, data, splits, described, run, history)


def _check_resumable(out: str | Path | None) -> None:
    if out is None:
        raise UsageError("resume=True goes on with the run in out; give out=")
    folder.configuration(Path(out))


def _describe(network: nn.Module, data: Data, splits: Mapping[str, Fitted], options: TrainingOptions) -> dict[str, Any]:
    """What config.json holds: all that decides the run, and where its data lies."""
    architecture = bundles.describe(network)
    return {
        "fovea": fovea.__version__,
        "network": dataclasses.asdict(architecture) if architecture else {"name": type(network).__name__},
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint(),
            "images": {name: len(split) for name, split in splits.items()},
            "classes": list(data.classes),
            "source": data.source,
        },
        "training": dataclasses.asdict(options),
    }


def _fabric(options: TrainingOptions) -> Fabric:
    """One process, or as many as torchrun started."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        fabric = Fabric(
            accelerator=options.device,
            devices=here,
            num_nodes=processes // here,
            strategy="ddp" if processes > 1 else "auto",
            precision=options.precision,
        )
    except (RuntimeError, MisconfigurationException) as error:
        raise MachineError(f"device (={options.device}) is not available here: {error}") from error
    fabric.launch()
    return fabric


def _open_folder(run: Path, described: Mapping[str, Any], *, resume: bool) -> None:
    if not resume:
        folder.create(run, described)
        folder.point_latest(run)
        return
    found = folder.configuration(run)
    for part in ("network", "data", "training"):
        old, new = _meaning(found.get(part, {})), _meaning(dict(described[part]))
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                raise ModelError(f"{run}: cannot go on, {part} {key} was {old.get(key)!r} and is {new.get(key)!r} now")


def _meaning(part: dict[str, Any]) -> dict[str, Any]:
    """What must not change between a run and its resuming: where the data lies and the workers may."""
    as_json: dict[str, Any] = bundles.as_json(part)
    return {key: value for key, value in as_json.items() if key not in ("source", "workers")}


def _plan(title: str, network: nn.Module, splits: Mapping[str, Fitted]) -> str:
    spec = splits["train"].preprocessing
    shapes: dict[str, tuple[int, ...]] = {"image": (spec.in_channels, spec.image_size, spec.image_size)}
    totals = f"{parameters(network):,} parameters"
    try:
        cost = measure(network, in_channels=spec.in_channels, image_size=spec.image_size)
        shapes |= cost.shapes
        totals += f", {cost.multiply_adds:,} multiply-adds per image"
    except ModelError:
        totals += "; the module does not run on the meta device, so its shapes are not known beforehand"
    return plan(title, {name: len(split) for name, split in splits.items()}, shapes, totals)


def _judge(fabric: Fabric, network: nn.Module, fitted: Fitted, data: Data, name: str) -> Scores:
    """Every rank judges its share of the batches; the sum, in which every image stands once, is scored by all."""
    logits = network_logits(network, fitted, fabric.device, rank=fabric.global_rank, ranks=fabric.world_size)
    if fabric.world_size > 1:
        summed = fabric.all_reduce(logits.expand(-1, len(data.classes)).contiguous(), reduce_op="sum")
        assert isinstance(summed, torch.Tensor)
        logits = summed
    return score(logits, fitted.labels, split=name, classes=data.classes)


def _finish(
    fabric: Fabric,
    network: nn.Module,
    data: Data,
    splits: Mapping[str, Fitted],
    described: Mapping[str, Any],
    run: Path,
    history: list[dict[str, Any]],
) -> Run:
    """Judge the best epoch, on test once, and write bundle and pictures."""
    fabric.barrier()
    best = checkpoints.load(run / checkpoints.BEST, network).best
    judged = [name for name in ("validation", "test") if name in splits]
    scores = {name: _judge(fabric, network, splits[name], data, name) for name in judged}
    bundle = Bundle(
        network=network,
        architecture=bundles.describe(network),
        classes=data.classes,
        preprocessing=splits["train"].preprocessing,
        provenance=_provenance(described, best),
        metrics={name: each.summary() for name, each in scores.items()},
    )
    model = Model(bundle, device=fabric.device)
    if fabric.is_global_zero:
        bundle.save(run / BUNDLE_FOLDER)
        shown: Split = data.split(judged[-1])
        draw(run, model, history, scores[judged[-1]], shown, splits[judged[-1]])
    return Run(run, model, history, scores)


def _provenance(described: Mapping[str, Any], best: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the bundle keeps of the run: no time, no duration, no host, no path."""
    modules = {"fovea": fovea, "torch": torch, "numpy": np, "pillow": PIL}
    versions = {name: module.__version__ for name, module in modules.items()}
    kept: dict[str, Any] = bundles.as_json(
        {
            "data": {key: value for key, value in described["data"].items() if key != "source"},
            "training": {key: value for key, value in described["training"].items() if key != "workers"},
            "best_epoch": best["epoch"] if best else None,
            "versions": versions,
        }
    )
    return kept
