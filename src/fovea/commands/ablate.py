"""fovea ablate: a network with and without an idea, everything else equal, and what the idea is worth."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fovea.architectures.catalogue import facts
from fovea.architectures.reference import is_reference
from fovea.commands.allocator import keep_memory
from fovea.commands.experimenting import Experiment, check, helping, plan_of, print_results, swept, tell
from fovea.commands.parsing import options_of, parse
from fovea.commands.progress import counting
from fovea.commands.tasks import likely, task_of
from fovea.commands.train import network_and_data
from fovea.data.augmentation.presets import preset
from fovea.data.names import check_source
from fovea.data.options import DataOptions
from fovea.errors import UsageError
from fovea.experiments.ideas import IDEAS, check_idea
from fovea.training.recipes import FITTED, fitting, recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fovea.data.sets import Data
    from fovea.experiments.arms import Arm
    from fovea.experiments.records import Records
    from fovea.training.recipes.task import Task


@dataclass(frozen=True)
class Ablate(Experiment):
    """Switch ideas off one by one, and measure what each is worth: matched pairs over seeds, with intervals.

    A pair has the same seed, images, order, augmentation and first weights; only the idea differs. With --watch the
    gradients of every layer are kept and drawn, too. Stopped or killed, the same command goes on.
    """

    net: Annotated[str | None, tyro.conf.Positional] = None
    """A network ('fovea list'), or file.py:Class for one of your own; lenet5 where none is named."""
    data: Annotated[str | None, tyro.conf.Positional] = None
    """digits, mnist, cifar10, …, a folder <class>/* or {train,val,test}/<class>/*, a .tar, .zip or .csv of one."""
    without: str = ""
    """The ideas, such as relu,dropout,batch_norm; relu:tanh for one way of doing without. 'fovea ablate' alone lists
    them."""
    at_equal_cost: str = ""
    """An option of the network's builder, such as width, by which each arm without an idea is made to cost as many
    multiply-adds as the whole."""
    option: tuple[str, ...] = ()
    """What the network's builder takes beside classes, channels and size, as name=value: depth=20."""
    toy: Literal["none", "gradients", "batches"] = "none"
    """Train nothing: gradients through four nodes, which vanish and explode; or one image in three batches, whose
    normalisation makes them depend on each other."""


def run(arguments: list[str]) -> int:
    """Train the pairs, and print effects, intervals and costs."""
    asked = _with_defaults(arguments)
    if asked.show is not None:
        return _shown(asked, asked.show)
    if asked.toy != "none":
        return _toy(asked.toy)
    if not asked.without:
        return _ideas(asked)
    ideas = [each.strip() for each in asked.without.split(",") if each.strip()]
    for each in ideas:
        check_idea(each.partition(":")[0])
    if not is_reference(str(asked.net)):
        facts(str(asked.net))
    check_source(str(asked.data))
    check(asked)
    keep_memory()
    return _ablated(asked, ideas, arguments)


def _ablated(asked: Ablate, ideas: list[str], arguments: list[str]) -> int:
    import fovea
    from fovea.training.folder import new_name

    with counting("opening files") as progress:
        opened = fovea.open_data(str(asked.data), **dataclasses.asdict(asked.source), progress=progress)
    if asked.recipe in FITTED:
        asked = _with_defaults(arguments, task_of(str(asked.net), opened, asked.image_size))
    arms = _arms(asked, ideas, opened)
    out = asked.out or new_name(f"ablate_{str(asked.net).rpartition(':')[2]}", opened.name)
    network = {"name": asked.net, "image_size": asked.image_size, "option": list(asked.option)}
    equal = {"at_equal_cost": asked.at_equal_cost} if asked.at_equal_cost else {}
    training = dataclasses.replace(asked.training, seed=0).meaning()
    plan = plan_of("ablation", opened, network=network, training=training, **equal)
    records = swept(dataclasses.replace(asked, out=out), ["ablate", *arguments], arms, opened, plan)
    return 0 if helping() else _told(asked, records, asked.results or out / "results")


def _arms(asked: Ablate, ideas: list[str], opened: Data) -> list[Arm]:
    """The whole network and what it is without each idea, across the values of an option where one is varied."""
    from fovea.experiments.arms import Arm, Label, across, without
    from fovea.experiments.trials import image_shape
    from fovea.randomness import key
    from fovea.transfer.creating import create

    name = str(asked.net)
    own = options_of(asked.option)
    sizes: dict[str, Any] = {
        "num_classes": len(opened.classes),
        "in_channels": opened.channels,
        "image_size": asked.image_size,
    }

    def whole(**more: Any) -> Arm:
        def network(seed: int) -> Any:
            return create(name, seed=key(seed, "weights"), **sizes, **(own | more))

        return Arm(label=Label(name.rpartition("/")[2]), network=network, options=asked.training)

    seed = asked.training.seed
    shape = image_shape(whole().network(seed), opened)

    def lacking(each: str, **more: Any) -> list[Arm]:
        return without(whole(**more), each, shape=shape)

    arms = [arm for each in ideas for arm in lacking(each)]
    if asked.at_equal_cost:
        arms = [_as_dear(asked, arm, whole(), lacking) for arm in arms]
    for arm in arms:
        arm.network(seed)  # what cannot be had is refused now, not after an hour
    return across([whole(), *arms], asked.across) if asked.across else [whole(), *arms]


def _as_dear(asked: Ablate, arm: Arm, whole: Arm, lacking: Callable[..., list[Arm]]) -> Arm:
    """The arm with the builder's option so that it costs as many multiply-adds as the whole."""
    from fovea.architectures.catalogue import builder_defaults
    from fovea.experiments.equal_cost import cost_of, nearest

    name, seed = asked.at_equal_cost, asked.training.seed
    defaults = builder_defaults(str(asked.net)) | options_of(asked.option)
    if name not in defaults:
        there = ", ".join(each for each, value in defaults.items() if type(value) in (int, float)) or "none"
        raise UsageError(f"--at-equal-cost {name}: {asked.net} has no such option; those that are numbers: {there}")

    def build(value: Any) -> nn.Module:
        return lacking(arm.label.without, **{name: value})[0].network(seed)

    wanted = cost_of(whole.network(seed))
    value, found = nearest(build, defaults[name], wanted, name=f"--at-equal-cost {name}")
    tell(f"{arm.label}: {name}={value} costs {found:,} multiply-adds; the whole {wanted:,}")
    return lacking(arm.label.without, **{name: value})[0]


def _told(asked: Ablate, records: Records, folder: Path) -> int:
    from fovea.experiments.ablation import Ablation

    whole = records.save(folder)
    return print_results(Ablation(whole), folder, title=_title(whole), as_json=asked.json)


def _shown(asked: Ablate, folder: Path) -> int:
    from fovea.experiments.records import load

    return _told(asked, load(folder), folder)


def _title(records: Records) -> str:
    labels = records.labels
    return f"{labels[0].network} on {records.plan['data']['name']}"


def _toy(name: str) -> int:
    from fovea.experiments import toys

    print(toys.chains() if name == "gradients" else toys.batches())
    return 0


def _ideas(asked: Ablate) -> int:
    """What can be switched off."""
    if asked.json:
        print(json.dumps(list(IDEAS)))
        return 0
    from fovea.experiments.ideas import idea

    for name in IDEAS:
        found = idea(name)
        ways = ", ".join(f"{name}:{way} ({change.words})" for way, change in found.without.items())
        print(f"{name}: {found.words}; {found.where}\n    without: {ways}\n    {found.source}")
    return 0


def _with_defaults(arguments: list[str], task: Task | None = None) -> Ablate:
    """Parse twice: first to learn network and recipe, then with the recipe as the default."""
    first = parse(Ablate, "ablate", arguments)
    if (first.show is not None or first.toy != "none") and (first.without or first.out):
        raise UsageError("--show and --toy train nothing: leave --without and --out away")
    net, data = network_and_data(first.net, first.data)
    options = recipe(first.recipe or fitting(net, data), task or likely(net, first.image_size))
    if first.augment is not None:
        options = dataclasses.replace(options, augmentation=preset(first.augment))
    base = dataclasses.replace(first, net=net, data=data, training=options, source=DataOptions())
    return parse(Ablate, "ablate", arguments, default=base)
