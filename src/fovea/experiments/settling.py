"""What arms leave open is chosen once for an experiment, and stands in its folder: pairs differ by their idea alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fovea.data.sets import Data
from fovea.experiments.arms import Arm
from fovea.experiments.locks import alone
from fovea.experiments.sweep import LOCKS
from fovea.files import make_folder, read_json, write_json
from fovea.training.options import TrainingOptions, from_json
from fovea.training.planning import prepare

SETTLED = "settled.json"


def settled(whole: Arm, data: Data, folder: Path) -> TrainingOptions:
    """The options of an arm that lacks nothing, with precision, parts of a batch and epochs chosen.

    They are measured the first time and read ever after, by whatever process. A time budget becomes its epochs, with
    the schedule fitted to them.
    """
    options = whole.options
    if options.execution.precision != "auto" and options.update.accumulate > 0 and options.time_budget == 0:
        return options
    path, name = folder / SETTLED, str(whole.label)
    make_folder(folder / LOCKS)
    with alone(folder / LOCKS / ".settled"):
        known = read_json(path) if path.is_file() else {}
        if name not in known:
            made = prepare(whole.network(options.seed), data, options, run=folder, measure=False)
            known[name] = dataclasses.asdict(made.options.but(time_budget=0.0))
            write_json(path, known)
    return from_json(known[name])


def as_settled(arm: Arm, whole: Arm, found: TrainingOptions) -> Arm:
    """An arm with what was chosen for the one that lacks nothing; what it lacks, it still lacks."""
    if arm.label == whole.label:
        return dataclasses.replace(arm, options=found)
    before, own, after = whole.options.flat(), arm.options.flat(), found.flat()
    changed = {name: after[name] for name in after if after[name] != before[name] and own[name] == before[name]}
    return dataclasses.replace(arm, options=arm.options.but(**changed))
