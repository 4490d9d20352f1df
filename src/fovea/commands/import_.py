"""fovea import: published weights become a bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fovea.architectures.catalogue import facts
from fovea.commands.parsing import options_of, parse
from fovea.errors import UsageError


@dataclass(frozen=True)
class Import:
    """Make a model of weights that somebody else trained; the bundle then works wherever a run does."""

    source: Annotated[str | None, tyro.conf.Positional] = None
    """A file (.safetensors, .pth, .npz, .h5), or torchvision:NAME or timm:NAME, which those libraries download."""
    name: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """Our network that they are for; of a library's NAME the one that is exactly it, where none is named."""
    out: Path | None = None
    """The bundle's folder; imported/NAME where none is named. It must not be there yet."""
    preprocessing: Literal["imagenet", "tf", "caffe", "unit"] | None = None
    """How their images were prepared: PyTorch's way; from -1 to 1; blue-green-red less a mean; from 0 to 1. Of Keras's
    networks it is known."""
    classes: str | None = None
    """imagenet, or a file with the name of a class in each line; of 1,000 classes ImageNet's are assumed."""
    image_size: int | None = None
    """Side of the images in pixels; the network's own where none is named."""
    option: tuple[str, ...] = ()
    """What the network's builder takes, as name=value: padding=same for TensorFlow's mobile networks."""
    partial: bool = False
    """The file may lack the upper layers; they are drawn afresh, to be trained."""
    licence: str | None = None
    """Under which the weights may be used; it stays with the bundle. What the file says where none is given."""
    mapping: bool = False
    """Print where each tensor went."""
    json: bool = False
    """All of it as an object for machines."""


def run(arguments: list[str]) -> int:
    """Read, place, check, save; say what was done.

    Raises:
        UsageError: no source, an unknown network, or a folder that is there already.
    """
    asked = parse(Import, "import", arguments)
    if asked.source is None:
        raise UsageError("name a file or a library's network, for example: fovea import torchvision:resnet18")
    if asked.name is not None:
        facts(asked.name)
    _check_free(asked.out)

    from fovea.transfer.importing import import_weights

    found = import_weights(
        asked.source,
        asked.name,
        preprocessing=asked.preprocessing,
        classes=asked.classes,
        image_size=asked.image_size,
        options=options_of(asked.option),
        partial=asked.partial,
        licence=asked.licence,
    )
    folder = asked.out or Path("imported") / found.bundle.name
    _check_free(folder)
    found.bundle.save(folder)
    placed = found.mapped.placed
    if asked.json:
        told = {"bundle": str(folder), "notes": list(found.notes), "origin": found.bundle.provenance["imported"]}
        print(json.dumps(told | {"tensors": [asdict(each) for each in placed]}))
        return 0
    print(f"{found}\nbundle: {folder}")
    if asked.mapping:
        width = max(len(each.theirs) for each in placed)
        for each in placed:
            shape = "×".join(map(str, each.shape)) or "1"
            print(f"{each.theirs:<{width}}  {each.ours}  {shape}{f'  {each.changed}' if each.changed else ''}")
    return 0


def _check_free(folder: Path | None) -> None:
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already; name another --out, or remove it")
