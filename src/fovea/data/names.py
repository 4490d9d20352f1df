"""The data sets that fovea knows by name; imports nothing heavy, so that a usage error is answered at once."""

from __future__ import annotations

from pathlib import Path

from fovea.errors import UsageError, suggestion

KNOWN = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet")


def check_source(source: str | Path) -> None:
    """Refuse what is neither a known data set nor something on the disk.

    Raises:
        UsageError: with the known names, close matches first.
    """
    if str(source) not in KNOWN and not Path(source).exists():
        raise UsageError(
            f"{str(source)!r} is neither a folder nor a known data set; known are {', '.join(KNOWN)}."
            f"{suggestion(str(source), KNOWN)}"
        )
