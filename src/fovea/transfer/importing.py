"""Foreign weights become a bundle: read, placed, checked against their own library, with their meaning beside them."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from fovea.architectures.catalogue import architecture_of, facts
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.data.sources.imagenet import challenge_classes
from fovea.errors import DataError, MachineError, ModelError, UsageError, suggestion
from fovea.transfer.foreign import Foreign, read_foreign
from fovea.transfer.keys import LIBRARIES, Table, names_in
from fovea.transfer.mapping import Mapped, mapped
from fovea.transfer.preparations import preprocessing as prepared
from fovea.transfer.preparations import turned_round

IMAGENET: Final = "imagenet"
IMAGENET_CLASSES: Final = 1000
TOLERANCE: Final = 1e-3  # of logits, relative to the largest; what is above it is no rounding


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
) -> Imported:
    """Weights from a file with torchvision's, timm's or our own names, or from those libraries themselves, as a bundle.

    Args:
        source: A .safetensors, .pth, .npz or .h5 file; or "torchvision:NAME", "timm:NAME".
        name: Our network; where None, the one that is exactly torchvision's or timm's NAME.
        preprocessing: How its images were prepared: imagenet, tf, caffe or unit, or the specification itself. Of a
            library's own download it is known, of a file it is not.
        classes: Their names in the order of the logits; "imagenet" for the 1,000 synsets in their order, or a text file
            with a name in each line. Of 1,000 logits the synsets are assumed, which is noted.
        image_size: Side of the network's images in pixels; the network's own where None.
        options: What our builder takes beside these, such as `{"padding": "same"}`.

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
    if preprocessing is None:
        raise UsageError(f"{source}: does not say how images are prepared; --preprocessing imagenet, tf, caffe or unit")
    spec = preprocessing if isinstance(preprocessing, Preprocessing) else None
    size = image_size or (spec.image_size if spec else facts(name).image_size)
    if spec and spec.image_size != size:
        spec = dataclasses.replace(spec, image_size=size, resize=round(spec.resize * size / spec.image_size))
    found = mapped(name, foreign.tensors, sizes={"image_size": size}, options=told, source=str(source))
    spec = spec or prepared(str(preprocessing), size, in_channels=found.options.get("in_channels", 3))
    notes = [*foreign.notes]
    if not told and (difference := compared(found, foreign)) is not None:
        notes.append(f"logits differ from {found.table.library}'s by {difference:.1g} of the largest")
    if preprocessing == "caffe":
        _turn_round(found.network)
        notes.append("first kernels turned round: red, green, blue instead of blue, green, red")
    names, assumed = _classes(classes, _count(found.network), str(source))
    notes += assumed
    provenance = {"imported": _origin(source, found.table, foreign, preprocessing)}
    bundle = Bundle(
        network=found.network,
        architecture=describe(found.network),
        classes=names,
        preprocessing=spec,
        provenance=provenance,
    )
    return Imported(bundle=bundle, mapped=found, notes=tuple(notes))


def read_weights(source: str | Path) -> tuple[Foreign, Preprocessing | None]:
    """The tensors of a file, or of "torchvision:NAME" and "timm:NAME" with their preprocessing.

    Raises:
        ModelError: a file that is damaged or holds code.
        MachineError: a library is not installed, or cannot be reached.
    """
    library, _, name = str(source).partition(":")
    return _downloaded(library, name) if library in LIBRARIES and name else (read_foreign(Path(source)), None)


def compared(found: Mapped, foreign: Foreign) -> float | None:
    """How far our logits are from those of the library itself, relative to the largest.

    None where it is not installed, or has its network for images of three channels alone and these are others.

    Raises:
        ModelError: they are further apart than rounding.
    """
    table, told = found.table, architecture_of(found.network)
    assert told is not None  # it was built by its name
    if table.library not in LIBRARIES or importlib.util.find_spec(table.library) is None or told.in_channels != 3:
        return None
    auxiliary = any(key.lower().startswith("aux") for key in foreign.tensors)
    other = _peer(table, _count(found.network), auxiliary=auxiliary)
    other.load_state_dict(foreign.tensors, strict=True)
    shape = 2, told.in_channels, told.image_size, told.image_size
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    training = found.network.training
    with torch.inference_mode():
        expected, own = other.eval()(images), found.network.eval()(images)
    found.network.train(training)
    difference = float((own - expected).abs().max() / expected.abs().max())
    if not difference < TOLERANCE:
        raise ModelError(
            f"{table.network} of {table.library} gives other logits for the same weights, by {difference:.2g} of the "
            f"largest; its definition may have changed since {table.library}'s table was written"
        )
    return difference


