"""fovea evaluate: how good a model is, on its own data or on another's."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fovea.commands.loading import load_model
from fovea.commands.parsing import parse
from fovea.commands.progress import counting
from fovea.data.names import check_source
from fovea.errors import UsageError, require
from fovea.files import RUN_FILE, read_json
from fovea.runtime.find import find_bundle

if TYPE_CHECKING:
    from fovea.data.sets import Data
    from fovea.runtime.model import Model


@dataclass(frozen=True)
class Evaluate:
    """Judge models: top-1 accuracy with its 95 % interval, top-5, negative log-likelihood."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run folders or bundles."""
    data: str | None = None
    """Data to judge on; what each model was trained on, cut in the same way, where none is named."""
    split: str | None = None
    """train, validation or test; test where there is one, else validation."""
    cut: str | None = None
    """How --data is split where it is not already: 0.8/0.1/0.1."""
    split_seed: int = 42
    """Cuts --data."""
    data_root: Path | None = None
    """Where the sets known by name lie."""
    allow_bad: int = 0
    """Judge --data without so many files that cannot be decoded or have no label."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the network runs."""
    network: str | None = None
    """For a model of a network of your own: file.py:Class; its code runs, a bundle's never does."""
    json: bool = False
    """An object for each model, a line each, for machines."""


def run(arguments: list[str]) -> int:
    """Judge each model and print its scores.

    Raises:
        UsageError: no model is named.
    """
    asked = parse(Evaluate, "evaluate", arguments)
    require("allow_bad", asked.allow_bad, asked.allow_bad >= 0, "0 or more")
    if not asked.models:
        raise UsageError("name a run folder or a bundle, for example: fovea evaluate runs/latest")
    places = [find_bundle(model) for model in asked.models]
    if asked.data is not None:
        check_source(asked.data)

    import fovea

    for model, place in zip(asked.models, places, strict=True):
        loaded = load_model(place, device=asked.device, network=asked.network)
        data = _data(asked, place)
        _warn_of_other_data(loaded, data)
        split = data.split(asked.split or ("test" if data.test is not None else "validation"))
        scores = fovea.evaluate(loaded, split)
        if asked.json:
            print(json.dumps({"model": model, "data": data.name, "split": split.name} | scores.summary()))
        else:
            print(f"{model} on {data.name}, {scores}")
    return 0


def _data(asked: Evaluate, bundle: Path) -> Data:
    import fovea

    if asked.data is not None:
        with counting("opening files") as progress:
            return fovea.open_data(
                asked.data,
                split=asked.cut,
                split_seed=asked.split_seed,
                data_root=asked.data_root,
                allow_bad=asked.allow_bad,
                progress=progress,
            )
    told = bundle.parent / RUN_FILE
    data = read_json(told).get("data") if told.is_file() else None
    source = data.get("source") if isinstance(data, dict) else None
    if source is None:
        raise UsageError(f"{bundle}: does not say where its data lies; name it with --data")
    return fovea.open_data(**source | ({"data_root": asked.data_root} if asked.data_root else {}))


def _warn_of_other_data(model: Model, data: Data) -> None:
    """The same set with another fingerprint may be cut differently: training images may be among those judged."""
    trained = model.bundle.provenance.get("data", {})
    if trained.get("name") == data.name and trained.get("fingerprint") != data.fingerprint():
        print(
            f"note: {data.name} is not as it was when the model was trained (changed, or cut in another way); "
            f"training images may be among those judged",
            file=sys.stderr,
        )
