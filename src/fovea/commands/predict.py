"""fovea predict: the class of an image, or of every image in a folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fovea.commands.loading import load_model
from fovea.commands.parsing import parse
from fovea.errors import FinishedWithFailures, UnreadableImage, UsageError
from fovea.runtime.find import find_model


@dataclass(frozen=True)
class Predict:
    """Name the class of images, with the probabilities of the likeliest ones."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, a bundle, or a checkpoint of a run."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Image files, or folders of them."""
    top: int = 3
    """How many classes to print for each image."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the network runs."""
    network: str | None = None
    """For a model of a network of your own: file.py:Class; its code runs, a bundle's never does."""
    json: bool = False
    """An object for each image, a line each, with the probability of every class."""


def run(arguments: list[str]) -> int:
    """Print a line for each image; what cannot be read is named, and the rest goes on.

    Raises:
        UsageError: no model or no image is named.
        UnreadableImage: the only image asked for cannot be read.
        FinishedWithFailures: some images cannot be read.
    """
    asked = parse(Predict, "predict", arguments)
    if asked.model is None or not asked.images:
        raise UsageError("name a model and an image, for example: fovea predict runs/latest photo.jpg")
    if asked.top < 1:
        raise UsageError(f"top (={asked.top}) must be 1 or more")
    place = find_model(asked.model)

    from fovea.runtime.predict import find_images, predict_files

    paths = find_images(asked.images)
    failures = 0
    for answer in predict_files(load_model(place, device=asked.device, network=asked.network), paths):
        if isinstance(answer, UnreadableImage):
            if len(paths) == 1:
                raise answer
            failures += 1
            print(f"fovea: {answer}", file=sys.stderr)
        elif asked.json:
            print(json.dumps({"path": answer.path, "label": answer.label, "probabilities": answer.probabilities}))
        else:
            print(answer.line(asked.top))
    if failures:
        raise FinishedWithFailures(f"{failures} of {len(paths)} images could not be read")
    return 0
