"""A bundle: weights with their meaning, in a folder of safetensors and JSON, equal for equal runs to the byte."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fovea.architectures.catalogue import Architecture, architecture_of, build
from fovea.architectures.reference import is_reference
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError, UsageError
from fovea.files import BUNDLE_FILE, make_folder, read_json, sha256, write_durably, write_json
from fovea.layers.weightless import named_tensors

FORMAT = "fovea-bundle"
VERSION = 1
CALIBRATED = 2  # the version of a bundle with a temperature, which a reader of version 1 would not heed
WEIGHTS, CARD = "weights.safetensors", "README.md"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained network and all it takes to use it: nothing of it depends on when, where or on what it was made.

    Args:
        network: The module, its weights loaded.
        architecture: How to build it again; None for a network of somebody else, which must be given to `load`.
        classes: Class names, in the order of the logits.
        preprocessing: What turns an image into the network's input.
        provenance: Seed, options, versions, data name and fingerprint.
        metrics: Results by split, as `Scores.summary` gives them.
        temperature: What logits are divided by; 1 leaves them as they are. `Model` does it, the network does not.
    """

    network: nn.Module
    architecture: Architecture | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """The architecture's name, or the class of a network of somebody else."""
        return self.architecture.name if self.architecture else type(self.network).__name__

    def save(self, folder: Path | str) -> Path:
        """Write weights, meaning and card, each durably, the meaning last: a folder without it is no bundle.

        Raises:
            MachineError: the folder cannot be written.
        """
        folder = make_folder(Path(folder))
        digest = write_durably(folder / WEIGHTS, safetensors.torch.save(tensors_of(self.network)))
        meaning = {
            "format": FORMAT,
            "version": VERSION if self.temperature == 1 else CALIBRATED,
            "architecture": dataclasses.asdict(self.architecture) if self.architecture else None,
            "network_class": type(self.network).__qualname__,
            "classes": list(self.classes),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "provenance": self.provenance,
            "metrics": self.metrics,
            "weights": {"file": WEIGHTS, "sha256": digest},
        }
        if self.temperature != 1:
            meaning["temperature"] = self.temperature
        write_durably(folder / CARD, card(self).encode())
        write_json(folder / BUNDLE_FILE, meaning)
        return folder


def load(folder: Path | str, *, network: nn.Module | None = None) -> Bundle:
    """Read a bundle, and check it before anything is used.

    Args:
        folder: The bundle's folder.
        network: The module to load the weights into; needed where it is not one of the catalogue.

    Raises:
        ModelError: no bundle, another version, a hash that does not match, weights that do not fit.
    """
    folder = Path(folder)
    meaning = read_json(folder / BUNDLE_FILE)
    if meaning.get("format") != FORMAT or meaning.get("version") not in (VERSION, CALIBRATED):
        raise ModelError(
            f"{folder / BUNDLE_FILE}: format {meaning.get('format')!r}, version {meaning.get('version')!r}; "
            f"this fovea reads {FORMAT} {VERSION} and {CALIBRATED}"
        )
    try:
        return _from_meaning(folder, meaning, network)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{folder / BUNDLE_FILE}: is damaged, field {error} is missing or of the wrong kind"
        ) from error
    except UsageError as error:
        raise ModelError(f"{folder / BUNDLE_FILE}: its network cannot be built: {error}") from error


def describe(network: nn.Module) -> Architecture | None:
    """How a network can be built again, its number of classes as it is now; None for one of somebody else."""
    architecture = architecture_of(network)
    if architecture is None:
        return None
    num_classes: Any = getattr(network, "num_classes", architecture.num_classes)  # its head may be newer than it
    return dataclasses.replace(architecture, num_classes=num_classes)


def origin_of(network: nn.Module) -> dict[str, Any] | None:
    """Where a network's weights come from, as whoever filled it has noted; None for fresh ones."""
    origin: Any = getattr(network, "origin", None)
    return origin if isinstance(origin, dict) else None


def as_json(value: Any) -> Any:
    """A value as it is after being written and read as JSON: tuples become lists."""
    return json.loads(json.dumps(value))


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's state as contiguous tensors on the CPU, sorted by name; shared ones are written out each."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in sorted(network.state_dict().items())}


