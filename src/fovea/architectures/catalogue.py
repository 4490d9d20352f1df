"""The catalogue: which networks there are, what is known of them, how one is built. Facts are read without torch."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from fovea.errors import UsageError, suggestion

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of a network without building it; a test recounts every number."""

    name: str
    record: str | None  # its id in the reference records, where it has one
    year: int
    title: str
    source: str
    builder: str  # module:function below fovea.architectures
    image_size: int  # side of the square images, in pixels
    in_channels: int
    num_classes: int
    parameters: int
    macs: int  # multiply-adds of one image
    at_other_sizes: list[dict[str, int]]
    stages: dict[str, list[int]]  # the shape leaving each stage: channels, height, width
    printed: dict[str, int]  # figures as the source prints them
    deviations: dict[str, str]  # exact differences from the source, each with its reason
    idea: str


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What it takes to build the same network again; every network from `build` carries its own as `.architecture`."""

    name: str
    num_classes: int
    in_channels: int
    image_size: int


@functools.cache
def published() -> dict[str, Published]:
    """The facts on every network of the catalogue, by name, oldest first."""
    text = resources.files("fovea.architectures").joinpath("published.json").read_text(encoding="utf-8")
    return {entry["name"]: Published(**entry) for entry in json.loads(text)}


def list_architectures(pattern: str = "*") -> list[str]:
    """The names of the networks that match a pattern such as "lenet*", oldest first; an empty list where none does."""
    return [name for name in published() if fnmatch.fnmatchcase(name, pattern)]


def facts(name: str) -> Published:
    """The facts on one network.

    Raises:
        UsageError: no network is called so; close matches are offered.
    """
    known = published()
    if name not in known:
        raise UsageError(
            f"no network is called {name!r}; 'fovea list' shows the {len(known)} there are.{suggestion(name, known)}"
        )
    return known[name]


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
) -> nn.Module:
    """A network of the catalogue, initialised as its paper says.

    Args:
        name: A name that `list_architectures` gives.
        num_classes: Number of logits; the paper's where None.
        in_channels: Channels of the images; the paper's where None.
        image_size: Side of the square images in pixels; the paper's where None.
        seed: Makes the weights a function of this number, and leaves torch's generator as it was; where None they
            are drawn from torch's generator, as in torch's own layers.

    Raises:
        UsageError: an unknown name, or a number below 1.
        ShapeError: the network does not take this image_size.
    """
    known = facts(name)
    architecture = Architecture(
        name=name,
        num_classes=known.num_classes if num_classes is None else num_classes,
        in_channels=known.in_channels if in_channels is None else in_channels,
        image_size=known.image_size if image_size is None else image_size,
    )
    sizes = {k: getattr(architecture, k) for k in ("num_classes", "in_channels", "image_size")}
    for argument, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{argument} (={value!r}) must be a whole number, 1 or more")
    module, _, function = known.builder.partition(":")
    builder: Any = getattr(importlib.import_module(f"fovea.architectures.{module}"), function)
    with _seeded(seed):
        network: nn.Module = builder(**sizes)
    network.architecture = architecture  # type: ignore[assignment]  # a plain attribute, not a submodule
    return network


def architecture_of(network: nn.Module) -> Architecture | None:
    """How a network of the catalogue was built; None for a network of somebody else."""
    found = getattr(network, "architecture", None)
    return found if isinstance(found, Architecture) else None


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
