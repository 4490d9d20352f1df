"""Several models judged on the same images: compared with the first, and averaged as an ensemble."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from fovea.commands.evaluate import Evaluate
from fovea.commands.judging import Judged
from fovea.errors import UsageError
from fovea.evaluation.ensembles import aligned, averaged, contributions, fitted_weights, greedy
from fovea.evaluation.judge import evaluate
from fovea.evaluation.scores import Scores, score
from fovea.evaluation.statistics import compare


def compared(asked: Evaluate, judged: Sequence[Judged]) -> Iterator[str]:
    """Each further model against the first, in words or for machines.

    Raises:
        UsageError: they were not judged on the same images.
    """
    check_same_images(judged)
    first, *others = judged
    for other in others:
        found = compare(first.scores.right, other.scores.right, seed=asked.seed)
        if asked.json:
            yield json.dumps({"compare": [first.name, other.name]} | asdict(found))
        else:
            yield found.sentence(first.name, other.name)


def ensembled(asked: Evaluate, judged: Sequence[Judged]) -> str:
    """The scores of all models as one, and what each of them adds to an ensemble of equal weights.

    Raises:
        UsageError: they were not judged on the same images; no validation split to fit weights on.
        DataError: their classes are not the same.
    """
    check_same_images(judged)
    first = judged[0].scores
    members = _members([each.scores for each in judged])
    weights = _weights(asked, judged)
    whole = score(averaged(members, weights).float(), first.labels, split=first.split, classes=first.classes)
    each_adds = contributions(members, first.labels)
    names = [each.name for each in judged]
    if asked.json:
        told: dict[str, Any] = {"ensemble": names, "weights": list(weights), "split": first.split}
        return json.dumps(told | whole.summary() | {"top1_without": [each.top1_without for each in each_adds]})
    lines = [f"ensemble of {len(names)} ({asked.members} weights) on {judged[0].data.name}, {whole}"]
    lines += [
        f"  weight {weight:.3f}; {each.sentence(name)}"
        for name, weight, each in zip(names, weights, each_adds, strict=True)
    ]
    return "\n".join(lines)


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
