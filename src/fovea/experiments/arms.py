"""An arm of an experiment: one network with one recipe, which several seeds train."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from fovea.architectures.catalogue import architecture_of
from fovea.errors import UsageError
from fovea.experiments.ideas import idea
from fovea.experiments.ideas.change import Change, Shape
from fovea.layers.initialisation import WEIGHTED, initialise
from fovea.randomness import key
from fovea.training.options import TrainingOptions

Network = Callable[[int], nn.Module]  # of a seed
NOTHING = "nothing"  # a way of doing without an idea that goes without saying


class Label(NamedTuple):
    """What tells an arm from the others of its experiment."""

    network: str
    without: str = ""  # "relu:tanh"; nothing is left out where it is empty
    setting: str = ""  # "lr=0.1"; the recipe's own where it is empty

    def __str__(self) -> str:
        parts = (self.network, f"without {self.without}" if self.without else "", self.setting)
        return ", ".join(part for part in parts if part)

    def folder(self, seed: int) -> str:
        """The name of a trial's folder: plain characters alone."""
        return "_".join(re.sub(r"[^A-Za-z0-9.=-]+", "-", part).strip("-") for part in (*self, f"seed{seed}") if part)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is trained.

    Args:
        label: Its name.
        network: Builds the network of a seed.
        options: The recipe; the seed is set trial by trial.
    """

    label: Label
    network: Network
    options: TrainingOptions


def without(arm: Arm, told: str, *, shape: Shape) -> list[Arm]:
    """The arm without an idea, once for each way of doing without it; everything else, and every draw, is equal.

    Args:
        arm: With the idea.
        told: The idea's name, "relu", for all ways; or one of them, "relu:tanh".
        shape: Of an image: channels, height, width.

    Raises:
        UsageError: no such idea or way, or one that the network or its recipe does not have.
    """
    name, _, way = told.partition(":")
    found = idea(name)
    if way and way not in found.without:
        ways = ", ".join(f"{name}:{each}" for each in found.without)
        raise UsageError(f"{told}: there is no such way of doing without {found.words}; there are {ways}")
    chosen = [way] if way else list(found.without)
    named = {each: name if each == NOTHING else f"{name}:{each}" for each in chosen}
    return [_changed(arm, named[each], found.without[each], (found.where, shape)) for each in chosen]


def _changed(arm: Arm, told: str, change: Change, about: tuple[str, Shape]) -> Arm:
    where, shape = about
    options = change.options(arm.options) if change.options is not None else arm.options
    if change.options is not None and options == arm.options:
        raise UsageError(
            f"--without {told}: this recipe has nothing of it to leave out; {where} have: choose another recipe or idea"
        )

    def network(seed: int) -> nn.Module:
        made = arm.network(seed)
        if change.network is None:
            return made
        return matched(made, change, shape, seed, told=f"{arm.label.network} --without {told}", where=where)

    return Arm(label=arm.label._replace(without=told), network=network, options=options)


def matched(network: nn.Module, change: Change, shape: Shape, seed: int, *, told: str, where: str) -> nn.Module:
    """The network after a change, in place: what stays keeps its weights, what is new is a function of the seed.

    New convolutions and full layers start as the network's own do.

    Raises:
        UsageError: the change finds nothing to change, or leaves a network that cannot take its images.
    """
    assert change.network is not None
    before = set(network.modules())  # held, lest what is new be taken for what it replaced
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "ablation"))
        if change.network(network, shape) == 0:
            raise UsageError(f"{told}: this network has nothing of it to leave out; {where} have")
        scheme: Any = getattr(network, "scheme", None)
        for part in list(network.modules()):
            if part not in before and isinstance(part, WEIGHTED) and scheme is not None:
                initialise(part, scheme)
    architecture = architecture_of(network)
    if architecture is not None:  # what the catalogue builds by that name is another network
        network.architecture = dataclasses.replace(architecture, name=told)  # type: ignore[assignment]
    return network


def across(arms: Sequence[Arm], told: str) -> list[Arm]:
    """Each arm once for each value of an option: "lr=0.01,0.1,1".

    Raises:
        UsageError: no such option, or a value that it does not take.
    """
    name, equals, values = told.partition("=")
    if not equals or not values:
        raise UsageError(f"--across {told}: must be an option and its values, such as lr=0.01,0.1,1")
    return [
        dataclasses.replace(
            arm,
            label=arm.label._replace(setting=f"{name}={value}"),
            options=arm.options.but(**{name: _read(arm.options, name, value)}),
        )
        for value in values.split(",")
        for arm in arms
    ]


def _read(options: TrainingOptions, name: str, text: str) -> Any:
    own: Mapping[str, Any] = options.flat()
    kind: type[Any] = type(own[name]) if name in own else str  # what is unknown is refused by `but`
    if kind is bool:
        if text not in ("true", "false"):
            raise UsageError(f"--across {name}={text}: must be true or false")
        return text == "true"
    if kind not in (int, float, str):
        raise UsageError(f"--across {name}: only options of one number or word can be varied")
    try:
        return kind(text)
    except ValueError as error:
        raise UsageError(f"--across {name}={text}: must be a {'whole ' if kind is int else ''}number") from error
