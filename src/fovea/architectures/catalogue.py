"""The catalogue: which networks there are, what is known of them, how one is built. Facts are read without torch."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from fovea.architectures.reference import accepted, builder_of, is_reference
from fovea.errors import ModelError, UsageError, suggestion

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Where ours differs from a figure: by how much exactly, and why."""

    difference: int  # ours minus the figure
    reason: str


@dataclass(frozen=True, kw_only=True)
class PublishedError:
    """An error rate as a source prints it, in per cent."""

    data: str
    protocol: str
    top1: float | None
    top5: float | None
    source: str


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
    parameters: int  # learnable, as counted on the reference implementation
    macs: int  # multiply-adds of one image, likewise
    stages: dict[str, list[int]]  # the shape leaving each stage: channels, height, width
    idea: str
    family: str = ""  # its paper's file in published/, without the ending
    options: dict[str, Any] = field(default_factory=dict)  # what the builder is called with
    at_other_sizes: list[dict[str, int]] = field(default_factory=list)
    printed: dict[str, int] = field(default_factory=dict)  # figures as the source prints them, within 1 %
    deviations: dict[str, Deviation] = field(default_factory=dict)  # by the figure's name
    errors: list[PublishedError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # where sources disagree, or are from memory


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What it takes to build the same network again; every network from `build` carries its own as `.architecture`."""

    name: str
    num_classes: int
    in_channels: int
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)


class Usual(NamedTuple):
    """What a network of the user's own is built for where nobody says otherwise."""

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224


@functools.cache
def published() -> dict[str, Published]:
    """The facts on every network of the catalogue, by name, oldest first."""
    folder = resources.files("fovea.architectures").joinpath("published")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    entries = [
        _read(entry, family=file.name.removesuffix(".json"))
        for file in files
        for entry in json.loads(file.read_text(encoding="utf-8"))
    ]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.year)}


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
    **options: Any,
) -> nn.Module:
    """A network of the catalogue, initialised as its paper says.

    Args:
        name: A name that `list_architectures` gives; or `file.py:Class`, `package.module:function` for a network of
            one's own, which is called with those of the sizes below that it takes.
        num_classes: Number of logits; the paper's where None.
        in_channels: Channels of the images; the paper's where None.
        image_size: Side of the square images in pixels; the paper's where None.
        seed: Makes the weights a function of this number, and leaves torch's generator as it was; where None they
            are drawn from torch's generator, as in torch's own layers.
        options: What the network's builder takes beside these; its docstring says.

    Raises:
        UsageError: an unknown name or option, or a number below 1.
        ShapeError: the network does not take this image_size.
    """
    known = None if is_reference(name) else facts(name)
    usual = known or Usual()
    architecture = Architecture(
        name=name,
        num_classes=usual.num_classes if num_classes is None else num_classes,
        in_channels=usual.in_channels if in_channels is None else in_channels,
        image_size=usual.image_size if image_size is None else image_size,
        options=options,
    )
    sizes = {k: getattr(architecture, k) for k in ("num_classes", "in_channels", "image_size")}
    for argument, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{argument} (={value!r}) must be a whole number, 1 or more")
    if known is not None:
        network = _filled(_builder(known), sizes | known.options | options, seed)
    else:
        network = _of_the_user(name, sizes, options, seed)
    network.architecture = architecture  # type: ignore[assignment]  # a plain attribute, not a submodule
    return network


def builder_options(name: str) -> tuple[str, ...]:
    """What the builder of a network of the catalogue takes beside classes, channels and size; none of one's own.

    Raises:
        UsageError: an unknown name.
    """
    return () if is_reference(name) else tuple(builder_defaults(name))


def builder_defaults(name: str) -> dict[str, Any]:
    """What the builder of a network of the catalogue is called with where nobody says otherwise, sizes left out.

    Raises:
        UsageError: an unknown name.
    """
    known = facts(name)
    taken = inspect.signature(_builder(known)).parameters
    values = {each: parameter.default for each, parameter in taken.items()} | known.options
    return {each: value for each, value in values.items() if each not in ("num_classes", "in_channels", "image_size")}


def architecture_of(network: nn.Module) -> Architecture | None:
    """How a network of the catalogue was built; None for a network of somebody else."""
    found = getattr(network, "architecture", None)
    return found if isinstance(found, Architecture) else None


def _read(entry: dict[str, Any], *, family: str) -> Published:
    deviations = {what: Deviation(**each) for what, each in entry.pop("deviations", {}).items()}
    errors = [PublishedError(**each) for each in entry.pop("errors", [])]
    return Published(**entry, family=family, deviations=deviations, errors=errors)


def _of_the_user(name: str, sizes: dict[str, Any], options: dict[str, Any], seed: int | None) -> nn.Module:
    from torch import nn

    builder = builder_of(name)
    with _seeded(seed):
        network = _called(name, builder, accepted(builder, sizes), options)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name}: gives {type(network).__name__}, no torch.nn.Module")
    return network


def _called(name: str, builder: Callable[..., Any], sizes: dict[str, Any], options: dict[str, Any]) -> Any:
    """What the builder gives; one that passes its arguments on is called without the sizes that are refused there."""
    try:
        return builder(**sizes, **options)
    except TypeError as error:
        refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if refused and refused[1] in sizes:
            fewer = {size: value for size, value in sizes.items() if size != refused[1]}
            return _called(name, builder, fewer, options)
        raise ModelError(f"{name}: cannot be built from {sizes | options}: {error}") from error


def _builder(known: Published) -> Callable[..., Any]:
    module, _, function = known.builder.partition(":")
    builder: Callable[..., Any] = getattr(importlib.import_module(f"fovea.architectures.{module}"), function)
    return builder


def _filled(builder: Callable[..., Any], arguments: dict[str, Any], seed: int | None) -> nn.Module:
    """Build without memory, then allocate once and draw each tensor once."""
    import torch

    from fovea.architectures.undrawn import Undrawn

    unknown = set(arguments) - set(inspect.signature(builder).parameters)
    for name in sorted(unknown):
        taken = inspect.signature(builder).parameters
        raise UsageError(f"{builder.__name__} takes no {name}; it takes {', '.join(taken)}.{suggestion(name, taken)}")
    device = torch.get_default_device()
    with torch.device("meta"), Undrawn():
        network: nn.Module = builder(**arguments)
    if device.type != "meta":
        # As `to_empty` does, whose empty_like of a tensor without numbers would import sympy, which takes a second.
        bare: Any = network
        bare._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))
        with _seeded(seed):
            bare.reset_parameters()
    return network


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
