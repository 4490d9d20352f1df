"""Arguments from dataclasses, by tyro; the short forms that every user of the field types; one-sentence errors."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from fovea.errors import UsageError

T = TypeVar("T")

SHORT = {"-b": "--batch-size", "-j": "--workers", "-o": "--out"}


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
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # what tyro draws depends on the encoding
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return _cli(kind, verb, whole, default)
    except SystemExit as error:
        raise UsageError(f"{_sentence(_text(said))} 'fovea {verb} --help' explains.") from error


def _cli(kind: type[T], verb: str, arguments: Sequence[str], default: T | None) -> T:
    description = (kind.__doc__ or "").strip()
    settings = (tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName)
    if default is None:
        return tyro.cli(kind, prog=f"fovea {verb}", description=description, args=arguments, config=settings)
    return tyro.cli(
        kind, prog=f"fovea {verb}", description=description, args=arguments, default=default, config=settings
    )


def _whole(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return SHORT.get(name, name) + equals + value


def _text(written: io.TextIOWrapper) -> str:
    written.seek(0)
    return written.read()


def _sentence(panel: str) -> str:
    """Tyro draws its errors as a panel: a box, what is wrong, a rule, hints; here they become one sentence."""
    lines = [line.strip("│ ") for line in panel.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    what = " ".join(lines[:rule]).strip(" .") or "the arguments cannot be read"
    hints = lines[rule:] if any(line.startswith("Perhaps you meant") for line in lines) else []
    close = [line.split()[0].rstrip(",") for line in hints if line.startswith("--")]
    return what + (f". Did you mean {' or '.join(close[:3])}?" if close else ".")


def options_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """What a network's builder takes, from name=value pairs; a value is JSON where it can be read so, else text.

    Raises:
        UsageError: a pair without a name or without =.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"option (={pair}) must be name=value, such as stem=small")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
