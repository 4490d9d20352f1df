"""Running the arms of an experiment, seed by seed, and what came out as rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fovea.bundle import describe
from fovea.cost.count import measure, parameters
from fovea.data.sets import Data
from fovea.errors import ModelError, UsageError
from fovea.experiments.arms import Arm
from fovea.experiments.ideas.change import Shape
from fovea.experiments.records import Epoch, Layer, Records, Row
from fovea.experiments.settling import as_settled, settled
from fovea.experiments.sweep import Outcome, Sweep
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER, RUN_FILE, read_json
from fovea.training.folder import HISTORY
from fovea.training.memory import memory_of
from fovea.training.options import from_json
from fovea.training.train import train
from fovea.training.watching.layers import read_layers

Told = Callable[[str], None]


def run_arms(
    arms: Sequence[Arm],
    data: Data,
    *,
    seeds: Sequence[int],
    out: Path,
    plan: dict[str, Any],
    tell: Told = lambda _: None,
) -> Records:
    """Train every arm with every seed, whatever of it is not done yet; seeds outermost, so that pairs come together.

    Args:
        arms: What is compared.
        data: What all learn.
        seeds: Of weights, order, augmentation and dropout.
        out: The experiment's folder; processes that are given the same share the work.
        plan: What decides the result, as plain values.
        tell: Hears a line for each finished trial.

    Raises:
        UsageError: `out` holds another experiment.
        Stopped: a signal came; the same call goes on.
    """
    names = [arm.label.folder(seed) for seed in seeds for arm in arms]
    if len(set(names)) < len(names):
        raise UsageError("two arms of this experiment have the same name; leave one of them out")
    sweep = Sweep(out, plan, names)
    arms = _settled(arms, data, out)
    work = {arm.label.folder(seed): (arm, seed) for seed in seeds for arm in arms}

    def do(name: str, folder: Path) -> Outcome:
        arm, seed = work[name]
        tell(f"{name} begins")
        return trial(arm, data, seed, folder)

    def told(name: str, outcome: Outcome) -> None:
        left = len(sweep.done().elsewhere)
        reached = outcome.get("diverged") or f"test {outcome['value']:.2%}" if "value" in outcome else "diverged"
        tell(f"{name}: {reached}; {left} of {len(work)} trials left")

    done = sweep.run(do, told=told)
    if done.elsewhere:
        tell(f"{len(done.elsewhere)} of {len(work)} trials are with other processes; what follows is of the others")
    made = [(*work[name], outcome) for name, outcome in done.outcomes.items()]
    found = Records(
        plan=plan,
        rows=[_row(*each) for each in made],
        epochs=[epoch for each in made for epoch in _epochs(*each)],
        layers=[layer for each in made for layer in _layers(*each)],
    )
    return Records().joined(found)  # arm by arm, as tables are read


def _settled(arms: Sequence[Arm], data: Data, out: Path) -> list[Arm]:
    wholes = {arm.label: arm for arm in arms if not arm.label.without}
    found = {label: settled(whole, data, out) for label, whole in wholes.items()}
    bases = [arm.label._replace(without="") for arm in arms]
    return [as_settled(arm, wholes[base], found[base]) for arm, base in zip(arms, bases, strict=True)]


def trial(arm: Arm, data: Data, seed: int, folder: Path) -> Outcome:
    """One arm with one seed, from where an earlier process has left it; plain values.

    Raises:
        NumbersError: a number became NaN or infinite.
        Stopped: a signal came; it was saved.
    """
    network = arm.network(seed)
    shape = image_shape(network, data)
    try:
        cost = measure(network, in_channels=shape[0], image_size=shape[1]).multiply_adds
    except ModelError:
        cost = None
    counted = parameters(network)
    options = arm.options.but(seed=seed, pictures=False)  # of many runs nobody looks at each one's
    if not (folder / BUNDLE_FOLDER / BUNDLE_FILE).is_file():
        train(network, data, options, out=folder, resume=(folder / RUN_FILE).is_file(), quiet=True)
    bundle, told = read_json(folder / BUNDLE_FOLDER / BUNDLE_FILE), read_json(folder / RUN_FILE)
    settled = from_json(told["training"])
    memory = memory_of(
        network, shape[:2], settled.batch_size // settled.update.accumulate, settled, torch.device("cpu")
    )
    metrics = {split: scores["top1"] for split, scores in bundle["metrics"].items()}
    return {
        "value": metrics.get("test", metrics["validation"]),
        "metrics": metrics,
        "parameters": counted,
        "multiply_adds": cost,
        "memory": memory.step,
        "history": _history(folder / HISTORY),
        "layers": _ends(read_layers(folder)),
        "best_epoch": bundle["provenance"]["best_epoch"],
        "precision": settled.execution.precision,
        "machine": told["machine"],
    }


def image_shape(network: nn.Module, data: Data) -> Shape:
    """Channels, height and width of the images that a network gets of the data."""
    architecture = describe(network)
    side = architecture.image_size if architecture else data.image_size
    if side is None:
        raise ModelError(f"{type(network).__name__}: its image size is unknown; give square images of one size")
    channels: int = getattr(network, "in_channels", data.channels)
    return channels, side, side


def _history(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _ends(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers after the first and the last epoch."""
    epochs = [row["epoch"] for row in layers]
    return [row for row in layers if row["epoch"] in (min(epochs), max(epochs))]


def _row(arm: Arm, seed: int, outcome: Outcome) -> Row:
    history = outcome.get("history") or [{}]
    metrics, machine = outcome.get("metrics", {}), outcome.get("machine", {})
    return Row(
        *arm.label,
        seed,
        diverged=outcome.get("diverged", ""),
        train_accuracy=history[-1].get("accuracy"),
        train_loss=history[-1].get("loss"),
        validation=metrics.get("validation"),
        test=metrics.get("test"),
        epochs=int(history[-1].get("epoch", 0)),
        best_epoch=outcome.get("best_epoch"),
        parameters=outcome.get("parameters", 0),
        multiply_adds=outcome.get("multiply_adds"),
        memory=outcome.get("memory"),
        seconds=sum(row["seconds"] for row in history) if history[-1] else None,
        precision=outcome.get("precision", ""),
        threads=machine.get("threads"),
        torch=machine.get("torch", ""),
    )


def _epochs(arm: Arm, seed: int, outcome: Outcome) -> list[Epoch]:
    wanted = Epoch._fields[5:]
    return [
        Epoch(*arm.label, seed, int(row["epoch"]), **{name: row[name] for name in wanted})
        for row in outcome.get("history", [])
    ]


def _layers(arm: Arm, seed: int, outcome: Outcome) -> list[Layer]:
    return [Layer(*arm.label, seed, **row) for row in outcome.get("layers", [])]
