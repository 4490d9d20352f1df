"""What a comparison of ways found: a table, the winner, paired tests, and whether the lecture's advice held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fovea.evaluation.statistics import LIKELY, Comparison, compare
from fovea.files import BUNDLE_FOLDER
from fovea.transfer.advice import Quadrant
from fovea.transfer.trying import Tried
from fovea.transfer.ways import ORDER

SMALLEST_P = 1e-30  # below it nobody reads the exponent
HEADINGS = ("way", "chosen by what was left out of train", "left out", "judged", "95 % interval", "minutes", "memory")
PAIRED = ("difference", "95 % interval", "McNemar's p", "it alone right", "the winner alone", "would have counted from")


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What the ways reached; prints itself as a table.

    Args:
        title: From what, on what.
        tried: Each way, in the order asked for.
        winner: The simplest of those within one standard error of the best on images left out of train.
        kept: The winner, or the best of those that a network can hold; None where none can.
        quadrant: Where the data stands in the lecture's table.
        folder: Where everything lies.
    """

    title: str
    tried: tuple[Tried, ...]
    winner: Tried
    kept: Tried | None
    quadrant: Quadrant
    folder: Path

    def against(self, tried: Tried) -> Comparison:
        """A way against the winner, on the images that judge."""
        return compare(self.winner.scores.right, tried.scores.right)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        ways = [
            {
                "way": str(each.way),
                "chosen": each.chosen,
                "left_out": each.left_out,
                "left_out_images": each.left_out_images,
                "judged": each.scores.summary(),
                "p_against_winner": None if each is self.winner else self.against(each).p_value,
                "seconds": round(each.seconds, 1),
                "memory": each.memory,
            }
            for each in self.tried
        ]
        return {
            "title": self.title,
            "judged_on": {"split": self.winner.scores.split, "images": self.winner.scores.images},
            "ways": ways,
            "winner": str(self.winner.way),
            "kept": str(self.kept.way) if self.kept else None,
            "quadrant": {"name": self.quadrant.name, "advice": self.quadrant.advice, "verdict": self.verdict},
            "folder": str(self.folder),
        }

    @property
    def verdict(self) -> str:
        """Whether the figures bear the lecture's advice out."""
        advised = [each for each in self.tried if self.quadrant.advises(each.way)]
        others = [each for each in self.tried if each not in advised]
        if not advised or not others:
            which = "only they were" if advised else "none of the advised was"
            return f"not to be told from these ways: {which} tried"
        best, rival = (max(those, key=lambda each: each.scores.top1) for those in (advised, others))
        found = compare(rival.scores.right, best.scores.right)
        pair = f"{best.way} {best.scores.top1:.2%}, {rival.way} {rival.scores.top1:.2%}, p {_p(found.p_value)}"
        if found.p_value > LIKELY:
            return f"neither borne out nor refuted: {pair}"
        return f"{'borne out' if found.difference > 0 else 'refuted'} by the figures: {pair}"

    def __str__(self) -> str:
        judged, others = self.winner.scores, [each for each in self.tried if each is not self.winner]
        lines = [self.title, f"judged on {judged.split}: {judged.images:,} images, which chose nothing", ""]
        lines += _table([HEADINGS, *(_reached(each) for each in self.tried)], left=2)
        if others:
            pairs = [(str(each.way), *_paired(self.against(each))) for each in others]
            lines += ["", *_table([(f"against {self.winner.way}", *PAIRED), *pairs], left=1)]
        how = "of those within a standard error of the best on images left out, the simplest"
        lines += ["", f"winner   {self.winner.way}: {how}"]
        if self.kept is not self.winner:
            what = f"{self.kept.way} is kept in its stead" if self.kept else "so nothing is kept"
            lines += [f"         no network of ours holds it in its output layer; {what}"]
        lines += [f"lecture  {self.quadrant.name}: {self.quadrant.advice}", f"         {self.verdict}"]
        if self.kept:
            lines += [f"bundle   {self.folder / BUNDLE_FOLDER}"]
        return "\n".join(lines)


def _reached(tried: Tried) -> tuple[str, ...]:
    low, high = tried.scores.top1_interval
    return (
        str(tried.way),
        tried.chosen,
        f"{tried.left_out:.2%} of {tried.left_out_images:,}",
        f"{tried.scores.top1:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{tried.seconds / 60:.2f}",
        "" if tried.memory is None else f"{tried.memory / 1e6:,.0f} MB",
    )


def _paired(found: Comparison) -> tuple[str, ...]:
    """A way against the winner, and the smallest difference that would have counted where they disagree so often."""
    low, high = found.interval
    return (
        f"{found.difference:+.2%}",
        f"{low:+.2%} to {high:+.2%}",
        _p(found.p_value),
        f"{found.second_only:,}",
        f"{found.first_only:,}",
        "none: fewer than 6" if found.smallest is None else f"{found.smallest:.2%}",
    )


def _p(value: float) -> str:
    return f"{value:.2g}" if value > SMALLEST_P else f"below {SMALLEST_P:g}"


def _table(rows: Sequence[tuple[str, ...]], *, left: int) -> list[str]:
    """Lines of a table, so many of its first columns aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{text:<{width}}" if place < left else f"{text:>{width}}"
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def simplest_of_the_best(tried: Sequence[Tried]) -> Tried:
    """Of those within one standard error of the best, on images left out of train, the simplest; of equals the first.

    Simple is what trains least: from a probe by way of fine-tuning to scratch, as `ORDER` has them.

    The error is Agresti's and Coull's, with four images more, half of them right: where all are right it is not 0.

    Source: Breiman, Friedman, Olshen and Stone 1984, "Classification and regression trees", section 3.4.3.
    """
    best = max(tried, key=lambda each: each.left_out)
    images = best.left_out_images + 4
    share = (best.left_out * best.left_out_images + 2) / images
    error = math.sqrt(share * (1 - share) / images)
    close = [each for each in tried if each.left_out >= best.left_out - error]
    return min(close, key=lambda each: ORDER.index(each.way.kind))
