"""What a network has learned, shown: filters, feature maps, images found for units, dreams, inversions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fovea.errors import ModelError
from fovea.explain.dreaming import Dreamed
from fovea.explain.inverting import Inverted
from fovea.explain.maximising import Maximised
from fovea.explain.showing import Showing
from fovea.pictures.contact_sheet import contact_sheet
from fovea.pictures.feature_maps import feature_maps
from fovea.pictures.filters import filters
from fovea.pictures.page import Picture, Section, Table


def show_weights(network: nn.Module) -> Showing:
    """The filters of the first convolution.

    Raises:
        ModelError: there is no convolution.
    """
    found = next(((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d)), None)
    if found is None:
        raise ModelError(f"{type(network).__name__} has no convolution, so it has no filters to show")
    name, layer = found
    weights = layer.weight.detach().float().cpu().numpy()
    out, channels, height, width = weights.shape
    title = f"{name}: {out} filters of {height}×{width}, {channels} channel{'s' * (channels > 1)}"
    return Showing(
        [Picture(filters(weights, title=title), title)], {"weights": weights}, [title], {"layer": name, "filters": out}
    )


def show_activations(maps: NDArray[np.float32], names: Sequence[str], layer: str) -> Showing:
    """The feature maps of each image.

    Args:
        maps: (n, channels, height, width).
        names: Of the images.
        layer: Whose maps they are.

    Raises:
        ModelError: the layer has no maps.
    """
    if maps.ndim != 4:
        told = "×".join(map(str, maps.shape[1:]))
        raise ModelError(f"{layer} gives {told} for an image, which are no maps; choose an earlier layer")
    shape = f"{maps.shape[1]} maps of {maps.shape[2]}×{maps.shape[3]}"
    sections: list[Section] = [
        Picture(feature_maps(each, title=f"{layer}: {name}"), f"{layer}: {name}")
        for each, name in zip(maps, names, strict=True)
    ]
    lines = [f"{layer}: {shape}", *(f"  {name}" for name in names)]
    return Showing(sections, {"maps": maps}, lines, {"layer": layer, "shape": maps.shape[1:], "images": list(names)})


def show_maximised(found: Maximised, what: str) -> Showing:
    """The images found, and from what to what each score rose."""
    captions = [f"{name}\n{after:.3g}" for name, after in zip(found.names, found.after, strict=True)]
    drawn = contact_sheet(found.pictures, captions, title=what)
    rows = [
        [name, f"{before:.4g}", f"{after:.4g}"]
        for name, before, after in zip(found.names, found.before, found.after, strict=True)
    ]
    table = Table(["maximised", "at the start", "found"], rows, "What each image scores")
    facts = {
        name: {"before": float(before), "after": float(after)}
        for name, before, after in zip(found.names, found.before, found.after, strict=True)
    }
    arrays: dict[str, NDArray[Any]] = {"pictures": found.pictures, "history": found.history}
    return Showing([Picture(drawn, what), table], arrays, [what, str(found)], facts)


def show_dreams(found: Dreamed, originals: NDArray[np.uint8], names: Sequence[str]) -> Showing:
    """Each image before and after."""
    pictures = [each for pair in zip(originals, found.pictures, strict=True) for each in pair]
    captions = [words for name in names for words in (name, f"after {found.stage}")]
    title = f"DeepDream on {found.stage}"
    drawn = contact_sheet(pictures, captions, title=title, columns=min(6, 2 * len(names)), cell=2.6)
    return Showing(
        [Picture(drawn, title)],
        {"pictures": found.pictures, "originals": originals},
        [title, str(found)],
        {"stage": found.stage, "before": found.before.tolist(), "after": found.after.tolist()},
    )


def show_inversions(found: Inverted, names: Sequence[str]) -> Showing:
    """Each image, and what each stage still knows of it."""
    sections: list[Section] = []
    for place, name in enumerate(names):
        pictures = [found.originals[place], *(each[place] for each in found.pictures)]
        errors = [
            f"{stage}\nerror {100 * own[place]:.1f} %" for stage, own in zip(found.stages, found.errors, strict=True)
        ]
        title = f"{name}: images of which the network makes the same, stage by stage"
        sections.append(Picture(contact_sheet(pictures, ["the image", *errors], title=title), title))
    arrays: dict[str, NDArray[Any]] = {
        "originals": found.originals,
        "pictures": found.pictures,
        "errors": found.errors,
    }
    facts = {"stages": found.stages, "errors": found.errors.tolist(), "images": list(names)}
    return Showing(sections, arrays, [str(found)], facts)
