"""fovea list: the networks of the catalogue, read from the published facts without torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

import tyro

from fovea.architectures.catalogue import Published, facts, list_architectures
from fovea.commands.parsing import parse
from fovea.errors import UsageError, suggestion


@dataclass(frozen=True)
class List:
    """The networks there are: year, parameters, multiply-adds of one image, its size, the source."""

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    """Only names that match, such as "lenet*"."""
    json: bool = False
    """A list of objects for machines."""


def run(arguments: list[str]) -> int:
    """Print the catalogue.

    Raises:
        UsageError: no name matches.
    """
    asked = parse(List, "list", arguments)
    found = [facts(name) for name in list_architectures(asked.pattern)]
    if not found:
        known = list_architectures()
        raise UsageError(f"no network matches {asked.pattern!r}.{suggestion(asked.pattern.strip('*'), known)}")
    print(json.dumps([dataclasses.asdict(each) for each in found], indent=2) if asked.json else table(found))
    return 0


def table(found: list[Published]) -> str:
    """The facts in columns, a network a line."""
    rows = [("name", "year", "parameters", "multiply-adds", "image", "source")]
    rows += [
        (f.name, str(f.year), f"{f.parameters:,}", f"{f.macs:,}", f"{f.in_channels}×{f.image_size}²", f.source)
        for f in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    form = "{:<%d}  {:>%d}  {:>%d}  {:>%d}  {:>%d}  {}" % tuple(widths)  # noqa: UP031  # braces within braces
    return "\n".join(form.format(*row).rstrip() for row in rows)
