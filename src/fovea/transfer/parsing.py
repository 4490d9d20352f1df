"""What a reader of weight files gives, and how it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fovea.errors import FoveaError, ModelError


class Content(NamedTuple):
    """What a file holds before anything is taken off."""

    held: object
    notes: list[str]
    licence: str = ""


@contextlib.contextmanager
def parsing(path: Path, kind: str) -> Iterator[None]:
    """Whatever a parser makes of damaged or hostile bytes becomes one sentence."""
    try:
        yield
    except FoveaError:
        raise
    except Exception as error:  # the parsers promise no types: KeyError, struct.error, zlib.error and more are met
        told = " ".join(str(error).split())[:200]  # it may quote the file, and so hold anything
        reason = "".join(each if each.isprintable() else "?" for each in told) or type(error).__name__
        raise ModelError(f"{path}: is damaged, or no {kind} ({reason}); fetch it again") from error
