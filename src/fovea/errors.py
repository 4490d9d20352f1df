"""Every error a user can meet, as one tree, each with the exit code its command ends with.

    FoveaError                 1  a bug of ours, when raised bare
    ├── UsageError             2  a name, a flag or an argument
    ├── DataError              3  images, labels, data sets
    │   ├── UnreadableImage    3  one file that is no image we take
    │   └── Unlabelled         3  images of which none has a label
    ├── ModelError             4  networks, bundles, checkpoints
    │   └── ShapeError         4  sizes that do not fit each other
    ├── MachineError           5  disk, memory, a missing package
    ├── NumbersError           6  NaN or infinity
    ├── RunInUse               7  another process writes this run
    ├── FinishedWithFailures   8  done, but for failures that were allowed
    └── Stopped          130/143  stopped by a signal, and saved

A message says what was wrong with which value, file or layer, the rule it broke, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class FoveaError(Exception):
    """The root of the tree; catching it catches everything that fovea raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(FoveaError, ValueError):
    """A name, a flag or an argument that fovea does not take."""

    exit_code = 2


class DataError(FoveaError, ValueError):
    """Images, labels or a data set that cannot be used as they are."""

    exit_code = 3


class UnreadableImage(DataError):
    """One file, or one array of bytes, that is no image within our limits.

    Args:
        message: The whole sentence.
        reason: The same in a word or three, by which such files are counted: "truncated", "empty".
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class Unlabelled(DataError):
    """A set of images of which none has a label: nothing to learn from or to judge by, but enough to predict."""


class ModelError(FoveaError, ValueError):
    """A network, a bundle or a checkpoint that does not hold what is asked of it."""

    exit_code = 4


class ShapeError(ModelError):
    """Sizes that do not fit each other; the message carries the numbers."""


class MachineError(FoveaError, OSError):
    """The machine cannot do it: disk, permissions, memory, a missing package."""

    exit_code = 5


class NumbersError(FoveaError, ArithmeticError):
    """NaN or infinity where a number belongs."""

    exit_code = 6


class RunInUse(FoveaError, RuntimeError):
    """Another process holds the run folder."""

    exit_code = 7


class FinishedWithFailures(FoveaError, RuntimeError):
    """The work was finished, except for failures that were named and allowed."""

    exit_code = 8


class Stopped(FoveaError, RuntimeError):
    """A signal stopped the work after it was saved.

    Args:
        message: What was saved, and how to go on.
        signal_number: 2 for Ctrl-C, 15 for a polite kill; the exit code is 128 plus it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # type: ignore[misc]  # the one code that depends on the instance


def require(name: str, value: object, holds: bool, rule: str) -> None:
    """Refuse an option's value outside its range: "epochs (=0) must be 1 or more".

    Raises:
        UsageError: it does not hold.
    """
    if not holds:
        raise UsageError(f"{name} (={value}) must be {rule}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The words " Did you mean ...?" with the closest of the known names, or nothing where none is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""
