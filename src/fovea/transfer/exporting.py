"""Our networks back to where others read them: the tensors by torchvision's or timm's names, in their shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import safetensors.torch
from torch import Tensor, nn

from fovea.architectures.catalogue import architecture_of, builder_defaults
from fovea.bundle import Bundle
from fovea.errors import ModelError, UsageError
from fovea.files import write_durably
from fovea.transfer.keys import Table, tables_of
from fovea.transfer.libraries import INSTALLED as LIBRARIES
from fovea.transfer.libraries import loadable

SUFFIX: Final = ".safetensors"
# Options of our builders that act in training alone, or decide how weights start: they change no logit.
TRAINING: Final = ("dropout", "survival", "momentum", "auxiliary", "zero_last_gamma", "start")


def foreign_names(network: nn.Module, library: str) -> dict[str, Tensor]:
    """The tensors under a library's names and in its shapes, such that its network takes them by strict loading.

    The shapes come from the tables, so the library need not be installed. A network with auxiliary classifiers gives
    theirs too, and one without them fits the library's network without them (`aux_logits=False`). The first kernels
    are those of our network: for red, green, blue, with the bundle's preprocessing.

    Args:
        network: Ours, of the catalogue.
        library: "torchvision" or "timm".

    Raises:
        UsageError: an unknown library, or none of its networks is exactly this one.
        ModelError: a network that is none of the catalogue.
    """
    table = _table(network, library)
    found = {}
    for key, tensor in network.state_dict().items():
        change = table.change(key)
        found[table.theirs(key)] = (change.outward(tensor) if change else tensor).detach().contiguous()
    return loadable(found, table)


def export_weights(model: Bundle | nn.Module, path: Path | str, *, library: str) -> Path:
    """Write a network's tensors as another library reads them, durably.

    The file says what its names are, and the licence where the bundle knows it. torchvision's MNASNet takes no plain
    file: it asks for a version beside the tensors, which `foreign_names` gives and a file cannot.

    Args:
        model: A bundle, or a network of the catalogue.
        path: The .safetensors file; one that is there is replaced.
        library: "torchvision" or "timm".

    Raises:
        UsageError: another suffix, an unknown library, or none of its networks is exactly this one.
        ModelError: a network that is none of the catalogue.
        MachineError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: must end in {SUFFIX}; no other format is written")
    network = model.network if isinstance(model, Bundle) else model
    tensors = {name: tensor.cpu().clone() for name, tensor in foreign_names(network, library).items()}
    told = {"format": "pt", "names": f"{library}:{_table(network, library).network}"}
    origin = (model.provenance.get("imported") or {}) if isinstance(model, Bundle) else {}
    if origin.get("licence"):
        told["licence"] = str(origin["licence"])
    write_durably(path, safetensors.torch.save(tensors, told))
    return path


def _table(network: nn.Module, library: str) -> Table:
    if library not in LIBRARIES:
        raise UsageError(f"library (={library!r}) must be {' or '.join(LIBRARIES)}")
    made = architecture_of(network)
    if made is None:
        raise ModelError(f"{type(network).__name__} is no network of the catalogue, so {library} has no names for it")
    tables = {each.library: each for each in tables_of(made.name)}
    if library not in tables:
        having = [each for each in LIBRARIES if each in tables]
        raise UsageError(
            f"{library} has no network that is exactly {made.name}; "
            + (f"{', '.join(having)} has" if having else "nor has another library")
        )
    table = tables[library]
    own, theirs = (builder_defaults(made.name) | options for options in (made.options, table.options))
    others = [key for key in own if own[key] != theirs[key] and key not in TRAINING]
    if others:
        built, wanted = (", ".join(f"{key}={each[key]!r}" for key in others) for each in (own, theirs))
        raise UsageError(
            f"{made.name} was built with {built}, and {library}'s {table.network} is it with {wanted}: "
            "the same weights would give other logits there; build and train it with these options"
        )
    return table
