"""The ways from weights to a classifier of one's own, by name. Imports no torch: the command line reads it."""

from __future__ import annotations

from typing import NamedTuple

from fovea.errors import UsageError, suggestion

FIXED = ("probe", "svm", "knn")
ORDER = (*FIXED, "gradual", "finetune", "both", "lower", "scratch")  # from the simplest on
DEFAULT = "scratch,lower:3,probe,svm,knn,finetune"
MEANING = {
    "scratch": "fresh weights, everything trained: the reference",
    "lower": "lower:3 takes the three lowest stages over, the rest is fresh; everything trained",
    "probe": "a linear classifier of fixed features (of probe:STAGE those of a stage, pooled)",
    "svm": "a linear support vector machine of them",
    "knn": "the nearest neighbours among them",
    "finetune": "everything trained from the weights on (finetune:STAGE from that stage upwards)",
    "gradual": "fine-tuning that begins with the head and thaws stage after stage",
    "both": "the probe first, then fine-tuning from its head on",
}


class Way(NamedTuple):
    """One way.

    Args:
        kind: Its name.
        stage: A stage's name or number, where the way takes one; "" for what is usual.
    """

    kind: str
    stage: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.stage}" if self.stage else self.kind

    @property
    def folder(self) -> str:
        """Where its run lies."""
        return str(self).replace(":", "_").replace("/", "_")


def parse_ways(text: str) -> tuple[Way, ...]:
    """The ways that a text such as "scratch,lower:3,probe" names, each once, in its order.

    Raises:
        UsageError: no way, or one that there is not.
    """
    found: dict[Way, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, colon, stage = part.partition(":")
        if kind not in MEANING:
            raise UsageError(f"no way is called {kind!r}; there are {', '.join(MEANING)}.{suggestion(kind, MEANING)}")
        if kind == "lower" and not stage:
            raise UsageError("lower wants the number of stages that are taken over, or the last one's name: lower:3")
        if colon and (not stage or kind in ("scratch", "gradual", "both")):
            raise UsageError(
                f"{part!r} must be {kind} alone" if stage else f"{part!r} must name a stage behind the colon"
            )
        found[Way(kind, stage)] = None
    if not found:
        raise UsageError(f"ways (={text}) must name one at least: {', '.join(MEANING)}")
    return tuple(found)
