"""The same run with several seeds: what of a result is the method, and what is luck."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fovea.bundle import load
from fovea.data.sets import Data
from fovea.errors import Stopped, UsageError
from fovea.evaluation.seeds import over_seeds
from fovea.files import (
    BUNDLE_FILE,
    BUNDLE_FOLDER,
    RUN_FILE,
    SEEDS_FILE,
    SEEDS_SUMMARY,
    make_folder,
    read_json,
    write_json,
)
from fovea.training import folder
from fovea.training.options import TrainingOptions, from_json
from fovea.training.stopping import stop_on_signals
from fovea.training.train import train


@dataclass(frozen=True, kw_only=True)
class SeedRuns:
    """What several seeds reached.

    Args:
        folder: Where their runs lie, seed_<n> each.
        seeds: The seeds.
        top1: Top-1 accuracy by split, seed by seed.
    """

    folder: Path
    seeds: tuple[int, ...]
    top1: dict[str, tuple[float, ...]]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        scores = {split: list(values) for split, values in self.top1.items()}
        return {"run": str(self.folder), "seeds": list(self.seeds), "scores": scores}

    def __str__(self) -> str:
        lines = [f"{split}: top-1 {over_seeds(values)}" for split, values in self.top1.items()]
        return "\n".join([*lines, f"run folder: {self.folder}"])


def train_seeds(
    network: Callable[[int], nn.Module],
    data: Data,
    options: TrainingOptions,
    *,
    seeds: int,
    out: Path | None = None,
    resume: bool = False,
) -> SeedRuns:
    """Train once with each seed, one after another, from the options' seed on.

    The data's split does not depend on these seeds, so all runs are judged on the same images.

    Args:
        network: Builds the network of a seed.
        data: What they learn.
        options: The recipe; its seed is the first.
        seeds: How many.
        out: Where the runs lie; runs/<time>_<data>_seeds where None.
        resume: Go on in `out`: finished runs are kept, the one that was stopped goes on, the others follow.

    Raises:
        UsageError: `out` holds something already, or fewer than two seeds.
        Stopped: a signal came; what was done is saved.
    """
    if seeds < 2:
        raise UsageError(f"seeds (={seeds}) must be 2 or more, for a spread")
    place = folder.new_name(f"{seeds}_seeds", data.name) if out is None else out
    if not resume:
        folder.check_free(place)
    chosen = tuple(range(options.seed, options.seed + seeds))
    make_folder(place)
    write_json(place / SEEDS_FILE, {"seeds": list(chosen)})
    top1: dict[str, list[float]] = {}
    for seed in chosen:
        with stop_on_signals() as stop:
            reached = _reached(network, data, dataclasses.replace(options, seed=seed), place)
        for split, value in reached.items():
            top1.setdefault(split, []).append(value)
        if stop.signal_number is not None and seed != chosen[-1]:  # it came when this seed was being finished
            raise Stopped(f"stopped after seed {seed}; go on with: fovea train --resume {place}", stop.signal_number)
        told = read_json(place / f"seed_{seed}" / RUN_FILE)["training"]
        options = from_json(told)  # what the first has chosen by trying, the others do not choose again
    found = SeedRuns(folder=place, seeds=chosen, top1={split: tuple(values) for split, values in top1.items()})
    write_json(place / SEEDS_SUMMARY, {"seeds": list(chosen), "scores": found.as_json()["scores"]})
    return found


def _reached(
    network: Callable[[int], nn.Module], data: Data, options: TrainingOptions, place: Path
) -> dict[str, float]:
    """Top-1 accuracy by split of one seed: of its finished run, or after what is left of it."""
    run = place / f"seed_{options.seed}"
    if (run / BUNDLE_FOLDER / BUNDLE_FILE).is_file():
        metrics = load(run / BUNDLE_FOLDER, network=network(options.seed)).metrics
        return {split: scores["top1"] for split, scores in metrics.items()}
    try:
        done = train(network(options.seed), data, options, out=run, resume=(run / RUN_FILE).is_file())
    except Stopped as error:
        raise Stopped(
            f"stopped and saved with seed {options.seed}; go on with: fovea train --resume {place}",
            error.exit_code - 128,
        ) from error
    return {split: scores.top1 for split, scores in done.scores.items()}
