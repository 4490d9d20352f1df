"""The ImageNet challenge by year, 2010 to 2017: who won with what, how well, on which machines. Read without torch.

The figures stand in `history.json`, each with its source; "from memory" there means that nobody opened one.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

MEMORY = "†"


class Figure(NamedTuple):
    """A number and where it comes from."""

    value: float
    source: str

    @property
    def mark(self) -> str:
        """A dagger where the number itself is from memory."""
        return MEMORY if self.source.startswith("from memory") else ""


class Statement(NamedTuple):
    """A few words and where they come from."""

    words: str
    source: str


class Slip(NamedTuple):
    """What a lecture says, and what is so."""

    said: str
    truth: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Year:
    """One year's classification task; errors are top-5 on the test images, in per cent."""

    year: int
    winner: str
    network: str | None  # None: no network
    method: str
    error: Figure
    runner_up: str
    runner_up_error: Figure
    hardware: Statement | None  # of one network; None: not found
    duration: Statement | None


@dataclass(frozen=True, kw_only=True)
class History:
    """The whole challenge; prints itself."""

    data: dict[str, Figure]
    human_error: Figure  # top-5, in per cent
    human_note: str
    years: list[Year]
    slips: list[Slip]

    def __str__(self) -> str:
        rows = [("year", "winner", "network", "error", "runner-up", "error", "machines", "time")]
        rows += [
            (
                str(y.year),
                y.winner,
                y.network or "none",
                f"{y.error.value}{y.error.mark or ' '}",
                y.runner_up,
                f"{y.runner_up_error.value}{y.runner_up_error.mark or ' '}",
                y.hardware.words if y.hardware else "not found",
                y.duration.words if y.duration else "not found",
            )
            for y in self.years
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(8)]
        form = "  ".join(f"{{:{'>' if i in (3, 5) else '<'}{width}}}" for i, width in enumerate(widths))
        return "\n".join([*(form.format(*row).rstrip() for row in rows), "", *self._notes()])

    def _notes(self) -> list[str]:
        human = self.human_error
        return [
            f"errors: top-5 on the test images, in per cent; {MEMORY} from memory; sources: with --json",
            f"human error: {human.value}{human.mark} ({self.human_note}) [{human.source}]",
            "data: " + "; ".join(f"{figure.value:,} {what}" for what, figure in self.data.items()),
            *(f"{y.year}: {y.method}" for y in self.years),
            *(f"said in a lecture: {slip.said}; in truth: {slip.truth} [{slip.source}]" for slip in self.slips),
        ]


@functools.cache
def history() -> History:
    """The challenge's results by year, from the file beside this one."""
    text = resources.files("fovea.architectures").joinpath("history.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return History(
        data={what: Figure(*figure) for what, figure in read["data"].items()},
        human_error=Figure(*read["human"]["error"]),
        human_note=read["human"]["note"],
        years=[_year(**each) for each in read["years"]],
        slips=[Slip(**each) for each in read["slips"]],
    )


def _year(**read: Any) -> Year:
    for figure in ("error", "runner_up_error"):
        read[figure] = Figure(*read[figure])
    for words in ("hardware", "duration"):
        read[words] = Statement(*read[words]) if read[words] else None
    return Year(**read)