def _peer(table: Table, num_classes: int, *, auxiliary: bool) -> nn.Module:
    module = importlib.import_module("timm" if table.library == "timm" else "torchvision.models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns of what its weights will start from
        if table.library == "timm":
            network: nn.Module = module.create_model(table.network, pretrained=False, num_classes=num_classes)
            return network
        inception = table.network in ("googlenet", "inception_v3")
        settings = {"init_weights": False, "aux_logits": auxiliary} if inception else {}
        made: nn.Module = getattr(module, table.network)(weights=None, num_classes=num_classes, **settings)
        return made


def _ours(library: str, theirs: str) -> str:
    known = names_in(library)
    if theirs not in known:
        raise UsageError(
            f"{library}:{theirs} is none of our networks exactly; known are {', '.join(sorted(known))}."
            f"{suggestion(theirs, known)}"
        )
    return known[theirs]


def _downloaded(library: str, name: str) -> tuple[Foreign, Preprocessing]:
    """A library's own weights, by its own downloader."""
    if importlib.util.find_spec(library) is None:
        raise MachineError(
            f"{library} is not installed; pip install 'fovea-vision[peers]', or import a file of the weights"
        )
    try:
        return _from_timm(name) if library == "timm" else _from_torchvision(name)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise MachineError(
            f"{library}:{name}: cannot be had ({type(error).__name__}: {reason}); is there a network? A file of the "
            f"weights does as well: fovea import FILE --as NAME"
        ) from error


def _from_torchvision(name: str) -> tuple[Foreign, Preprocessing]:
    weights = importlib.import_module("torchvision.models").get_model_weights(name).DEFAULT
    tensors = weights.get_state_dict(progress=True, check_hash=True)
    notes = (f"torchvision's {weights}, for its terms see its documentation",)
    return Foreign(tensors=tensors, notes=notes), _of_torchvision(name, weights.transforms())


def _of_torchvision(name: str, transform: Any) -> Preprocessing:
    """What torchvision does to an image before its network, or within it."""
    (size,), (resize,) = transform.crop_size, transform.resize_size
    half = prepared("tf", size)  # what these two turn their inputs into, when they have published weights
    inside = name in ("googlenet", "inception_v3")
    return Preprocessing(
        image_size=size,
        resize=resize,
        in_channels=3,
        mean=half.mean if inside else tuple(transform.mean),
        std=half.std if inside else tuple(transform.std),
        interpolation=transform.interpolation.value,
    )


def _from_timm(name: str) -> tuple[Foreign, Preprocessing]:
    timm = importlib.import_module("timm")
    network = timm.create_model(name, pretrained=True)
    told = network.pretrained_cfg
    size = told["input_size"][-1]
    spec = Preprocessing(
        image_size=size,
        resize=round(size / told["crop_pct"]),
        in_channels=3,
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        interpolation=told["interpolation"],
    )
    licence = str(told.get("license") or "")
    return Foreign(tensors=network.state_dict(), notes=(f"timm's {name}",), licence=licence), spec


def _classes(told: Sequence[str] | str | Path | None, count: int, source: str) -> tuple[tuple[str, ...], list[str]]:
    """Names of the classes, and what was assumed of them."""
    synsets = tuple(challenge_classes())
    if told is None and count == IMAGENET_CLASSES:
        return synsets, ["1,000 classes: taken to be ImageNet's synsets in their order; --classes names others"]
    if told is None:
        raise UsageError(f"{source}: does not say what its {count:,} classes are called; --classes FILE, a name a line")
    if told == IMAGENET:
        names = synsets
    elif isinstance(told, str | Path):
        try:
            names = tuple(line.strip() for line in Path(told).read_text(encoding="utf-8").splitlines() if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{told}: cannot be read as names of classes, a line each ({error})") from error
    else:
        names = tuple(told)
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


def _turn_round(network: nn.Module) -> None:
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(turned_round(first.weight))


def _origin(source: str | Path, table: Table, foreign: Foreign, preprocessing: str | Preprocessing) -> dict[str, Any]:
    """Where the weights come from; a file by its name, not its path."""
    told = preprocessing if isinstance(preprocessing, str) else dataclasses.asdict(preprocessing)
    library, _, name = str(source).partition(":")
    return {
        "from": str(source) if library in LIBRARIES and name else Path(source).name,
        "names": f"{table.library}:{table.network}",
        "preprocessing": told,
        "licence": foreign.licence,
        "conversions": list(foreign.notes),
    }
