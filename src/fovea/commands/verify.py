"""fovea verify: paper against ours, for one network or all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import tyro

from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.commands.parsing import parse
from fovea.errors import ModelError, UsageError, suggestion


@dataclass(frozen=True)
class Verify:
    """Recount parameters, multiply-adds and stage shapes on the real modules, and compare them with the papers."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Networks, or patterns such as "resnet*"; all where none is named."""
    json: bool = False
    """A list of objects for machines."""


def run(arguments: list[str]) -> int:
    """Print the comparison.

    Raises:
        UsageError: no network is called so.
        ModelError: a difference that nobody has explained.
    """
    asked = parse(Verify, "verify", arguments)
    names = list(dict.fromkeys(name for pattern in asked.names or ("*",) for name in _matching(pattern)))

    import torch

    from fovea.cost.verification import verify

    found = []
    for name in names:
        with torch.device("meta"):
            network = build(name)
        found.append(verify(facts(name), network))
        if not asked.json:
            print(found[-1], flush=True)
    if asked.json:
        print(json.dumps([each.as_json() for each in found], indent=2))
    unexplained = [each.name for each in found if not each.explained]
    if unexplained:
        raise ModelError(f"{len(unexplained)} of {len(found)} networks differ without explanation: {unexplained}")
    if not asked.json:
        print(f"{len(found)} networks: every figure is the published one, or its exact difference explained")
    return 0


def _matching(pattern: str) -> list[str]:
    names = list_architectures(pattern)
    if not names:
        raise UsageError(f"no network matches {pattern!r}.{suggestion(pattern.strip('*'), list_architectures())}")
    return names
