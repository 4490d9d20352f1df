"""What experiments leave: a few small CSV files that are the truth of every table and plot, and to which runs add.

experiment.json  what was asked: networks, data, options
runs.csv         a line for each run: what it reached and what it cost
curves.csv       a line for each of its epochs
layers.csv       a line for each layer after the first and the last epoch, where runs were watched (--watch)
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from fovea.errors import ModelError
from fovea.experiments.arms import Label
from fovea.experiments.sweep import joined_plan
from fovea.files import EXPERIMENT_FILE, make_folder, read_json, write_durably, write_json

RUNS, CURVES, LAYERS = "runs.csv", "curves.csv", "layers.csv"


class Row(NamedTuple):
    """A run. Accuracies lie in [0, 1]; what a run that diverged has not reached is None.

    `memory` is what a step is foreseen to take, in bytes; `seconds` is what all epochs took.
    """

    network: str
    without: str
    setting: str
    seed: int
    diverged: str
    train_accuracy: float | None
    train_loss: float | None
    validation: float | None
    test: float | None
    epochs: int
    best_epoch: int | None
    parameters: int
    multiply_adds: int | None
    memory: int | None
    seconds: float | None
    precision: str
    threads: int | None
    torch: str

    @property
    def label(self) -> Label:
        """Its arm."""
        return Label(self.network, self.without, self.setting)

    @property
    def accuracy(self) -> float | None:
        """On test where there is one, else on validation; None where the run diverged."""
        if self.diverged:
            return None
        return self.validation if self.test is None else self.test


class Epoch(NamedTuple):
    """An epoch of a run."""

    network: str
    without: str
    setting: str
    seed: int
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    gradient_norm: float
    seconds: float


class Layer(NamedTuple):
    """A layer of a run, as means over the watched steps of an epoch."""

    network: str
    without: str
    setting: str
    seed: int
    epoch: int
    layer: str
    gradient_norm: float | None
    weight_norm: float | None
    update_ratio: float | None


Line = TypeVar("Line", Row, Epoch, Layer)


@dataclass(frozen=True)
class Records:
    """All that is known of an experiment.

    Args:
        plan: What was asked.
        rows: The runs.
        epochs: Their epochs.
        layers: Their layers, where they were watched.
    """

    plan: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    epochs: Sequence[Epoch] = ()
    layers: Sequence[Layer] = ()

    @property
    def labels(self) -> list[Label]:
        """The arms, in the order of their runs."""
        return list(dict.fromkeys(row.label for row in self.rows))

    def of(self, label: Label) -> list[Row]:
        """The runs of an arm, by seed."""
        return sorted((row for row in self.rows if row.label == label), key=lambda row: row.seed)

    def joined(self, more: Records) -> Records:
        """These and more; a run that both have is the newer one's."""
        return Records(
            plan=more.plan or self.plan,
            rows=_joined(self.rows, more.rows, new=more.rows),
            epochs=_joined(self.epochs, more.epochs, new=more.rows),
            layers=_joined(self.layers, more.layers, new=more.rows),
        )

    def save(self, folder: Path) -> Records:
        """Write the files, with what they hold already; returns all of it.

        Raises:
            UsageError: the folder holds another experiment.
            MachineError: it cannot be written.
        """
        plan = json.loads(json.dumps(dict(self.plan)))
        whole = self
        if (folder / EXPERIMENT_FILE).is_file():
            plan = joined_plan(folder / EXPERIMENT_FILE, read_json(folder / EXPERIMENT_FILE), plan)
            whole = dataclasses.replace(load(folder).joined(self), plan=plan)
        make_folder(folder)
        write_durably(folder / RUNS, _text(Row, whole.rows))
        write_durably(folder / CURVES, _text(Epoch, whole.epochs))
        if whole.layers:
            write_durably(folder / LAYERS, _text(Layer, whole.layers))
        write_json(folder / EXPERIMENT_FILE, plan)
        return whole


def load(folder: Path) -> Records:
    """What a folder holds.

    Raises:
        ModelError: it holds no experiment, or a file of it cannot be read.
    """
    if not (folder / RUNS).is_file() or not (folder / EXPERIMENT_FILE).is_file():
        raise ModelError(f"{folder}: holds no results of an experiment (no {RUNS} and {EXPERIMENT_FILE})")
    return Records(
        plan=read_json(folder / EXPERIMENT_FILE),
        rows=_read(Row, folder / RUNS),
        epochs=_read(Epoch, folder / CURVES),
        layers=_read(Layer, folder / LAYERS) if (folder / LAYERS).is_file() else (),
    )


def _joined(old: Sequence[Line], more: Sequence[Line], *, new: Sequence[Row]) -> list[Line]:
    """Lines of runs that are not new, and all of the new; arms and their seeds stay together."""
    fresh = {row[:4] for row in new}
    lines = [line for line in old if line[:4] not in fresh] + list(more)
    order = {arm: place for place, arm in enumerate(dict.fromkeys(line[:3] for line in (*old, *more)))}
    return sorted(lines, key=lambda line: (order[line[:3]], line.seed))


def _text(kind: type[Line], lines: Iterable[Line]) -> bytes:
    into = io.StringIO()
    writer = csv.writer(into, lineterminator="\n")
    writer.writerow(kind._fields)
    for line in lines:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in line])
    return into.getvalue().encode()


def _read(kind: type[Line], path: Path) -> list[Line]:
    kinds = get_type_hints(kind)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                kind(**{name: _value(kinds[name], row[name]) for name in kind._fields}) for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as an experiment's results ({error}); draw them anew") from error


def _value(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if text == "" and kind not in (int, float):
        return None
    return int(text) if kind in (int, int | None) else float(text)
