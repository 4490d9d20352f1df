"""Judging: something that predicts, on a split whose classes it knows, gives scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from fovea.data.arrays import images_of_arrays
from fovea.data.sets import Split
from fovea.errors import DataError, UsageError, suggestion
from fovea.evaluation.protocols import seen
from fovea.evaluation.scores import Scores, score
from fovea.runtime.model import Model, Predicts, as_model


def evaluate(model: Predicts | nn.Module, data: Split | tuple[Any, Any], *, protocol: str = "centre") -> Scores:
    """Judge a model on images with labels.

    Args:
        model: What `fovea.load` or `Run.model` gives; or any module, which then receives pixels scaled to [0, 1].
        data: A split such as `data.test`; or a pair (images, labels), whose labels index the model's classes.
        protocol: How one image becomes several views whose probabilities are averaged: centre, flip, airbench_6,
            five, ten, googlenet_144, vgg_150, random (16 views) or dense. `evaluation.protocols.seen` has more choices.

    Raises:
        UsageError: an unknown protocol, or one other than centre for what is neither a module nor a `Model`.
        ModelError, ShapeError: the network or the images do not take the protocol.
        DataError: the data has a class that the model does not know.
    """
    split = data if isinstance(data, Split) else _split(model, *data)
    judged = as_model(model, split.images, split.classes) if isinstance(model, nn.Module) else model
    labels = matched_labels(split, judged.classes)
    if protocol != "centre":
        if not isinstance(judged, Model):
            raise UsageError(f"protocol {protocol!r} wants a fovea.Model or a module, not a {type(judged).__name__}")
        judged = seen(judged, protocol)
    return score(judged.logits(split.images), labels, split=split.name, classes=judged.classes)


def matched_labels(split: Split, classes: tuple[str, ...]) -> Int[Tensor, "n"]:
    """The split's labels as indices of a model's classes, matched by name, never by position.

    Raises:
        DataError: the split has a class that the model does not know.
    """
    places = {name: index for index, name in enumerate(classes)}
    unknown = [name for name in split.classes if name not in places]
    if unknown:
        raise DataError(
            f"the data's {split.name} split has classes the model was not trained on: {', '.join(unknown[:10])}; "
            f"it knows {', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}.{suggestion(unknown[0], classes)}"
        )
    positions = np.asarray([places[name] for name in split.classes], np.int64)
    return torch.from_numpy(positions[split.labels])


def _split(model: Predicts | nn.Module, images: Any, labels: Any) -> Split:
    array, indices = images_of_arrays(images, labels)
    count = getattr(model, "num_classes", int(indices.max()) + 1)
    classes = tuple(map(str, range(count))) if isinstance(model, nn.Module) else model.classes
    if indices.max() >= len(classes):
        raise UsageError(f"label {indices.max()} is beyond the model's {len(classes)} classes; labels count from 0")
    return Split("given", array, indices, classes)
