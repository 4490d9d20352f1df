"""Arguments from dataclasses, by tyro; the short forms that every user of the field types; one-sentence errors."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import TypeVar

import tyro

from fovea.errors import UsageError

T = TypeVar("T")

SHORT = {"-b": "--batch-size", "-j": "--workers"}


def parse(kind: type[T], verb: str, arguments: Sequence[str], *, default: T | None = None) -> T:
    """An instance of a dataclass from the arguments of a verb.

    Args:
        kind: The dataclass; its docstrings are the help.
        verb: The verb, for messages.
        arguments: What follows it.
        default: What holds where nothing is given.

    Raises:
        UsageError: an argument that the verb does not take, or a value of the wrong kind.
    """
    whole = [_whole(argument) for argument in arguments]
    if "--help" in whole or "-h" in whole:
        return _cli(kind, verb, whole, default)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return _cli(kind, verb, whole, default)
    except SystemExit as error:
        raise UsageError(f"{_sentence(said.getvalue())}; 'fovea {verb} --help' explains") from error


def _cli(kind: type[T], verb: str, arguments: Sequence[str], default: T | None) -> T:
    description = (kind.__doc__ or "").strip()
    settings = (tyro.conf.OmitArgPrefixes,)
    if default is None:
        return tyro.cli(kind, prog=f"fovea {verb}", description=description, args=arguments, config=settings)
    return tyro.cli(
        kind, prog=f"fovea {verb}", description=description, args=arguments, default=default, config=settings
    )


def _whole(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return SHORT.get(name, name) + equals + value


def _sentence(panel: str) -> str:
    """tyro draws its errors in a box over several lines; here they become one line without the box."""
    lines = [re.sub(r"^[│|]\s?|\s*[│|]$", "", line).strip() for line in panel.splitlines()]
    kept = [line for line in lines if line and not re.match(r"^[╭╰├─+-]", line)]
    cut = next((i for i, line in enumerate(kept) if line.startswith("For full helptext")), len(kept))
    return re.sub(r"\s+", " ", " ".join(kept[:cut])).strip(" .:;") or "the arguments cannot be read"
