"""What a data set shows of a network: units, maps of feature space, likeness of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.explain.projecting import Projections
from fovea.explain.showing import Showing
from fovea.explain.similarity import Similarity
from fovea.explain.spaces import FeatureSpace
from fovea.explain.units import Excited, Units
from fovea.pictures.feature_space import feature_space
from fovea.pictures.page import Picture
from fovea.pictures.similarity import similarity
from fovea.pictures.unit_patches import Patches, unit_patches
from fovea.runtime.model import Model

AT_ONCE = 64  # pictures


def show_units(found: Units, projected: Projections) -> Showing:
    """Blocks of patches, one for each unit, beside each what in them excites it, and where each lies."""
    title = f"What excites {found.place} most, of {found.looked_at:,} images; a unit sees {found.sees}"
    title += f"; beside it what does, by {projected.words}" if projected.words else ""
    blocks = [
        Patches(
            f"unit {unit.channel}",
            [each.crop for each in unit.images],
            _range(unit),
            _signed(projected.patches.get(unit.channel, ())),
        )
        for unit in found.units
    ]
    facts = [
        {
            "unit": unit.channel,
            "images": [
                {"path": each.name, "label": each.label, "activation": each.activation, "box": each.box}
                for each in unit.images
            ],
        }
        for unit in found.units
    ]
    arrays: dict[str, NDArray[Any]] = {
        f"unit_{unit.channel}_{number}": each.crop
        for unit in found.units
        for number, each in enumerate(unit.images, start=1)
    }
    arrays |= {
        f"projected_{channel}_{number}": patch
        for channel, patches in projected.patches.items()
        for number, patch in enumerate(patches, start=1)
    }
    return Showing(
        [Picture(unit_patches(blocks, title=title), title)],
        arrays,
        [str(found)],
        {"layer": found.place, "field": found.field, "units": facts},
    )


def _signed(patches: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
    """A unit's patches as pictures on one scale, mid-grey where they are 0."""
    end = max((float(np.abs(patch).max()) for patch in patches), default=0.0) or 1.0
    return [np.round(127.5 + 127.5 * patch / end).astype(np.uint8).transpose(1, 2, 0) for patch in patches]


def _range(unit: Excited) -> str:
    most, least = unit.images[0].activation, unit.images[-1].activation
    return "never active" if most == least == 0 else f"{most:.3g} to {least:.3g}"


def show_space(found: FeatureSpace, model: Model, split: Split) -> Showing:
    """The plane with dots and thumbnails."""
    spec = model.bundle.preprocessing
    fitted = Fitted(split.images, torch.zeros(len(split), dtype=torch.int64), spec, None)
    thumbnails = [each for pixels in fitted.batches(AT_ONCE) for each in spec.pictured(spec.normalise(pixels))]
    axes = [f"component {axis} ({share:.1%} of variance)" for axis, share in enumerate(found.variance, start=1)]
    drawn = feature_space(
        found.places, found.labels, found.classes, thumbnails, title=str(found), axes_words=axes or ("", "")
    )
    facts = {
        "stage": found.stage,
        "images": len(found.labels),
        "variance": found.variance,
        "trustworthiness": None if np.isnan(found.trustworthiness) else found.trustworthiness,
        "neighbour_accuracy": None if np.isnan(found.neighbour_accuracy) else found.neighbour_accuracy,
    }
    return Showing([Picture(drawn, str(found))], {"places": found.places, "labels": found.labels}, [str(found)], facts)


def show_similarity(found: Similarity, name: str, other: str) -> Showing:
    """The matrix."""
    title = f"How alike layers see {found.images:,} images: linear CKA"
    drawn = similarity(found.matrix, found.rows, found.columns, title=title, words=(name, other))
    facts = {"rows": found.rows, "columns": found.columns, "matrix": found.matrix.tolist(), "images": found.images}
    return Showing([Picture(drawn, title)], {"matrix": found.matrix}, [str(found)], facts)
