"""How other libraries call the tensors of our networks: one table of rules per family, for each library."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from fovea.errors import ModelError
from fovea.transfer.keys import keras
from fovea.transfer.keys.changes import Change, Changes
from fovea.transfer.keys.rules import Rules as Rules

LIBRARIES = ("torchvision", "timm", "keras")
NORM = "batch_normalization"  # the kind of every layer whose tensors keep their form


class Table(NamedTuple):
    """One of our networks in another library.

    Args:
        library: Whose names they are; "fovea" for our own.
        network: What that library calls the network.
        rules: From our keys to theirs; none for our own.
        options: What our builder is called with to be theirs exactly.
        changes: What is done to tensors that they keep in another form.
        preparation: How images are prepared for it, by the name of a convention; "" where its files vary, "inside"
            where a layer of theirs does it.
        inputs: Their tensors of that layer.
    """

    library: str
    network: str
    rules: Rules
    options: dict[str, Any]
    changes: Changes = ()
    preparation: str = ""
    inputs: tuple[str, ...] = ()

    def theirs(self, key: str) -> str:
        """Their key for one of ours.

        Raises:
            ModelError: no rule matches the key.
        """
        if not self.rules:
            return key
        found = theirs(key, self.rules)
        return keras.variable(found) if self.library == "keras" else found

    def change(self, key: str) -> Change | None:
        """What is done to their tensor for one of our keys; None where nothing is."""
        return next((change for pattern, change in self.changes if _compiled(pattern).fullmatch(key)), None)

    def in_file(self, names: Iterable[str], keys: Iterable[str]) -> dict[str, str]:
        """Their names of a file's tensors, each with its name in the file, which differs in Keras's alone.

        Args:
            names: In the file.
            keys: Ours, in the network's order.
        """
        if self.library != "keras":
            return {name: name for name in names}
        kinds = dict.fromkeys((name.partition("/")[0] for name in self.inputs), "normalization")
        for key in keys:
            layer, _, variable = self.theirs(key).partition("/")
            change = self.change(key)
            if variable in ("kernel", "gamma"):
                kinds[layer] = change.layer if change else NORM
        return keras.in_file(names, kinds)


def tables_of(name: str) -> list[Table]:
    """Every library's table for one of our networks, our own first."""
    found = [Table("fovea", name, (), {})]
    for family in _families():
        for library in LIBRARIES:
            peers: dict[str, str] = getattr(family, "PEERS", {}).get(library, {})
            if name in peers:
                rules: Rules = getattr(family, library.upper())[name]
                options = getattr(family, "OPTIONS", {}).get(library, {}).get(peers[name], {})
                found.append(
                    Table(
                        library,
                        peers[name],
                        rules,
                        dict(options),
                        getattr(family, "CHANGES", {}).get(library, ()),
                        getattr(family, "PREPARATION", {}).get(library, ""),
                        getattr(family, "INPUTS", {}).get(library, ()),
                    )
                )
    return found


def names_in(library: str) -> dict[str, str]:
    """What a library calls those networks that are exactly ours, and what we call them."""
    return {
        theirs: ours for family in _families() for ours, theirs in getattr(family, "PEERS", {}).get(library, {}).items()
    }


def theirs(key: str, rules: Rules) -> str:
    """Their key for one of ours: the first rule that matches the whole key wins.

    Args:
        key: A key of our state dict, such as `features.conv1.conv.weight`.
        rules: Their library's table for the network.

    Raises:
        ModelError: no rule matches the key.
    """
    for pattern, replacement in rules:
        match = _compiled(pattern).fullmatch(key)
        if match is not None:
            return match.expand(replacement)
    raise ModelError(f"no rule gives {key} its foreign name; the table has {len(rules)} rules, and needs one for it")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """The tables together have more patterns than re keeps."""
    return re.compile(pattern)


def _families() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
