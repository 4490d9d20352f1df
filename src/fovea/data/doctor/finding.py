"""What a doctor's report is made of: the data set under examination, and one finding of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fovea.data.index import SPLITS, Index
from fovea.data.reading import printable

Severity = Literal["bad", "warning", "note"]
Pixels = Callable[[int], NDArray[np.uint8]]
LISTED: Final = 1000  # examples that are kept, of findings that are no fault of a file


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Args:
        severity: "bad" for files that cannot be used, which makes the exit code; "warning"; "note".
        kind: In a word or three, for machines: "cannot be decoded", "identical across splits".
        title: What, and how much of it, in a line.
        advice: What to do next.
        count: How many files, groups or classes it is.
        examples: One each, in its parts: a path and what is wrong, or the members of a group; of bad files all, else
            the first LISTED.
        joint: What stands between the parts.
        groups: The rows of the same, for pictures.
    """

    severity: Severity
    kind: str
    title: str
    advice: str
    count: int
    examples: tuple[tuple[str, ...], ...] = ()
    joint: str = ": "
    groups: tuple[tuple[int, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the rows; an example of one part is that part."""
        named = {name: getattr(self, name) for name in ("severity", "kind", "title", "advice", "count")}
        return named | {"examples": [list(parts) if len(parts) > 1 else parts[0] for parts in self.examples]}


@dataclass(frozen=True)
class Patient:
    """A data set under examination.

    Args:
        index: What is known of its files.
        splits: The split of every row after cutting, as its place in SPLITS; -1 for none.
        pixels: Decodes a row to (height, width, 3); None where nothing may be decoded.
    """

    index: Index
    splits: NDArray[np.int8]
    pixels: Pixels | None = None

    @cached_property
    def usable(self) -> NDArray[np.int64]:
        """Rows that can be decoded and have a label."""
        good = np.ones(len(self.index), bool)
        good[self.index.bad()] = False
        return np.flatnonzero(good)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Usable images of each label, in each of SPLITS and, last, in none of them: (labels, splits + 1)."""
        table = np.zeros((len(self.index.label_names), len(SPLITS) + 1), np.int64)
        np.add.at(table, (self.index.labels[self.usable], self.splits[self.usable]), 1)  # -1 is the last
        return table

    def label(self, row: int) -> str:
        """The name of a row's class, "" where it has none."""
        label = int(self.index.labels[row])
        return self.index.label_names[label] if label >= 0 else ""

    def split(self, row: int) -> str:
        """The name of a row's split, "" where it has none."""
        place = int(self.splits[row])
        return SPLITS[place] if place >= 0 else ""

    def path(self, row: int) -> str:
        """A row's path on one line that any terminal prints."""
        return printable(self.index.paths[row])
