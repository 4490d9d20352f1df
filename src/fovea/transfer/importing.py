"""Foreign weights become a bundle: read, placed, checked against their own library, with their meaning beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from fovea.architectures.catalogue import facts
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.data.sources.imagenet import challenge_classes
from fovea.errors import DataError, ModelError, UsageError, suggestion
from fovea.transfer.foreign import Foreign, read_foreign
from fovea.transfer.keys import LIBRARIES, names_in
from fovea.transfer.libraries import compared, downloaded
from fovea.transfer.mapping import Mapped, mapped
from fovea.transfer.preparations import SAYS, turned_round, within
from fovea.transfer.preparations import preprocessing as prepared

IMAGENET: Final = "imagenet"
IMAGENET_CLASSES: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Foreign weights with their meaning.

    Args:
        bundle: Ready to be saved or to predict.
        mapped: What went where.
        notes: What was assumed, converted or compared, a sentence each.
    """

    bundle: Bundle
    mapped: Mapped
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([str(self.mapped), *self.notes])


def import_weights(
    source: str | Path,
    name: str | None = None,
    *,
    preprocessing: str | Preprocessing | None = None,
    classes: Sequence[str] | str | Path | None = None,
    image_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    partial: bool = False,
    licence: str | None = None,
) -> Imported:
    """Weights by torchvision's, timm's, Keras's or our own names from a file, or from a library itself, as a bundle.

    Args:
        source: A .safetensors, .pth, .npz or .h5 file; or "torchvision:NAME", "timm:NAME".
        name: Our network; where None, the one that is exactly torchvision's or timm's NAME.
        preprocessing: How its images were prepared: imagenet, tf, caffe or unit, or the specification itself. Of a
            library's own download and of Keras's networks it is known, of other files it is not.
        classes: Their names in the order of the logits; "imagenet" for the 1,000 synsets in their order, or a text file
            with a name in each line. Of 1,000 logits the synsets are assumed, which is noted.
        image_size: Side of the network's images in pixels; the network's own where None.
        options: What our builder takes beside these, such as `{"padding": "same"}`.
        partial: Whether the file may lack the upper layers, which are then drawn with seed 0; the bundle says so.
        licence: Under which the weights may be used, for the bundle; what the file itself says where None.

    Raises:
        UsageError: an unknown name; nothing says how images are prepared, or what the classes are called.
        ModelError: a file that is damaged, holds code, or does not fit.
        DataError: as many names as classes are not there.
        MachineError: a library is not installed, or there is no network to download by.
    """
    told = dict(options or {})
    library, _, theirs = str(source).partition(":")
    if library in LIBRARIES and theirs:
        name = name or _ours(library, theirs)
    foreign, known = read_weights(source)
    preprocessing = preprocessing or known
    if name is None:
        raise UsageError(f"{source}: name the network that the weights are for: --as NAME; 'fovea list' has them")
    given = _named(classes)
    spec = preprocessing if isinstance(preprocessing, Preprocessing) else None
    sizes = {"image_size": image_size or (spec.image_size if spec else facts(name).image_size)}
    if partial and given is not None:
        sizes["num_classes"] = len(given)  # which a file without its output layer does not say
    found = mapped(name, foreign.tensors, sizes=sizes, options=told, source=str(source), partial=partial)
    notes = [*foreign.notes]
    spec, convention, said = preparation(found, preprocessing, sizes["image_size"], str(source))
    notes += said
    if not told and (difference := compared(found, foreign)) is not None:
        notes.append(f"logits differ from {found.table.library}'s by {difference:.1g} of the largest")
    if convention == "caffe":
        turn_round(found.network)
        notes.append("first kernels turned round: red, green, blue instead of blue, green, red")
    if found.fresh:
        notes.append(f"{found.drawn}: the network tells no classes before it is trained")
    names, assumed = _classes(given, _count(found.network), str(source))
    notes += assumed
    licence = licence or foreign.licence
    if not licence:
        notes.append("licence unknown: give it with --licence")
    origin = _origin(source, found, foreign, convention or dataclasses.asdict(spec)) | {"licence": licence}
    bundle = Bundle(
        network=found.network,
        architecture=describe(found.network),
        classes=names,
        preprocessing=spec,
        provenance={"imported": origin},
    )
    return Imported(bundle=bundle, mapped=found, notes=tuple(notes))


