"""The pictures of a finished run, and a few held-out images to try predictions on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fovea import pictures
from fovea.data.colour import in_colour
from fovea.data.fitted import Fitted
from fovea.data.sets import FileImages, Split
from fovea.evaluation.metrics import predicted
from fovea.evaluation.scores import Scores
from fovea.files import write_durably
from fovea.runtime.model import Model, network_logits

MISTAKES = 25
HELD_OUT, SAMPLES = "held_out", 10


def draw(
    run: Path, model: Model, history: Sequence[dict[str, Any]], scores: Scores, split: Split, fitted: Fitted
) -> None:
    """Write learning curves, confusion matrix, the most confident mistakes, the first filters, some held-out images."""
    title = f"{model.bundle.name} on {scores.split}"
    write_durably(run / "learning_curves.png", pictures.learning_curves(history, title=model.bundle.name))
    matrix = pictures.confusion_matrix(scores.confusion, scores.classes, title=title)
    write_durably(run / "confusion_matrix.png", matrix)
    write_durably(run / "mistakes.png", _mistakes(model, split, fitted))
    first = next((m for m in model.network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None:
        weights = first.weight.detach().float().cpu().numpy()
        write_durably(run / "filters.png", pictures.filters(weights, title=f"{model.bundle.name}, first convolution"))
    _held_out(run / HELD_OUT, split)


def _mistakes(model: Model, split: Split, fitted: Fitted) -> bytes:
    logits = network_logits(model.network, fitted, model.device)
    probabilities, said = torch.softmax(logits, dim=1), predicted(logits)
    confidence = probabilities[torch.arange(len(said)), said].numpy()
    wrong = np.flatnonzero(said.numpy() != split.labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return pictures.mistakes(
        [in_colour(split.images[int(i)]) for i in shown],
        [split.classes[int(split.labels[i])] for i in shown],
        [split.classes[int(said[i])] for i in shown],
        [float(confidence[i]) for i in shown],
        title=f"{model.bundle.name}: {len(wrong)} of {len(split)} {split.name} images wrong",
    )


def _held_out(folder: Path, split: Split) -> None:
    """A few images as PNG files; not for images that lie in files already."""
    images = getattr(split.images, "images", split.images)
    first = np.asarray(split.images[0])
    if isinstance(images, FileImages) or first.dtype != np.uint8 or (first.ndim == 3 and first.shape[2] not in (1, 3)):
        return
    for i in range(min(SAMPLES, len(split))):
        content = io.BytesIO()
        Image.fromarray(np.squeeze(split.images[i])).save(content, "PNG")
        name = split.classes[int(split.labels[i])].replace("/", "_")[:40]  # a file name has at most 255 bytes
        write_durably(folder / f"{split.name}_{i:02}_{name}.png", content.getvalue())
