"""Networks and weights of the libraries themselves, where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from fovea.architectures.catalogue import architecture_of
from fovea.data.preprocessing import Preprocessing
from fovea.errors import MachineError, ModelError
from fovea.transfer.foreign import Foreign
from fovea.transfer.keys import Table
from fovea.transfer.mapping import Mapped
from fovea.transfer.preparations import preprocessing as prepared

INSTALLED: Final = ("torchvision", "timm")  # those that we may ask; a file of Keras needs no Keras
VERSIONS: Final = {("torchvision", "mnasnet1_0"): 2}  # what these ask of a state dict beside its tensors
TOLERANCE: Final = 1e-3  # of logits, relative to the largest; what is above it is no rounding


def compared(found: Mapped, foreign: Foreign) -> float | None:
    """How far our logits are from those of the library itself, relative to the largest.

    None where it is not installed, where layers were missing, or where its network is for images of three channels
    alone and these are others.

    Raises:
        ModelError: they are further apart than rounding.
    """
    table, told = found.table, architecture_of(found.network)
    assert told is not None  # it was built by its name
    if (
        table.library not in INSTALLED
        or found.fresh
        or importlib.util.find_spec(table.library) is None
        or told.in_channels != 3
    ):
        return None
    auxiliary = any(key.lower().startswith("aux") for key in foreign.tensors)
    other = peer(table, told.num_classes, auxiliary=auxiliary)
    other.load_state_dict(loadable(foreign.tensors, table), strict=True)
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


def loadable(tensors: Mapping[str, Tensor], table: Table) -> OrderedDict[str, Tensor]:
    """The tensors as a state dict that the library's network takes, with its version where the network asks for one.

    Args:
        tensors: By the library's names.
        table: Which library's, and what the network is called there.
    """
    made = OrderedDict(tensors)
    if version := VERSIONS.get((table.library, table.network)):
        made._metadata = OrderedDict({"": {"version": version}})  # type: ignore[attr-defined]  # as torch keeps it
    return made


def peer(table: Table, num_classes: int, *, auxiliary: bool) -> nn.Module:
    """The library's own network, without weights.

    Args:
        table: Which library's, and what it is called there.
        num_classes: Number of logits.
        auxiliary: Whether it has its auxiliary classifiers, where the library leaves that open.
    """
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


def downloaded(library: str, name: str) -> tuple[Foreign, Preprocessing]:
    """A library's own weights, by its own downloader, and how images are prepared for them.

    Raises:
        MachineError: it is not installed, or cannot be reached.
    """
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
    return Foreign(tensors=tensors, notes=notes), of_torchvision(name, weights.transforms())


def of_torchvision(name: str, transform: Any) -> Preprocessing:
    """What torchvision does to an image before its network, or within it.

    Args:
        name: Its network.
        transform: What its weights say of it.
    """
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
