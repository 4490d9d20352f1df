"""fovea recipes: the experiments there are, what each costs on your data, and one of them in full."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from fovea.architectures.catalogue import facts, list_architectures, published
from fovea.architectures.reference import is_reference
from fovea.commands.expectations import Expected, expectation, hours_of, known_task
from fovea.commands.parsing import parse
from fovea.data.names import KNOWN, check_source
from fovea.errors import UsageError, suggestion
from fovea.training.options import TrainingOptions
from fovea.training.recipes import FITTED, FURTHER, PAPERS, RECIPES, fitting, recipe
from fovea.training.recipes.task import Task

EXAMPLE = ("cifar_resnet20", "cifar10")  # to which one that fits itself is shown fitted, where nothing is named
GREY, COLOURED = "digits", "cifar10"  # the data of networks for one channel and for three, where none is named
NAMED = 24  # characters of the networks in a table
HEADS = ("recipe", "networks", "source", "epochs", "batch", "what it is")
COSTS = ("recipe", "network", "source", "epochs", "batch", "images seen", "multiply-adds", "FLOPs", "hours")


@dataclass(frozen=True)
class Recipes:  # no field may be None: tyro loads typeguard for such a type
    """The recipes there are; one of them in full; or those for a network and data, with what each is expected to cost.

    Multiply-adds are three forward passes of every image seen, FLOPs twice as many. Hours are estimates for this
    machine, where 'fovea inspect NET --time' has calibrated it.
    """

    net: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME|NET]")] = ""
    """A recipe, to be shown in full; or a network, for the recipes that fit it."""
    data: Annotated[str, tyro.conf.Positional] = ""
    """What is learned, as for fovea train; digits or cifar10 where a network alone is named."""
    json: bool = False
    """A list of objects for machines; of a recipe named, one object."""


def run(arguments: list[str]) -> int:
    """Print the recipes.

    Raises:
        UsageError: a name that is no recipe, network or data.
    """
    asked = parse(Recipes, "recipes", arguments)
    if asked.net and not asked.data and asked.net in (*RECIPES, *FITTED):
        print(_in_full(asked.net, as_json=asked.json))
        return 0
    network, data = _network_and_data(asked)
    if not data:
        rows = [_as_json(name) for name in (*RECIPES, *FITTED)]
        print(_json(rows) if asked.json else _columns([HEADS, *map(_line, rows)]))
        return 0
    costs = _costs(network, data)
    if asked.json:
        print(_json(costs))
        return 0
    print(_columns([COSTS, *map(_cost_line, costs)], numbers=range(3, len(COSTS))))
    if network and all(row["hours"] is None for row in costs):
        print(f"hours are not known: calibrate this machine once by fovea inspect {network} --time", file=sys.stderr)
    return 0


def networks_of(name: str) -> list[str]:
    """The networks of the catalogue whose paper's recipe this is, in the order of the table; none for those of ours."""
    wanted, found, taken = FURTHER.get(name, name), [], set[str]()
    for pattern, paper in PAPERS.items():
        matching = [each for each in list_architectures(pattern) if each not in taken]
        taken.update(matching)
        found += matching if paper == wanted else []
    return found


def source_of(text: str) -> str:
    """Who a recipe's docstring says it is from: the first author and the year, or ours."""
    told = " ".join(text.partition("\n")[2].split())
    if told.startswith("Ours"):
        return "ours"
    found = re.match(r"([^\d]+?),? ((?:19|20)\d\d)", told)
    if found is None:
        raise ValueError(f"a recipe's docstring does not begin its second paragraph with its source: {told[:80]}")
    authors, year = found.groups()
    return f"{authors.split(',')[0]} et al. {year}" if "," in authors else f"{authors} {year}"


def differing(told: TrainingOptions) -> dict[str, tuple[Any, Any]]:
    """The options that are not the defaults: their value, and the default."""
    usual = TrainingOptions().flat()
    return {name: (value, usual[name]) for name, value in told.flat().items() if value != usual[name]}


def _function(name: str) -> Callable[..., TrainingOptions]:
    return RECIPES[name] if name in RECIPES else FITTED[name]


def _text(name: str) -> str:
    return inspect.cleandoc(_function(name).__doc__ or "")


