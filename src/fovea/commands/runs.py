"""fovea runs: what was trained, how far it came, what it reached, and in which options the runs differ."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from fovea.commands.parsing import parse
from fovea.errors import DataError, UsageError, suggestion
from fovea.training.runs import RunRecord, Value, differing, is_run, list_runs, read_run

HOME = Path("runs")  # where training puts its runs
PICTURE = "runs.png"
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")  # what follows --plot and is meant for a file
HEADS = ("name", "state", "epochs", "validation", "test", "minutes")
NAME = 18  # characters of a name where the line is too short for it; the time, by which it can be called as well
NUMBERS = range(2, len(HEADS))  # columns that are set to the right
LONGEST = 28  # characters of an option's value in a table
NAMED, WORDY = 4, 60  # options, and characters, of a label in the picture; of more the folder's name says it better


@dataclass(frozen=True)
class Runs:  # no field may be None: tyro loads typeguard for such a type
    """The runs in ./runs or in another folder, the newest last; or those named, and in what they differ."""

    run: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]")] = ()
    """A folder of runs; or run folders, by path, or by their name in ./runs or how it begins."""
    plot: Annotated[str, tyro.conf.arg(metavar="[FILE.png]")] = ""
    """Draw the learning curves of the runs over each other, into runs.png where no file is named."""
    json: bool = False
    """One object for machines, with the whole configuration of each run."""


def run(arguments: list[str]) -> int:
    """Print the runs, and draw them.

    Raises:
        UsageError: a folder that is not there, or holds no run beside others that do.
    """
    asked = parse(Runs, "runs", _with_picture(arguments))
    if asked.plot and not asked.plot.lower().endswith(".png"):
        raise UsageError(f"--plot (={asked.plot}) writes a PNG: give a name that ends with .png")
    found = chosen(asked.run)
    names = differing(found)
    if asked.json:
        runs = [_as_json(record) for record in found]
        print(json.dumps({"runs": runs, "differing": names}, indent=2, ensure_ascii=False))
    elif not found:
        print(f"there are no runs in {asked.run[0] if asked.run else HOME}; make one: fovea train lenet5 digits")
    elif len(asked.run) > 1:
        print("\n".join([table(found, width=_terminal()), "", differences(found, width=_terminal())]))
    else:
        print(table(found, names, width=_terminal()))
    if asked.plot and found:
        _draw(found, Path(asked.plot))
    return 0


def chosen(paths: Sequence[Path]) -> list[RunRecord]:
    """The runs that are meant: those in ./runs, those in a folder, or those named.

    Raises:
        UsageError: a path that is not there; of several, one without a run.
    """
    if not paths:
        return list_runs(HOME) if HOME.is_dir() else []
    found: list[RunRecord] = []
    for path in map(_resolved, paths):
        records = [read_run(path)] if is_run(path) else list_runs(path)
        if not records and len(paths) > 1:
            raise UsageError(f"{path}: holds no run; name run folders, such as those that 'fovea runs' lists")
        found += records
    return found


def table(records: Sequence[RunRecord], options: Sequence[str] = (), *, width: int | None = None) -> str:
    """A run a line, and what is damaged below.

    Args:
        records: The runs.
        options: Whose values are shown behind, as far as they fit.
        width: Columns of the terminal; None leaves nothing out.
    """
    columns = [[name, *(_value(record, name) for record in records)] for name in options if name != "epochs"]
    rows = [HEADS, *(_row(record) for record in records)]
    needed = len(_columns(rows)[0]) + sum(max(map(len, column)) + 2 for column in columns)
    if width is not None and needed > width and len({record.name[:NAME] for record in records}) == len(records):
        rows = [(_cut(row[0], NAME), *row[1:]) for row in rows]
    left = None if width is None else width - max(map(len, _columns(rows)))
    hidden: list[str] = []
    for column in columns:
        wide = max(map(len, column)) + 2
        if left is not None and wide > left:
            hidden.append(column[0])
            continue
        rows = [(*row, cell) for row, cell in zip(rows, column, strict=True)]
        left = None if left is None else left - wide
    lines = [_cut(line, width) for line in _columns(rows)]
    lines += [f"they differ in {', '.join(hidden)} too: --json has it all"] if hidden else []
    lines += [f"{each.name}: {each.problem}" for each in records if each.state == "damaged"]
    return "\n".join(lines)


def differences(records: Sequence[RunRecord], *, width: int | None = None) -> str:
    """An option a line, with its value in each run; only those that are not the same in all."""
    names = differing(records)
    if not names:
        return "the runs do not differ in any option that changes the result"
    rows = [("option", *(record.name for record in records))]
    rows += [(name, *(_value(record, name) for record in records)) for name in names]
    return "\n".join(_cut(line, width) for line in _columns(rows, numbers=()))


def labels(records: Sequence[RunRecord]) -> list[str]:
    """What each run is called in a picture: the options in which they differ, or its folder where that says more."""
    options = differing(records)
    said = [", ".join(f"{name} {_value(record, name)}" for name in options) for record in records]
    short = 0 < len(options) <= NAMED and max(map(len, said)) <= WORDY
    return said if short and len(set(said)) == len(said) else [record.name for record in records]


def _with_picture(arguments: Sequence[str]) -> list[str]:
    """--plot takes a file or stands alone."""
    given: list[str] = []
    for place, argument in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        alone = argument == "--plot" and not following.lower().endswith(PICTURES)
        given.append(f"--plot={PICTURE}" if alone else argument)
    return given


def _resolved(path: Path) -> Path:
    """The folder that a path or a name in ./runs means; of a link, such as latest, what it points to."""
    for each in (path, HOME / path):
        if each.is_dir():
            return each.resolve() if each.is_symlink() else each
    if path.exists():
        raise UsageError(f"{path}: is no folder; name a run folder, or a folder of runs")
    known = sorted(each.name for each in HOME.iterdir() if each.is_dir()) if HOME.is_dir() else []
    begun = [name for name in known if name.startswith(str(path).removesuffix("…"))]
    if len(begun) == 1:
        return HOME / begun[0]
    close = f" Do you mean {' or '.join(begun[:3])}?" if begun else suggestion(path.name, known)
    raise UsageError(f"{path}: there is no such folder.{close}")


def _draw(records: Sequence[RunRecord], path: Path) -> None:
    from fovea.files import write_durably
    from fovea.pictures.overlay import MOST, Curve, overlay

    begun = [record for record in records if _histories(record)]
    if not begun:
        raise DataError("none of the runs has finished an epoch; there is nothing to draw yet")
    drawn = begun[-MOST:]
    if len(drawn) < len(begun):
        print(f"only the last {MOST} of {len(begun)} runs are drawn; name those that you mean", file=sys.stderr)
    curves = [Curve(label, _histories(record)) for label, record in zip(labels(drawn), drawn, strict=True)]
    title = f"Learning curves of {len(drawn)} runs" if len(drawn) > 1 else f"Learning curves of {drawn[0].name}"
    write_durably(path, overlay(curves, title=title))
    print(f"drawn into {path}", file=sys.stderr)


def _histories(record: RunRecord) -> list[Any]:
    return [each.history for each in record.seeds or (record,) if each.history]


def _row(record: RunRecord) -> tuple[str, ...]:
    done = f"{len(record.history)}"
    if record.state == "damaged" and not record.seeds:
        done = "–"
    elif record.seeds:
        finished = sum(seed.state == "finished" for seed in record.seeds)
        done = f"{finished}/{len(record.seeds)} seeds"
    elif record.epochs is not None:
        done += f"/{record.epochs}"
    best = () if record.best is None else (record.best,)
    validation = _accuracy(record.scores.get("validation", ()) if record.seeds else best)
    return record.name, record.state, done, validation, _accuracy(record.scores.get("test", ())), _minutes(record)


def _accuracy(values: Sequence[float]) -> str:
    """A share in per cent, or the mean of several with their standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.2%}" if values else "–"
    return f"{100 * statistics.mean(values):.2f} ± {statistics.stdev(values):.2%}"


def _minutes(record: RunRecord) -> str:
    return f"{record.minutes:,.1f}" if record.minutes else "–"


def _value(record: RunRecord, name: str) -> str:
    value: Value = record.configuration.get(name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)
    return _cut(text, 10 if name.endswith("fingerprint") else LONGEST)


def _as_json(record: RunRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "folder": str(record.folder),
        "state": record.state,
        "problem": record.problem,
        "epochs_done": len(record.history),
        "epochs": record.epochs,
        "best_validation_accuracy": record.best,
        "scores": {split: list(values) if record.seeds else values[0] for split, values in record.scores.items()},
        "minutes": record.minutes,
        "seeds": [_as_json(seed) for seed in record.seeds],
        "configuration": dict(record.configuration),
    }


def _columns(rows: Sequence[Sequence[str]], numbers: Sequence[int] = NUMBERS) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{'>' if place in numbers else '<'}{width}}}" for place, width in enumerate(widths))
    return [form.format(*row).rstrip() for row in rows]


def _cut(text: str, columns: int | None) -> str:
    return text if columns is None or len(text) <= columns else text[: max(columns - 1, 0)].rstrip() + "…"


def _terminal() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