def preparation(
    found: Mapped, given: str | Preprocessing | None, size: int, source: str
) -> tuple[Preprocessing, str, list[str]]:
    """How images are prepared, by the name of a convention where it is one, and what was taken from where."""
    if isinstance(given, Preprocessing):
        scaled = round(given.resize * size / given.image_size)
        return dataclasses.replace(given, image_size=size, resize=scaled), "", []
    table, convention, notes = found.table, given, []
    channels = found.options.get("in_channels", 3)
    if convention is None and table.preparation in SAYS:
        convention = table.preparation
        notes.append(f"images as {table.library}'s {table.network} has them ({convention}): {SAYS[convention]}")
    elif convention is None and found.inputs:
        spec = within(found.inputs, size, in_channels=channels)
        said = f"images as {table.library}'s own layers prepare them: mean {spec.mean}, deviation {spec.std}"
        return spec, "", [said]
    if convention is None:
        raise UsageError(f"{source}: does not say how images are prepared; --preprocessing imagenet, tf, caffe or unit")
    return prepared(convention, size, in_channels=channels), convention, notes


def read_weights(source: str | Path) -> tuple[Foreign, Preprocessing | None]:
    """The tensors of a file, or of "torchvision:NAME" and "timm:NAME" with their preprocessing.

    Raises:
        UsageError: "keras:NAME", which is not fetched.
        ModelError: a file that is damaged or holds code.
        MachineError: a library is not installed, or cannot be reached.
    """
    library, _, name = str(source).partition(":")
    if library not in LIBRARIES or not name:
        return read_foreign(Path(source)), None
    if library == "keras":
        raise UsageError(
            f"{source}: Keras's weights are read from a file, not fetched; write one in Keras, "
            f"keras.applications.{name}().save_weights('{name}.weights.h5'), and import it: "
            f"fovea import {name}.weights.h5 --as {names_in('keras').get(name, 'NAME')}"
        )
    return downloaded(library, name)


def _ours(library: str, theirs: str) -> str | None:
    known = names_in(library)
    if theirs in known or library == "keras":
        return known.get(theirs)
    raise UsageError(
        f"{library}:{theirs} is none of our networks exactly; known are {', '.join(sorted(known))}."
        f"{suggestion(theirs, known)}"
    )


def _named(told: Sequence[str] | str | Path | None) -> tuple[str, ...] | None:
    """Names of classes, from wherever they stand; None where nobody gives them."""
    if told is None:
        return None
    if told == IMAGENET:
        return tuple(challenge_classes())
    if not isinstance(told, str | Path):
        return tuple(told)
    try:
        return tuple(line.strip() for line in Path(told).read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{told}: cannot be read as names of classes, a line each ({error})") from error


def _classes(names: tuple[str, ...] | None, count: int, source: str) -> tuple[tuple[str, ...], list[str]]:
    """Names of the classes, and what was assumed of them."""
    if names is None and count == IMAGENET_CLASSES:
        synsets = tuple(challenge_classes())
        return synsets, ["1,000 classes: taken to be ImageNet's synsets in their order; --classes names others"]
    if names is None:
        raise UsageError(f"{source}: does not say what its {count:,} classes are called; --classes FILE, a name a line")
    if len(names) != count or len(set(names)) != count:
        raise DataError(
            f"{len(names):,} names ({len(set(names)):,} different ones) were given for {count:,} classes of {source}"
        )
    return names, []


def _count(network: nn.Module) -> int:
    found: Any = getattr(network, "num_classes", None)
    if not isinstance(found, int):
        raise ModelError(f"{type(network).__name__} does not say how many classes it has")
    return found


def turn_round(network: nn.Module) -> None:
    """Let a network for blue, green, red take red, green, blue: its first kernels the other way round."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(turned_round(first.weight))


def _origin(source: str | Path, found: Mapped, foreign: Foreign, preprocessing: str | dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from; a file by its name, not its path."""
    library, _, name = str(source).partition(":")
    origin = {
        "from": str(source) if library in LIBRARIES and name else Path(source).name,
        "names": f"{found.table.library}:{found.table.network}",
        "preprocessing": preprocessing,
        "conversions": list(foreign.notes),
    }
    return origin | ({"partial": found.drawn} if found.fresh else {})
