"""The folder of a network that was taught a style: its weights, their meaning, and where its learning stands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from fovea.bundle import as_json, fill, read_weights
from fovea.errors import ModelError, UsageError
from fovea.files import make_folder, read_json, write_durably, write_json
from fovea.style.styler import Styler
from fovea.style.teaching_options import TeachingOptions

FORMAT, VERSION = "fovea-styler", 1
MEANING, WEIGHTS, STATE = "styler.json", "weights.safetensors", "state.safetensors"
ONLY_HOW_LONG = ("steps", "save_minutes")  # the options that may differ where learning goes on


def save(
    folder: Path, styler: Styler, options: TeachingOptions, learned: dict[str, Any], state: dict[str, Tensor]
) -> None:
    """Write weights and state, then their meaning: a folder without it is no network.

    Args:
        folder: Where.
        styler: The network.
        options: How it is taught.
        learned: What the meaning holds besides: the steps taken, the perceiving network, the style's fingerprint.
        state: Of the optimiser; none where no more is to be learned.

    Raises:
        MachineError: it cannot be written.
    """
    make_folder(folder)
    tensors = {name: each.detach().cpu().contiguous() for name, each in sorted(styler.state_dict().items())}
    digests = {
        "weights": write_durably(folder / WEIGHTS, safetensors.torch.save(tensors)),
        "state": write_durably(folder / STATE, safetensors.torch.save(state)),
    }
    meaning = {"format": FORMAT, "version": VERSION, **learned, "options": dataclasses.asdict(options), **digests}
    write_json(folder / MEANING, meaning)


class Begun(NamedTuple):
    """Learning as it was left: the network, the optimiser's state, and the steps taken."""

    styler: Styler
    state: dict[str, Tensor]
    steps: int


def load_styler(folder: Path) -> Styler:
    """The network of a folder.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    meaning = _meaning(folder)
    try:
        options = meaning["options"]
        styler = Styler(options["width"], options["normalisation"])
        fill(styler, read_weights(folder / WEIGHTS, meaning["weights"]), str(folder))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / MEANING}: is damaged, field {error} is missing or of the wrong kind") from error
    return styler.eval()


def begun(folder: Path, options: TeachingOptions, learned: dict[str, Any]) -> Begun | None:
    """What the folder holds of learning that was begun; None where it holds nothing.

    Raises:
        UsageError: it was begun with other options, another style, images or network.
        ModelError: it is damaged.
    """
    if not (folder / MEANING).is_file():
        return None
    meaning = _meaning(folder)
    asked, told = _flat(as_json({"options": dataclasses.asdict(options), **learned})), _flat(meaning)
    for name, value in asked.items():
        if told.get(name) != value:
            raise UsageError(
                f"{folder} holds a network that learns with {name} {told.get(name)!r}, not {value!r}; name another "
                f"folder, or the same {name} to go on"
            )
    return Begun(load_styler(folder), read_weights(folder / STATE, meaning["state"]), int(meaning["steps"]))


def _meaning(folder: Path) -> dict[str, Any]:
    if not (folder / MEANING).is_file():
        raise ModelError(
            f"{folder}: holds no network that was taught a style (no {MEANING} in it); teach one: fovea stylise "
            f"--train STYLE --data FOLDER --out {folder}"
        )
    meaning = read_json(folder / MEANING)
    if meaning.get("format") != FORMAT or meaning.get("version") != VERSION:
        raise ModelError(
            f"{folder / MEANING}: format {meaning.get('format')!r}, version {meaning.get('version')!r}; "
            f"this fovea reads {FORMAT} {VERSION}"
        )
    return meaning


def _flat(meaning: dict[str, Any]) -> dict[str, Any]:
    """Options and all else by name; of the steps those that were asked for are left out."""
    options = {name: value for name, value in meaning["options"].items() if name not in ONLY_HOW_LONG}
    return {name: value for name, value in meaning.items() if name not in ("options", "steps")} | options
