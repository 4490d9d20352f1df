"""Run folders read back: what each was told, how far it came, what it reached. Knows no torch, and touches nothing."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fovea.errors import ModelError
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER, RUN_FILE, SEEDS_FILE, SEEDS_SUMMARY, read_json
from fovea.training.folder import HISTORY, LATEST, LOCK

State = Literal["finished", "running", "stopped", "damaged"]
LEFT_BY_RUNS = (RUN_FILE, LOCK, HISTORY, SEEDS_FILE, SEEDS_SUMMARY, BUNDLE_FOLDER)  # any of them makes a folder a run's
FREE = ("keeping.", "workers")  # options that change no number
Value = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run, or one line for several seeds of it, as its folder tells.

    Args:
        folder: Where it lies.
        state: finished, where the bundle is there; running, where a process holds the folder; stopped; or damaged,
            where it has no configuration, or a file of it cannot be read.
        problem: What is damaged.
        configuration: Every option by its name alone; those of no influence on the result begin with "keeping.".
        history: One row per finished epoch, as in history.csv; of several seeds none.
        epochs: How many were asked for; None where that is not known.
        scores: Top-1 accuracy in [0, 1] by split, of the finished run; of several seeds one for each.
        seeds: The runs of each seed, where the folder holds several.
    """

    folder: Path
    state: State
    problem: str = ""
    configuration: Mapping[str, Value] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    epochs: int | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seeds: tuple[RunRecord, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name or str(self.folder)

    @property
    def best(self) -> float | None:
        """The highest validation accuracy of an epoch, in [0, 1]; None before the first epoch."""
        found = [value for row in self.history if (value := row.get("validation_accuracy")) is not None]
        return max((value for value in found if math.isfinite(value)), default=None)

    @property
    def minutes(self) -> float:
        """What the epochs took, of all seeds together."""
        own = sum(row.get("seconds") or 0.0 for row in self.history)
        return float(own) / 60 + sum(each.minutes for each in self.seeds)


def list_runs(folder: Path) -> list[RunRecord]:
    """The runs that lie directly in a folder, by name, so that the newest of those named by time is last.

    Folders that hold nothing of a run are left out; damaged runs are not. Several seeds of one run are one record.

    Raises:
        ModelError: the folder cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not _is_latest(path))
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror})") from error
    return [read_run(path) for path in found if is_run(path)]


def is_run(folder: Path) -> bool:
    """Whether something of a run lies there, whole or not."""
    with contextlib.suppress(OSError):
        return any((folder / name).exists() for name in LEFT_BY_RUNS)
    return True  # it cannot be looked into: a record says so


def read_run(folder: Path) -> RunRecord:
    """One run, or several seeds of it; what cannot be read makes it damaged, and raises nothing."""
    try:
        seeds = [path for path in sorted(folder.glob("seed_*"), key=_number) if path.is_dir()]
        several = any((folder / name).exists() for name in (SEEDS_SUMMARY, SEEDS_FILE))
        if several or (seeds and not (folder / RUN_FILE).exists()):
            return _several(folder, seeds)
        return _single(folder)
    except (ModelError, OSError, ValueError, csv.Error) as error:
        return RunRecord(folder=folder, state="running" if _is_held(folder) else "damaged", problem=str(error))


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of history.csv, numbers as numbers, an empty cell as None; none before the first epoch.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if "epoch" not in (reader.fieldnames or ("epoch",)):
            raise ValueError("no column is called epoch")
        return [{**{k: float(v) if v else None for k, v in row.items()}, "epoch": int(row["epoch"])} for row in rows]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ModelError(f"{path}: is damaged, no table of epochs ({error})") from error


def differing(records: Sequence[RunRecord]) -> list[str]:
    """The options in which the runs differ, in the order of the configuration; not those that change no number."""
    known = [record.configuration for record in records if record.configuration]
    names = dict.fromkeys(name for each in known for name in each if not name.startswith(FREE))
    absent = object()
    return [name for name in names if any(each.get(name, absent) != known[0].get(name, absent) for each in known)]


def _single(folder: Path) -> RunRecord:
    if not (folder / RUN_FILE).is_file():
        raise ModelError(f"no {RUN_FILE}")
    told = read_json(folder / RUN_FILE)
    training = _part(told, "training")
    bundle = folder / BUNDLE_FOLDER / BUNDLE_FILE
    epochs = training.get("epochs")
    state: State = "running" if _is_held(folder) else "finished" if bundle.exists() else "stopped"
    return RunRecord(
        folder=folder,
        state=state,
        configuration=_flat(told),
        history=history(folder),
        epochs=epochs if isinstance(epochs, int) else None,
        scores=_scores(bundle) if state == "finished" else {},
    )


def _several(folder: Path, paths: Sequence[Path]) -> RunRecord:
    """A folder of seeds: scores from its summary, or as far as its runs are finished."""
    seeds = tuple(read_run(path) for path in paths)
    states = {seed.state for seed in seeds}
    finished = (folder / SEEDS_SUMMARY).exists()
    running = "running" in states
    broken = next((f"{seed.name}: {seed.problem}" for seed in seeds if seed.state == "damaged"), "")
    told = [seed.configuration for seed in seeds if seed.configuration]
    return RunRecord(
        folder=folder,
        state="running" if running else "finished" if finished else "damaged" if broken else "stopped",
        problem=broken,
        configuration={**told[0], "seed": f"{len(seeds)} seeds"} if told else {},
        epochs=seeds[0].epochs if seeds else None,
        scores=_summary(folder / SEEDS_SUMMARY) if finished else _reached(seeds),
        seeds=seeds,
    )


def _summary(path: Path) -> dict[str, tuple[float, ...]]:
    scores = _part(read_json(path), "scores", SEEDS_SUMMARY)
    try:
        return {str(split): tuple(float(value) for value in values) for split, values in scores.items()}
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: is damaged, scores must be a list of numbers by split ({error})") from error


def _reached(seeds: Sequence[RunRecord]) -> dict[str, tuple[float, ...]]:
    splits = dict.fromkeys(split for seed in seeds for split in seed.scores)
    return {split: tuple(v for seed in seeds for v in seed.scores.get(split, ())) for split in splits}


def _scores(bundle: Path) -> dict[str, tuple[float, ...]]:
    metrics = _part(read_json(bundle), "metrics", BUNDLE_FILE)
    try:
        return {split: (float(each["top1"]),) for split, each in metrics.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{bundle}: is damaged, its metrics have no top1 ({error})") from error


def _flat(told: Mapping[str, Any]) -> dict[str, Value]:
    """Every option by the name that it has on the command line; lists as JSON."""
    network, data = _part(told, "network"), _part(told, "data")
    machine, source = told.get("machine"), data.get("source")
    found = {"network": network.get("name")} | _leaves({key: network[key] for key in network if key != "name"})
    found |= {"data": data.get("name"), "data_fingerprint": data.get("fingerprint")}
    if isinstance(source, dict):  # where the data lies is no option; how it was split is
        found |= _leaves({key: source[key] for key in source if key not in ("source", "data_root")})
    training = _part(told, "training")
    keeping = training.get("keeping")
    found |= _leaves({key: value for key, value in training.items() if key != "keeping"})
    found |= _leaves(keeping, "keeping.") if isinstance(keeping, dict) else {}
    found |= {"teacher_fingerprint": told["teacher"]} if isinstance(told.get("teacher"), str) else {}
    found |= _leaves(machine, "machine_") if isinstance(machine, dict) else {}
    return found | {"fovea": told.get("fovea")}


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            found |= _leaves(value, prefix)
        else:
            plain = value is None or isinstance(value, str | int | float)
            found[f"{prefix}{name}"] = value if plain else json.dumps(value)
    return found


def _part(whole: Mapping[str, Any], name: str, file: str = RUN_FILE) -> dict[str, Any]:
    part = whole.get(name)
    if not isinstance(part, dict):
        raise ModelError(f"{file}: is damaged, {name} must hold an object, not {type(part).__name__}")
    return part


def _is_held(folder: Path) -> bool:
    """Whether a process writes there: its lock is asked for, not waited for, shared, and let go of at once."""
    with contextlib.suppress(OSError), open(folder / LOCK, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_latest(path: Path) -> bool:
    return path.name == LATEST and path.is_symlink()


def _number(path: Path) -> tuple[int, str]:
    number = path.name.removeprefix("seed_")
    return (int(number) if number.isdecimal() else 0, path.name)
