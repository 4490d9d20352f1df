"""What an idea is worth: matched pairs over seeds, effect and interval, and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fovea.evaluation.seeds import over_seeds
from fovea.experiments.arms import Label
from fovea.experiments.records import Records, Row
from fovea.files import write_durably
from fovea.pictures.effects import Interval, effects_plot
from fovea.pictures.layer_norms import layer_norms
from fovea.pictures.many_curves import Curve, many_curves

EFFECTS, CURVES, GRADIENTS = "effects.png", "curves.png", "gradients.png"


class Effect(NamedTuple):
    """What an arm lacks without its idea.

    Args:
        label: The arm without the idea.
        accuracies: What it reached, seed by seed, in [0, 1]; of the seeds that did not diverge.
        differences: Accuracy with the idea less accuracy without it, of the seeds that both have.
        mean: Of the differences; None where there is none.
        half: Half the width of the mean's 95 % interval, by Student's t on the pairs; None of fewer than two.
        diverged: How many seeds came to numbers that were not finite.
    """

    label: Label
    accuracies: tuple[float, ...]
    differences: tuple[float, ...]
    mean: float | None
    half: float | None
    diverged: int


@dataclass(frozen=True)
class Ablation:
    """The matched pairs of a set of records; prints itself as a table.

    Args:
        records: The runs.
    """

    records: Records

    @property
    def effects(self) -> list[Effect]:
        """Of each arm that lacks something, against the one of the same network and setting that lacks nothing."""
        return [
            _effect(label, self.records.of(label._replace(without="")), self.records.of(label))
            for label in self.records.labels
            if label.without
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        effects = [effect._asdict() | {"label": effect.label._asdict()} for effect in self.effects]
        return {
            "plan": dict(self.records.plan),
            "effects": effects,
            "runs": [row._asdict() for row in self.records.rows],
        }

    def __str__(self) -> str:
        effects = {effect.label: effect for effect in self.effects}
        lines = [("", "accuracy", "effect of the idea", "parameters", "multiply-adds", "time")]
        for label in self.records.labels:
            rows, whole = self.records.of(label), self.records.of(label._replace(without=""))
            lines.append((str(label), _reached(rows), _worth(effects.get(label)), *_costs(rows, whole)))
        return table(lines)

    def draw(self, folder: Path, *, title: str) -> list[Path]:
        """Pictures of the effects, the curves, and the gradients where layers were watched; returns their paths."""
        made = {CURVES: many_curves(curves_of(self.records), title=title)}
        intervals = [
            Interval(_told(effect.label), 100 * effect.mean, 100 * effect.half if effect.half is not None else None)
            for effect in self.effects
            if effect.mean is not None
        ]
        if intervals:
            made[EFFECTS] = effects_plot(intervals, title=f"{title}: what each idea is worth")
        if self.records.layers:
            made[GRADIENTS] = layer_norms(norms_of(self.records), title=f"{title}: gradients layer by layer")
        for name, picture in made.items():
            write_durably(folder / name, picture)
        return [folder / name for name in made]


def curves_of(records: Records) -> list[Curve]:
    """The epochs of each arm, seed by seed."""
    alone = len({label.network for label in records.labels}) == 1
    found = []
    for label in records.labels:
        seeds = [
            [each for each in records.epochs if each[:3] == label and each.seed == row.seed]
            for row in records.of(label)
        ]
        if runs := [run for run in seeds if run]:
            found.append(
                Curve(
                    _shown(label, alone),
                    [[epoch.loss for epoch in run] for run in runs],
                    [[epoch.accuracy for epoch in run] for run in runs],
                    [[epoch.validation_accuracy for epoch in run] for run in runs],
                )
            )
    return found


def norms_of(records: Records) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """By "first epoch" and "last epoch", by arm, the mean gradient norm of each layer with weights, in order."""
    epochs = [layer.epoch for layer in records.layers]
    alone = len({label.network for label in records.labels}) == 1
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for when, epoch in {"first epoch": min(epochs), "last epoch": max(epochs)}.items():
        for label in records.labels:
            norms: dict[str, list[float]] = {}
            for layer in records.layers:
                if layer[:3] == label and layer.epoch == epoch and layer.gradient_norm is not None:
                    norms.setdefault(layer.layer, []).append(layer.gradient_norm)
            if norms:
                means = [(name, statistics.mean(each)) for name, each in norms.items()]
                found.setdefault(when, {})[_shown(label, alone)] = means
    return found


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _effect(label: Label, whole: Sequence[Row], lacking: Sequence[Row]) -> Effect:
    reached = {row.seed: row.accuracy for row in whole if row.accuracy is not None}
    pairs = [reached[row.seed] - row.accuracy for row in lacking if row.accuracy is not None and row.seed in reached]
    half = over_seeds(pairs).half if len(pairs) > 1 else None
    return Effect(
        label=label,
        accuracies=tuple(row.accuracy for row in lacking if row.accuracy is not None),
        differences=tuple(pairs),
        mean=statistics.mean(pairs) if pairs else None,
        half=half,
        diverged=sum(bool(row.diverged) for row in lacking),
    )


def _told(label: Label) -> str:
    return ", ".join(part for part in (label.without, label.setting) if part)


def _shown(label: Label, alone: bool) -> str:
    """The arm's name in a legend; where all are of one network, what it lacks."""
    if not alone:
        return str(label)
    lacks = f"without {label.without}" if label.without else "as it is"
    return ", ".join(part for part in (lacks, label.setting) if part)


def _reached(rows: Sequence[Row]) -> str:
    values = [row.accuracy for row in rows if row.accuracy is not None]
    diverged = len(rows) - len(values)
    parts = [f"{100 * statistics.mean(values):.2f} %"] if values else []
    if len(values) > 1:
        parts[0] += f" ± {100 * statistics.stdev(values):.2f}"
    parts += [f"{diverged} of {len(rows)} diverged"] if diverged else []
    return ", ".join(parts)


def _worth(effect: Effect | None) -> str:
    if effect is None or effect.mean is None:
        return ""
    mean = 100 * effect.mean
    if effect.half is None:
        return f"{mean:+.2f} (one pair)"
    half = 100 * effect.half
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def _costs(rows: Sequence[Row], whole: Sequence[Row]) -> tuple[str, str, str]:
    """Parameters, multiply-adds, and the time of the training over that of the whole."""
    row = next((row for row in rows if row.parameters), None)
    if row is None:
        return "", "", ""
    times = [
        row.seconds / other.seconds * other.epochs / row.epochs
        for row, other in zip(rows, whole, strict=False)
        if row.seconds and other.seconds and row.epochs and other.epochs
    ]
    macs = f"{row.multiply_adds:,}" if row.multiply_adds is not None else "unknown"
    return f"{row.parameters:,}", macs, f"{statistics.median(times):.2f}" if times else ""