def _network_and_data(asked: Recipes) -> tuple[str, str]:
    """What is meant by [NET] [DATA]; "" for what is not named.

    Raises:
        UsageError: a word that is neither a recipe, a network nor data.
    """
    network, data = asked.net, asked.data
    if network and not data and not is_reference(network) and network not in published():
        if network not in KNOWN and not Path(network).exists():
            known = dict.fromkeys([*RECIPES, *FITTED, *published(), *KNOWN])
            raise UsageError(
                f"{network!r} is neither a recipe, nor a network, nor data; 'fovea recipes' lists the recipes."
                f"{suggestion(network, known)}"
            )
        network, data = "", network
    if network and not is_reference(network):
        grey = facts(network).in_channels == 1
        data = data or (GREY if grey else COLOURED)
    elif network:
        data = data or COLOURED
    if data:
        check_source(data)
    return network, data


def _in_full(name: str, *, as_json: bool) -> str:
    """The docstring, and the options that are not the defaults."""
    told = recipe(name, known_task(*EXAMPLE))
    options = differing(told)
    if as_json:
        return _json(_as_json(name) | {"options": {each: value for each, (value, _) in options.items()}})
    named = networks_of(name)
    lines = [name, "", _text(name), ""]
    lines += [f"networks: {', '.join(named)}", ""] if named else []
    lines += [f"options, here for {' on '.join(EXAMPLE)}:" if name in FITTED else "options:"]
    rows = [("", each, _said(value), f"(default {_said(usual)})") for each, (value, usual) in options.items()]
    return "\n".join([*lines, _columns(rows, numbers=())])


def _as_json(name: str) -> dict[str, Any]:
    """What is known of a recipe without data; one that fits itself has no length of its own."""
    text = _text(name)
    told = None if name in FITTED else recipe(name)
    return {
        "name": name,
        "networks": networks_of(name),
        "source": source_of(text),
        "epochs": told.epochs if told else None,
        "batch_size": told.batch_size if told else None,
        "summary": text.partition("\n")[0],
        "text": text,
    }


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    wanted = FURTHER.get(row["name"], row["name"])
    patterns = [pattern for pattern, name in PAPERS.items() if name == wanted]
    named = ", ".join(patterns) or "any"
    fits = row["epochs"] is None
    numbers = ("fits", "fits") if fits else (f"{row['epochs']}", f"{row['batch_size']:,}")
    return (row["name"], _cut(named, NAMED), row["source"], *numbers, row["summary"])


def _costs(network: str, data: str) -> list[dict[str, Any]]:
    """What each recipe costs on the data: of one network those that fit it, else each with the first of its paper."""
    if network:
        papers = [name for name in RECIPES if network in networks_of(name)]
        names = list(dict.fromkeys([*papers, fitting(network, data), *FITTED]))
        pairs = [(name, network) for name in names]
    else:
        pairs = [(name, first) for name in RECIPES for first in networks_of(name)[:1]]
    task = known_task(pairs[0][1], data)
    found: list[tuple[str, TrainingOptions, Expected]] = []
    for name, of in pairs:
        told = recipe(name, _for(task, of, data))
        found.append((name, told, expectation(told, task.images, of)))
    hours = hours_of(network, [(told, each) for _, told, each in found]) if network else [None] * len(found)
    return [
        {"name": name, "network": of, "source": source_of(_text(name)), "epochs": told.epochs}
        | {"batch_size": told.batch_size, "minutes": told.time_budget or None}
        | {"images": each.images, "macs": each.macs, "flops": None if each.macs is None else 2 * each.macs, "hours": h}
        for (name, told, each), (_, of), h in zip(found, pairs, hours, strict=True)
    ]


def _for(task: Task, network: str, data: str) -> Task:
    return task if task.network == network else known_task(network, data, images=task.images)


def _cost_line(row: dict[str, Any]) -> tuple[str, ...]:
    hours = f"{row['minutes'] / 60:.2g}" if row["minutes"] else "–" if row["hours"] is None else f"{row['hours']:,.2g}"
    budget = row["minutes"] is not None  # whose epochs are found by measuring
    work = ["–" if row[each] is None or budget else f"{row[each]:.2e}" for each in ("macs", "flops")]
    seen = "–" if budget else f"{row['images']:,}"
    epochs = "measured" if budget else f"{row['epochs']}"
    return (row["name"], row["network"], row["source"], epochs, f"{row['batch_size']:,}", seen, *work, hours)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_said, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _columns(rows: Sequence[Sequence[str]], numbers: Sequence[int] = (3, 4)) -> str:
    """A table, its last column cut where the terminal ends."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{'>' if place in numbers else '<'}{size}}}" for place, size in enumerate(widths))
    lines = [form.format(*row).rstrip() for row in rows]
    return "\n".join(lines if width is None else [_cut(line, width) for line in lines])


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: max(columns - 1, 0)].rstrip() + "…"


def _json(found: Any) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False)
