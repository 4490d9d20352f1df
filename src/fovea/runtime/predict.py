"""Predictions for files, one at a time or a folder at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fovea.data.ahead import ahead
from fovea.data.pixels import read_image
from fovea.data.sources.folder import SUFFIXES
from fovea.data.sources.imagenet import SYNSET_FOLDER, challenge_classes
from fovea.errors import DataError, UnreadableImage
from fovea.runtime.model import BATCH_SIZE, Model, Predicts, load


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Args:
        path: The file, or the image's place in the array.
        label: The most probable class's name.
        probabilities: The probability of every class by name, in the order of the logits; they sum to 1.
    """

    path: str
    label: str
    probabilities: dict[str, float]

    def line(self, top: int = 3) -> str:
        """The path and the likeliest classes."""
        best = sorted(self.probabilities.items(), key=lambda item: -item[1])[:top]
        return f"{self.path}  {'  '.join(f'{in_words(name)} {probability:.1%}' for name, probability in best)}"

    def __str__(self) -> str:
        return self.line()


@dataclass(frozen=True)
class Decoded:
    """Images of different sizes that are decoded already."""

    arrays: tuple[NDArray[np.generic], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return self.arrays[index]

    def name(self, index: int) -> str:
        """The file's path."""
        return self.names[index]

    def fingerprint(self) -> str:
        """Not needed for predictions."""
        return ""


def predict(
    model: Model | Path | str, images: str | Path | Iterable[str | Path] | NDArray[np.generic]
) -> list[Prediction]:
    """Predictions, one per image, in their order.

    Args:
        model: A model, a run folder or a bundle's folder.
        images: An image file, a folder of them, several of these, or an array (N, H, W) or (N, H, W, C) of uint8.

    Raises:
        DataError: no image, or one that cannot be read.
        ModelError: no bundle, or one that is damaged.
    """
    model = model if isinstance(model, Model) else load(model)
    if isinstance(images, np.ndarray):
        return _predictions(model, Decoded(tuple(images), tuple(f"image/{i}" for i in range(len(images)))))
    answers = []
    for answer in predict_files(model, find_images([images] if isinstance(images, str | Path) else images)):
        if isinstance(answer, UnreadableImage):
            raise answer
        answers.append(answer)
    return answers


def predict_files(model: Predicts, paths: Iterable[Path]) -> Iterator[Prediction | UnreadableImage]:
    """A prediction for each file in its turn, or the error that says why there is none."""
    waiting = iter(paths)
    while group := tuple(islice(waiting, BATCH_SIZE)):
        answers: dict[Path, Prediction | UnreadableImage] = {}
        arrays: dict[Path, NDArray[np.generic]] = {}
        for path, found in zip(group, ahead(_read, group, os.cpu_count() or 1), strict=True):
            if isinstance(found, UnreadableImage):
                answers[path] = found
            else:
                arrays[path] = found
        if arrays:
            decoded = Decoded(tuple(arrays.values()), tuple(map(str, arrays)))
            answers |= dict(zip(arrays, _predictions(model, decoded), strict=True))
        yield from (answers[path] for path in group)


def in_words(name: str) -> str:
    """A class as people read it: one of ImageNet's synsets with its word."""
    word = challenge_classes().get(name) if SYNSET_FOLDER.fullmatch(name) else None
    return name if word is None else f"{name} {word}"


def _read(path: Path) -> NDArray[np.generic] | UnreadableImage:
    try:
        return read_image(path)
    except UnreadableImage as error:
        return error


def find_images(places: Iterable[str | Path]) -> list[Path]:
    """The image files that are named, or lie below the folders named, each once, sorted within a folder.

    Raises:
        DataError: a place that does not exist, or a folder without an image.
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise DataError(f"{place}: holds no image ({', '.join(sorted(SUFFIXES))})")
            found |= dict.fromkeys(inside)
        elif place.exists():
            found[place] = None
        else:
            raise DataError(f"{place}: there is no such file or folder")
    if not found:
        raise DataError("there is no image to predict")
    return list(found)


def _predictions(model: Predicts, images: Decoded) -> list[Prediction]:
    probabilities = torch.softmax(model.logits(images).double(), dim=1)
    return [
        Prediction(
            images.name(i),
            model.classes[int(row.argmax())],
            dict(zip(model.classes, row.tolist(), strict=True)),
        )
        for i, row in enumerate(probabilities)
    ]
