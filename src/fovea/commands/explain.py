"""fovea explain: what a network has learned, and which pixels made it say this of an image."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fovea.commands.allocator import keep_memory
from fovea.commands.parsing import parse
from fovea.data.names import check_source
from fovea.errors import UsageError, require
from fovea.explain.options import ATTRIBUTIONS, LOOKS, ExplainOptions, method_name
from fovea.files import make_folder
from fovea.runtime.find import find_model

OF_IMAGES = {*ATTRIBUTIONS, "activations", "deepdream", "inversion"}
LAYERED = {"grad_cam", "grad_cam_plus_plus", "layer_cam", "cam"}
CLIMBS = {"maximise", "weights", "deepdream", "inversion"}


@dataclass(frozen=True)
class Explain:
    """Look into a model: a page with pictures, and the arrays that they are drawn from."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, a bundle, or a checkpoint of a run."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Image files, or folders of them."""
    method: str = "grad_cam"
    """Which pixels did it: grad_cam, grad_cam_plus_plus, layer_cam, cam, occlusion, saliency, smoothgrad,
    input_x_gradient, integrated_gradients, guided_backpropagation, deconvnet. What was learned: weights, activations,
    units, maximise, deepdream, inversion, pca, tsne, similarity."""
    compare: tuple[str, ...] = ()
    """Several methods that tell which pixels did it, side by side."""
    target: str | None = None
    """What is explained or maximised: a class by name or index, or a unit as STAGE:CHANNEL; the class predicted where
    none is named."""
    layer: str | None = None
    """A stage such as conv4_x, or a module's path; the last with maps where none is named."""
    units: tuple[int, ...] = ()
    """Channels of the layer, for units and maximise; the first nine where none is named."""
    data: str | None = None
    """Data to look at where no image is named; what the model was trained on where none is named."""
    split: str | None = None
    """train, validation, test, or all of them; test where there is one, else validation."""
    data_root: Path | None = None
    """Where the sets known by name lie."""
    limit: int | None = None
    """So many images of the data; 10 to explain, 2,000 for maps of feature space, all for units where none is named."""
    steps: int | None = None
    """Updates of maximise, weights of a layer, inversion (256 where none is named) and deepdream (20 at each size)."""
    other: Annotated[str | None, tyro.conf.arg(name="with")] = None
    """A second model, for similarity."""
    curves: bool = True
    """Judge each method: the class's probability as the image is taken away, and brought back."""
    randomise: bool = False
    """Test each method: does its picture change as the weights are destroyed?"""
    mosaics: int = 0
    """Test each method on so many mosaics of four of the images: does it point at the right one?"""
    out: Path = Path("explained")
    """The folder for explain.html, arrays.npz and the pictures."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the network runs."""
    network: str | None = None
    """For a model of a network of your own: file.py:Class; its code runs, a bundle's never does."""
    json: bool = False
    """The result as an object for machines."""
    explain: ExplainOptions = field(default_factory=ExplainOptions)


def run(arguments: list[str]) -> int:
    """Look, write the page, print what was found.

    Raises:
        UsageError: no model, no image where one is needed, an unknown method, or options that do not go together.
    """
    asked = parse(Explain, "explain", arguments)
    if asked.model is None:
        raise UsageError("name a model and an image, for example: fovea explain runs/latest photo.jpg")
    methods = _methods(asked)
    place = find_model(asked.model)
    other = None if asked.other is None else find_model(asked.other)
    if asked.data is not None:
        check_source(asked.data)

    keep_memory()
    from fovea.commands.explaining import look
    from fovea.explain.showing import write_showing

    with _folder(asked.out):
        title, showing = look(asked, methods, place, other)
        page = write_showing(asked.out, title, showing)
    if asked.json:
        print(json.dumps({"page": str(page), **showing.facts}))
    else:
        print("\n".join([*showing.lines, f"page: {page}"]))
    return 0


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A place that cannot be written is told before the work, and one that is made for nothing does not stay."""
    new = not path.exists()
    make_folder(path)
    try:
        yield
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _methods(asked: Explain) -> list[str]:
    """The methods asked for, each once.

    Raises:
        UsageError: an unknown one, or options that it would ignore.
    """
    named = [each for given in asked.compare for each in given.split(",") if each] or [asked.method]
    methods = list(dict.fromkeys(map(method_name, named)))
    alone = [each for each in methods if each in LOOKS]
    if asked.compare and alone:
        raise UsageError(f"--compare lays methods that tell which pixels did it side by side; {alone[0]} does not")
    method = methods[0]
    if asked.images and method not in OF_IMAGES:
        raise UsageError(f"{method} looks at no single image; leave {asked.images[0]} out, or name --data")
    if asked.images and (asked.data is not None or asked.split is not None or asked.limit is not None):
        raise UsageError("name images or --data (with --split, --limit), not both")
    for given, option, fit in _fits(asked):
        if given and not fit.intersection(methods):
            raise UsageError(f"{option} is for {', '.join(sorted(fit))}; {method} would ignore it")
    require("mosaics", asked.mosaics, asked.mosaics >= 0, "0 or more")
    require("limit", asked.limit, asked.limit is None or asked.limit >= 1, "1 or more")
    return methods


def _fits(asked: Explain) -> list[tuple[object, str, set[str]]]:
    """What was given, by which option, and the methods that it is for."""
    pixels, looks = set(ATTRIBUTIONS), set(LOOKS)
    return [
        (asked.other, "--with", {"similarity"}),
        (asked.units, "--units", {"units", "maximise", "weights"}),
        (asked.target, "--target", pixels | {"maximise"}),
        (asked.layer, "--layer", LAYERED | looks - {"similarity"}),
        (
            asked.data or asked.split or asked.limit,
            "--data (--split, --limit)",
            pixels | looks - {"weights", "maximise"},
        ),
        (asked.randomise, "--randomise", pixels),
        (asked.mosaics, "--mosaics", pixels),
        (asked.steps, "--steps", CLIMBS),
    ]
