"""The folder of a network that was taught a style: its weights, their meaning, and where its learning stands."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from fovea.bundle import as_json, fill, read_weights
from fovea.errors import MachineError, ModelError, UsageError
from fovea.files import make_folder, read_json, write_durably, write_json
from fovea.runtime.checkpoint import NETWORK, OPTIMISER, part
from fovea.style.styler import Styler
from fovea.style.teaching_options import TeachingOptions

FORMAT, VERSION = "fovea-styler", 1
MEANING, WEIGHTS, STATE = "styler.json", "weights.safetensors", "state.safetensors"
ONLY_HOW_LONG = ("steps", "save_minutes")  # the options that may differ where learning goes on


def save(
    folder: Path, styler: Styler, options: TeachingOptions, learned: dict[str, Any], state: dict[str, Tensor]
) -> None:
    """Write the state, then the weights, then their meaning.

    The state alone is all that learning needs to go on, in one file that is there whole or not at all; so nothing is
    lost where a process is killed between two of them, and the same command makes them fit each other again.

    Args:
        folder: Where.
        styler: The network.
        options: How it is taught.
        learned: What the meaning holds besides: the steps taken, the perceiving network, fingerprints.
        state: Of the optimiser.

    Raises:
        MachineError: it cannot be written.
    """
    make_folder(folder)
    tensors = {name: each.detach().cpu().contiguous() for name, each in sorted(styler.state_dict().items())}
    meaning = {"format": FORMAT, "version": VERSION, **learned, "options": dataclasses.asdict(options)}
    both = {f"{NETWORK}{name}": each for name, each in tensors.items()}
    both |= {f"{OPTIMISER}{name}": each for name, each in state.items()}
    # One entry alone: several would stand in another order each time, and equal states are to give equal bytes.
    told = json.dumps([meaning, _digest(both, meaning)])
    write_durably(folder / STATE, safetensors.torch.save(both, {"told": told}))
    digest = write_durably(folder / WEIGHTS, safetensors.torch.save(tensors))
    write_json(folder / MEANING, meaning | {"weights": digest})


def load_styler(folder: Path, *, device: str = "cpu") -> Styler:
    """The network of a folder, on a device.

    Raises:
        ModelError: there is none, or it is damaged.
        MachineError: there is no such device here.
    """
    if not (folder / MEANING).is_file():
        raise ModelError(
            f"{folder}: holds no network that was taught a style (no {MEANING} in it); teach one: fovea stylise "
            f"--train STYLE --data FOLDER --out {folder}"
        )
    meaning = read_json(folder / MEANING)
    _check_format(meaning, folder / MEANING)
    try:
        styler = _built(meaning["options"], read_weights(folder / WEIGHTS, meaning["weights"]), folder / WEIGHTS)
        return styler.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without the device
        raise MachineError(f"device (={device}) cannot be used here; choose another --device") from error
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / MEANING}: is damaged, field {error} is missing or of the wrong kind") from error


class Begun(NamedTuple):
    """Learning as it was left: the network, the optimiser's state, and the steps taken."""

    styler: Styler
    state: dict[str, Tensor]
    steps: int


def begun(folder: Path, options: TeachingOptions, learned: dict[str, Any]) -> Begun | None:
    """What the folder holds of learning that was begun; None where it holds nothing.

    Raises:
        UsageError: it was begun with other options, another style, images or network; or cannot go on.
        ModelError: it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        if (folder / MEANING).is_file():
            raise UsageError(f"{folder} holds a network without {STATE}, so it cannot learn more; name another folder")
        return None
    tensors, meaning = _state(path)
    try:
        asked, told = _flat(as_json({"options": dataclasses.asdict(options), **learned})), _flat(meaning)
        for name, value in asked.items():
            if told.get(name) != value:
                raise UsageError(
                    f"{folder} holds a network that learns with {name} {told.get(name)!r}, not {value!r}; name another "
                    f"folder, or the same {name} to go on"
                )
        styler = _built(meaning["options"], part(tensors, NETWORK), path)
        return Begun(styler, part(tensors, OPTIMISER), int(meaning["steps"]))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: is damaged, field {error} is missing or of the wrong kind") from error


def _state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a state and their meaning, none of which has changed since they were written.

    Raises:
        ModelError: one has.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meaning, digest = json.loads((file.metadata() or {})["told"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping: keys() only
        whole = _digest(tensors, meaning) == digest
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is damaged ({error}); copy the folder again, or teach in another one") from error
    if not whole:
        raise ModelError(
            f"{path}: is damaged (its SHA-256 does not match); copy the folder again, or teach in another one"
        )
    _check_format(meaning, path)
    return tensors, meaning


def _digest(tensors: Mapping[str, Tensor], meaning: Mapping[str, Any]) -> str:
    content = safetensors.torch.save(dict(sorted(tensors.items())))
    return hashlib.sha256(json.dumps(meaning).encode() + content).hexdigest()


def _check_format(meaning: Mapping[str, Any], path: Path) -> None:
    if meaning.get("format") != FORMAT or meaning.get("version") != VERSION:
        raise ModelError(
            f"{path}: format {meaning.get('format')!r}, version {meaning.get('version')!r}; "
            f"this fovea reads {FORMAT} {VERSION}"
        )


def _built(options: Mapping[str, Any], tensors: dict[str, Tensor], path: Path) -> Styler:
    """The network of some options with these weights, in evaluation mode.

    Raises:
        ModelError: they do not fit.
    """
    styler = Styler(options["width"], options["normalisation"])
    fill(styler, tensors, str(path))
    return styler.eval()


def _flat(meaning: Mapping[str, Any]) -> dict[str, Any]:
    """Options and all else by name; of the steps those that were asked for are left out."""
    options = {name: value for name, value in meaning["options"].items() if name not in ONLY_HOW_LONG}
    return {name: value for name, value in meaning.items() if name not in ("options", "steps")} | options
