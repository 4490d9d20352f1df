"""fovea list: the lineage of convolutional networks, their cards, the challenge's history; read without torch."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fovea.architectures.catalogue import Published, list_architectures, published
from fovea.commands.parsing import parse
from fovea.errors import UsageError, suggestion

FIGURES = 7  # columns before protocol and idea
SLIVER, NARROW = 10, 50  # with fewer columns left nothing stands there; with fewer, the idea alone
PROTOCOL = 0.4  # of what is left, at most, for the protocol
UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


@dataclass(frozen=True)
class List:  # no field may be None: tyro loads typeguard for such a type, a third of all that list has to do
    """The networks there are: year, parameters, multiply-adds of one image, its size, published errors, the idea."""

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    """Only names that match, such as "resnet*"."""
    sort: Literal["year", "name", "parameters", "macs", "top1", "top5"] = "year"
    """What comes first: the oldest, the fewest, the best."""
    family: str = ""
    """Only the networks of one paper, such as resnet."""
    since: int = 0
    """Only from this year on."""
    max_parameters: float = math.inf
    """Only up to so many parameters, such as 10e6."""
    max_macs: float = math.inf
    """Only up to so many multiply-adds, such as 1e9."""
    card: bool = False
    """Nine questions about the network, answered in a line each, with sources."""
    history: bool = False
    """The ImageNet challenge by year, instead of the networks."""
    plot: Annotated[str, tyro.conf.arg(metavar="FILE.png")] = ""
    """With --history: draw it as a PNG into this file."""
    json: bool = False
    """A list of objects for machines; with --history one object."""


def run(arguments: list[str]) -> int:
    """Print the catalogue, cards, or the history.

    Raises:
        UsageError: nothing matches, or options that do not go together.
    """
    asked = parse(List, "list", arguments)
    _check(asked)
    if asked.history:
        return _history(asked)
    found = chosen(asked)
    if asked.card:
        from fovea.architectures.cards import card

        cards = [card(each.name) for each in found]
        text = "\n\n".join(map(str, cards))
        print(_data([dataclasses.asdict(each) | {"answers": _answers(each.answers)} for each in cards], asked) or text)
    else:
        print(_data([dataclasses.asdict(each) for each in found], asked) or table(found, width=_terminal()))
    return 0


def chosen(asked: List) -> list[Published]:
    """The networks that are asked for, sorted; what has no figure to sort by comes last.

    Raises:
        UsageError: no network matches.
    """
    families = sorted({each.family for each in published().values()})
    if asked.family and asked.family not in families:
        close = suggestion(asked.family, families)
        raise UsageError(f"no family is called {asked.family!r}; there are {', '.join(families)}.{close}")
    named = [published()[name] for name in list_architectures(asked.pattern)]
    if not named:
        close = suggestion(asked.pattern.strip("*"), published())
        raise UsageError(f"no network matches {asked.pattern!r}.{close or ' fovea list shows all there are.'}")
    found = [
        each
        for each in named
        if asked.family in ("", each.family)
        and each.year >= asked.since
        and each.parameters <= asked.max_parameters
        and each.macs <= asked.max_macs
    ]
    if not found:
        raise UsageError(f"none of the {len(named)} networks that match {asked.pattern!r} passes {_filters(asked)}")
    return sorted(found, key=lambda each: _rank(each, asked.sort))


def table(found: list[Published], *, width: int | None = None) -> str:
    """The facts in columns, a network a line.

    Args:
        found: The networks.
        width: Columns of the terminal: counts are rounded, protocol and idea cut or left out, so that every line fits;
            None rounds and cuts nothing.
    """
    heads = ("name", "year", "parameters", "multiply-adds", "image", "top-1", "top-5", "protocol of the errors", "idea")
    if width is None:
        return _columns([heads, *(_row(each) for each in found)])
    rows = [(*heads[:3], "macs", *heads[4:]), *(_row(each, rounded=True) for each in found)]
    left = width - sum(max(len(row[i]) for row in rows) + 2 for i in range(FIGURES))
    if left < SLIVER:
        rows = [row[:FIGURES] for row in rows]
    elif left < NARROW:
        rows = [(*row[:FIGURES], row[-1]) for row in rows]
    else:
        rows = [(*row[:FIGURES], _cut(row[-2], int(PROTOCOL * left)), row[-1]) for row in rows]
    return "\n".join(_cut(line, width) for line in _columns(rows).splitlines())


def short(count: int) -> str:
    """A count in three digits, such as 61.7k."""
    for letter, unit in UNITS:
        if count >= 0.9995 * unit:
            value = count / unit
            return f"{value:.{max(0, 2 - int(math.log10(max(value * 1.0005, 1))))}f}{letter}"
    return str(count)


def _check(asked: List) -> None:
    if asked.history:
        usual = {field.name: field.default for field in dataclasses.fields(List)}
        taken = {"history", "plot", "json"}
        others = [name for name, value in usual.items() if name not in taken and getattr(asked, name) != value]
        if others:
            names = ", ".join("a name" if name == "pattern" else f"--{name.replace('_', '-')}" for name in others)
            raise UsageError(f"--history is the challenge by year and goes without {names}")
    elif asked.plot:
        raise UsageError("--plot draws the challenge by year: give --history with it")
    if asked.plot and not asked.plot.lower().endswith(".png"):
        raise UsageError(f"--plot (={asked.plot!r}) writes a PNG: give a name that ends with .png")


def _history(asked: List) -> int:
    from fovea.architectures.history import history

    known = history()
    if asked.plot:
        from fovea.files import write_durably
        from fovea.pictures.history import Bar, challenge_history

        bars = [Bar(y.year, y.winner, y.network, y.error.value, y.runner_up_error.value) for y in known.years]
        title = "The ImageNet challenge: top-5 error of the winner by year"
        write_durably(Path(asked.plot), challenge_history(bars, human_error=known.human_error.value, title=title))
    print(_data(_named(known), asked) or known)
    if asked.plot:
        print(f"drawn into {asked.plot}", file=sys.stderr)
    return 0


def _data(found: Any, asked: List) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) if asked.json else ""


def _answers(answers: dict[str, Any]) -> dict[str, Any]:
    from fovea.architectures.cards import QUESTIONS

    return {asked: {"question": QUESTIONS[asked], **answer._asdict()} for asked, answer in answers.items()}


def _named(value: Any) -> Any:
    """Dataclasses and named tuples as objects, which keep their names in JSON."""
    if dataclasses.is_dataclass(value):
        return {field.name: _named(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list) else value


def _terminal() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _rank(each: Published, sort: str) -> tuple[float, str]:
    if sort in ("top1", "top5"):
        value = getattr(each.errors[0], sort) if each.errors else None
        return (math.inf if value is None else value, "")
    return (0, each.name) if sort == "name" else (getattr(each, sort), "")


def _filters(asked: List) -> str:
    given = {name: getattr(asked, name) for name in ("family", "since", "max_parameters", "max_macs")}
    said = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value not in ("", 0, math.inf)]
    return " and ".join(said)


def _row(each: Published, *, rounded: bool = False) -> tuple[str, ...]:
    error = each.errors[0] if each.errors else None
    counts = [short(n) if rounded else f"{n:,}" for n in (each.parameters, each.macs)]
    rates = (error.top1, error.top5) if error else (None, None)
    said = ["–" if rate is None else f"{rate:.1f}" if rounded else f"{float(rate)}" for rate in rates]
    protocol = f"{error.data}: {error.protocol}" if error else "–"
    return (each.name, str(each.year), *counts, f"{each.in_channels}×{each.image_size}²", *said, protocol, each.idea)


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{'>' if 0 < i < FIGURES else '<'}{width}}}" for i, width in enumerate(widths))
    return "\n".join(form.format(*row).rstrip() for row in rows)


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: max(columns - 1, 0)].rstrip() + "…"
