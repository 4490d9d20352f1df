"""Several models judged on the same images: over seeds, compared with the first, and averaged as an ensemble."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from torch import Tensor

from fovea.commands.evaluate import Evaluate
from fovea.commands.judging import Judged
from fovea.errors import UsageError
from fovea.evaluation.ensembles import aligned, averaged, contributions, fitted_weights, greedy
from fovea.evaluation.judge import evaluate
from fovea.evaluation.scores import Scores, score
from fovea.evaluation.seeds import over_seeds
from fovea.evaluation.statistics import compare


class Said(NamedTuple):
    """What follows of several models: for machines, and in words."""

    facts: dict[str, Any]
    words: str

    def line(self, asked: Evaluate) -> str:
        """What the command prints of it."""
        return json.dumps(self.facts) if asked.json else self.words


def together(asked: Evaluate, judged: Sequence[Judged]) -> Iterator[Said]:
    """All that was asked of several models at once: over seeds, as an ensemble, compared.

    Raises:
        UsageError: they were not judged on the same images; no validation split to fit weights on.
        DataError: their classes are not the same.
    """
    yield from _over_seeds(judged)
    whole = None
    if asked.ensemble:
        said, whole = _ensembled(asked, judged)
        yield said
    if asked.compare:
        yield from _compared(asked, judged, whole)


def _over_seeds(judged: Sequence[Judged]) -> Iterator[Said]:
    """Models that differ in their seed alone: mean, spread and interval of each such group."""
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(_recipe(each), []).append(each)
    for group in groups.values():
        known = {each.seed for each in group}
        if len(group) > 1 and len(known) == len(group) and None not in known:
            found, first = over_seeds([each.scores.top1 for each in group]), group[0]
            facts = {"seeds": [each.name for each in group], "split": first.split.name} | asdict(found)
            yield Said(facts, f"{first.bundle.name} on {first.data.name}, {first.split.name}: top-1 {found}")


def _compared(asked: Evaluate, judged: Sequence[Judged], ensemble: Scores | None) -> Iterator[Said]:
    """Each further model against the first, and their ensemble against each."""
    check_same_images(judged)
    first, *others = judged
    pairs = [(first.name, first.scores, other.name, other.scores) for other in others]
    if ensemble is not None:
        pairs += [(each.name, each.scores, "the ensemble", ensemble) for each in judged]
    for name, scores, other_name, other_scores in pairs:
        found = compare(scores.right, other_scores.right, seed=asked.seed)
        yield Said({"compare": [name, other_name]} | asdict(found), found.sentence(name, other_name))


def _ensembled(asked: Evaluate, judged: Sequence[Judged]) -> tuple[Said, Scores]:
    """The scores of all models as one, and what each of them adds to an ensemble of equal weights."""
    check_same_images(judged)
    first = judged[0].scores
    members = _members([each.scores for each in judged])
    weights = _weights(asked, judged)
    whole = score(averaged(members, weights).float(), first.labels, split=first.split, classes=first.classes)
    each_adds = contributions(members, first.labels)
    names = [each.name for each in judged]
    facts: dict[str, Any] = {"ensemble": names, "weights": list(weights), "split": first.split}
    facts |= whole.summary() | {"top1_without": [each.top1_without for each in each_adds]}
    lines = [f"ensemble of {len(names)} ({asked.members} weights) on {judged[0].data.name}, {whole}"]
    if asked.members != "equal":
        lines += [f"  weight {weight:.3f}  {name}" for name, weight in zip(names, weights, strict=True)]
    lines += ["  of equal weights:", *(f"  {each.sentence(name)}" for name, each in zip(names, each_adds, strict=True))]
    return Said(facts, "\n".join(lines)), whole


def _recipe(judged: Judged) -> str:
    """What a model was made by and judged on, but for its seed."""
    made = judged.bundle.provenance
    training = {name: value for name, value in made.get("training", {}).items() if name != "seed"}
    told = [judged.bundle.name, training, made.get("data"), made.get("teacher"), judged.data.fingerprint()]
    return json.dumps([*told, judged.split.name, judged.how], sort_keys=True, default=str)


def check_same_images(judged: Sequence[Judged]) -> None:
    """Refuse models that were judged on different images.

    Raises:
        UsageError: they were.
    """
    first = judged[0]
    for other in judged[1:]:
        if (other.data.fingerprint(), other.split.name) != (first.data.fingerprint(), first.split.name):
            raise UsageError(
                f"{other.name} was judged on {other.data.name} and {first.name} on {first.data.name}, cut in another "
                f"way or of other images; name the data for both with --data (and --cut)"
            )


def _members(scores: Sequence[Scores]) -> list[Tensor]:
    """Every model's logits in the order of the first one's classes."""
    return [aligned(each.logits, each.classes, scores[0].classes) for each in scores]


def _weights(asked: Evaluate, judged: Sequence[Judged]) -> tuple[float, ...]:
    count = len(judged)
    if asked.members == "equal":
        return (1 / count,) * count
    validation = judged[0].data.validation
    if validation is None or judged[0].split.name == validation.name:
        raise UsageError(
            f"--members {asked.members} fits weights on a validation split that is not the one judged; "
            f"{judged[0].data.name} has none left: use --members equal, or cut one with --cut"
        )
    scores = [evaluate(each.model, validation) for each in judged]
    members, labels = _members(scores), scores[0].labels
    if asked.members == "fitted":
        return tuple(float(weight) for weight in fitted_weights(members, labels))
    chosen = Counter(greedy(members, labels))
    return tuple(chosen[place] / chosen.total() for place in range(count))
