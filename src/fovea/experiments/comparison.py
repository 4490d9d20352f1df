"""Networks beside each other at the same budget: what each reached, what it cost, and which are worth their cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fovea.evaluation.metrics import wilson_interval
from fovea.evaluation.seeds import over_seeds
from fovea.experiments.ablation import CURVES, curves_of, table
from fovea.experiments.arms import Label
from fovea.experiments.records import Records, Row
from fovea.files import write_durably
from fovea.pictures.many_curves import many_curves
from fovea.pictures.pareto import Point, pareto

FRONT = "pareto.png"
COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds for an image",
    "memory": "memory of a training step (bytes)",
    "seconds": "seconds of training",
}


class Standing(NamedTuple):
    """A network among others.

    Args:
        label: Which.
        accuracy: Mean over its seeds, in [0, 1].
        low, high: Its 95 % interval: by Student's t over two seeds or more, of one by Wilson over the images.
        seeds: How many did not diverge.
        diverged: How many did.
        costs: By the names of COSTS; the median over the seeds, None where unknown.
        front: The costs for which no other network is both cheaper or as cheap, and better.
    """

    label: Label
    accuracy: float
    low: float
    high: float
    seeds: int
    diverged: int
    costs: dict[str, float | None]
    front: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Networks that had the same budget; prints itself as a table.

    Args:
        records: Their runs.
        images: How many judged each.
    """

    records: Records
    images: int

    @property
    def standings(self) -> list[Standing]:
        """Each network that did not diverge with every seed, the best first."""
        found = [each for label in self.records.labels if (each := self._standing(label)) is not None]
        found.sort(key=lambda each: -each.accuracy)
        return [each._replace(front=tuple(cost for cost in COSTS if _on_front(each, found, cost))) for each in found]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        standings = [each._asdict() | {"label": each.label._asdict()} for each in self.standings]
        return {
            "plan": dict(self.records.plan),
            "networks": standings,
            "runs": [row._asdict() for row in self.records.rows],
        }

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [
            ("", "accuracy", "95 % interval", "seeds", "parameters", "multiply-adds", "memory", "seconds")
        ]
        for each in self.standings:
            marked = {cost: " *" if cost in each.front else "  " for cost in COSTS}
            shown = [_count(each.costs[cost]) + marked[cost] for cost in COSTS]
            interval = f"{100 * each.low:.2f} to {100 * each.high:.2f}"
            seeds = f"{each.seeds}" + (f" ({each.diverged} diverged)" if each.diverged else "")
            lines.append((str(each.label), f"{100 * each.accuracy:.2f} %", interval, seeds, *shown))
        lost = [str(label) for label in self.records.labels if self._standing(label) is None]
        said = [f"diverged with every seed: {', '.join(lost)}"] if lost else []
        return "\n".join([table(lines), "* no other is both as cheap by this cost and more accurate", *said])

    def draw(self, folder: Path, *, title: str) -> list[Path]:
        """Pictures of accuracy against each cost with its Pareto front, and of the curves; returns their paths."""
        standings = self.standings
        points = [
            Point(str(each.label), 100 * each.accuracy, 100 * each.low, 100 * each.high, each.costs, each.front)
            for each in standings
        ]
        made = {CURVES: many_curves(curves_of(self.records), title=title)}
        if points:
            made[FRONT] = pareto(points, COSTS, title=title)
        for name, picture in made.items():
            write_durably(folder / name, picture)
        return [folder / name for name in made]

    def _standing(self, label: Label) -> Standing | None:
        rows = self.records.of(label)
        values = [row.accuracy for row in rows if row.accuracy is not None]
        if not values:
            return None
        mean = statistics.mean(values)
        if len(values) > 1:
            half = over_seeds(values).half
            low, high = max(0.0, mean - half), min(1.0, mean + half)
        else:
            low, high = wilson_interval(round(mean * self.images), self.images)
        costs = {cost: _median(rows, cost) for cost in COSTS}
        return Standing(label, mean, low, high, len(values), len(rows) - len(values), costs, ())


def _median(rows: Sequence[Row], cost: str) -> float | None:
    values = [value for row in rows if row.accuracy is not None and (value := getattr(row, cost)) is not None]
    return float(statistics.median(values)) if values else None


def _on_front(one: Standing, others: Sequence[Standing], cost: str) -> bool:
    own = one.costs[cost]
    if own is None:
        return False
    for other in others:
        theirs = other.costs[cost]
        if other is one or theirs is None:
            continue
        at_least = theirs <= own and other.accuracy >= one.accuracy
        if at_least and (theirs < own or other.accuracy > one.accuracy):
            return False
    return True


def _count(number: float | None) -> str:
    if number is None:
        return "unknown"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