def fill(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load tensors into a network, all of them and nothing else.

    Raises:
        ModelError: keys or shapes that differ; the first ten are named.
    """
    expected = network.state_dict()
    differences = [f"{key} is missing" for key in expected if key not in tensors]
    differences += [f"{key} is not in the network" for key in tensors if key not in expected]
    differences += [
        f"{key} is {tuple(tensor.shape)}, the network has {tuple(expected[key].shape)}"
        for key, tensor in tensors.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    if differences:
        more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
        raise ModelError(f"{name}: the weights do not fit the network: {'; '.join(differences[:10])}{more}")
    if any(tensor.is_meta for tensor in expected.values()):
        own = {key: tensor.to(expected[key].dtype) for key, tensor in tensors.items()}
        network.load_state_dict(own, assign=True)
    else:
        network.load_state_dict(tensors)


def _temperature(folder: Path, meaning: dict[str, Any]) -> float:
    found = meaning["temperature"] if meaning["version"] == CALIBRATED else 1.0
    if not (isinstance(found, int | float) and math.isfinite(found) and found > 0):
        raise ModelError(f"{folder / BUNDLE_FILE}: temperature (={found}) must be above 0 and finite; calibrate again")
    return float(found)


def read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose SHA-256 is known.

    Raises:
        ModelError: it cannot be read, or its hash is another.
    """
    try:
        found = sha256(path)
        if found != digest:
            raise ModelError(
                f"{path}: its SHA-256 is {found[:12]}…, the bundle was written with {digest[:12]}…; "
                f"the file is damaged or was replaced: copy the bundle again"
            )
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: is no safetensors file ({error})") from error


def card(bundle: Bundle) -> str:
    """The README of a bundle: what it is, what it takes, what it gives, how good it is, how it was made."""
    spec, lines = bundle.preprocessing, []
    lines += [f"# {bundle.name} on {bundle.provenance.get('data', {}).get('name', 'unnamed data')}", ""]
    lines += [f"A convolutional network for {len(bundle.classes)} classes: {', '.join(bundle.classes[:20])}", ""]
    if len(bundle.classes) > 20:
        lines[-2] += ", …"
    lines += ["## Use", "", "    fovea predict THIS_FOLDER IMAGE", "", "## Input", ""]
    lines += [
        f"Shorter side to {spec.resize} pixels, centre {spec.image_size}×{spec.image_size}, {spec.in_channels} "
        f"channel{'s' if spec.in_channels > 1 else ''}, pixels / {spec.scale:g}, minus {_mean(spec)}, divided by "
        f"{list(spec.std)}. `fovea` does this by itself.",
        "",
        "## Results",
        "",
        "| split | images | top-1 accuracy | 95 % interval |",
        "|---|---:|---:|---|",
    ]
    for split, scores in bundle.metrics.items():
        low, high = scores["top1_interval"]
        lines += [f"| {split} | {scores['images']:,} | {scores['top1']:.2%} | {low:.2%} to {high:.2%} |"]
    if bundle.temperature != 1:
        lines += ["", f"Logits are divided by a temperature of {bundle.temperature:.4g}, fitted on validation images."]
    lines += ["", "## Origin", "", "```json", json.dumps(bundle.provenance, indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _mean(spec: Preprocessing) -> str:
    return f"{list(spec.mean)}" if len(spec.mean) <= spec.in_channels else "the mean image of the training set"


def _unfilled(architecture: Architecture) -> nn.Module:
    """A network to be filled: without numbers, so that none is drawn in vain, where a file can give it all it needs."""
    sizes = dataclasses.asdict(architecture)
    options = sizes.pop("options")
    with torch.device("meta"):
        network = build(**options, **sizes)
    tensors = named_tensors(network)
    complete = tensors.keys() == network.state_dict().keys() and len(set(map(id, tensors.values()))) == len(tensors)
    return network if complete else build(**options, **sizes, seed=0)


def _from_meaning(folder: Path, meaning: dict[str, Any], network: nn.Module | None) -> Bundle:
    architecture = Architecture(**meaning["architecture"]) if meaning["architecture"] else None
    if network is None and (architecture is None or is_reference(architecture.name)):
        whose = architecture.name if architecture else meaning["network_class"]
        raise ModelError(
            f"{folder}: holds weights of a network of somebody's own ({whose}), and a bundle never runs code; "
            f"give the network: --network {whose if architecture else 'file.py:Class'}, or load(folder, network=…)"
        )
    if network is None and architecture is not None:
        network = _unfilled(architecture)
    assert network is not None
    fill(network, read_weights(folder / meaning["weights"]["file"], meaning["weights"]["sha256"]), str(folder))
    if architecture is not None and architecture.num_classes != len(meaning["classes"]):
        raise ModelError(
            f"{folder / BUNDLE_FILE}: names {len(meaning['classes'])} classes, but its network gives "
            f"{architecture.num_classes} logits"
        )
    spec = meaning["preprocessing"]
    return Bundle(
        network=network,
        architecture=architecture,
        classes=tuple(meaning["classes"]),
        preprocessing=Preprocessing(**{**spec, "mean": tuple(spec["mean"]), "std": tuple(spec["std"])}),
        provenance=meaning["provenance"],
        metrics=meaning["metrics"],
        temperature=_temperature(folder, meaning),
    )
