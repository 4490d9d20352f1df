"""fovea compare: several networks, the same budget each, and which of them are worth their cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from fovea.architectures.catalogue import builder_defaults, facts
from fovea.architectures.reference import is_reference
from fovea.commands.allocator import keep_memory
from fovea.commands.experimenting import Experiment, check, helping, plan_of, print_results, swept, tell
from fovea.commands.parsing import options_of, parse
from fovea.commands.progress import counting
from fovea.commands.tasks import likely, task_of
from fovea.data.augmentation.presets import preset
from fovea.data.names import check_source
from fovea.data.options import DataOptions
from fovea.errors import UsageError
from fovea.training.options import TrainingOptions
from fovea.training.recipes import recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from fovea.data.sets import Data
    from fovea.experiments.arms import Arm
    from fovea.experiments.records import Records

FREE = "?"  # the value that --at-equal-cost looks for
EQUAL = ("epochs", "max_steps", "time_budget", "batch_size")  # a budget


@dataclass(frozen=True)
class Compare(Experiment):
    """Train networks with the same budget, and draw accuracy against what each costs, with its Pareto front.

    The budget is that of --epochs, --max-steps or --time-budget, which counts minutes for each network. Stopped or
    killed, the same command goes on; networks and seeds can be added later.
    """

    nets: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Networks ('fovea list'), or file.py:Class; with options behind a colon: cifar_resnet20:depth=32,width=2 or
    image_size=48."""
    data: str = "cifar10"
    """digits, mnist, cifar10, …, a folder <class>/* or {train,val,test}/<class>/*, a .tar, .zip or .csv of one."""
    at_equal_cost: float = 0.0
    """For networks with an option that is left open, such as depth=?: choose it so that they cost so many times the
    first network's multiply-adds."""


class Net(NamedTuple):
    """A network as it was typed."""

    name: str
    options: dict[str, Any]


def run(arguments: list[str]) -> int:
    """Train the networks, and print what each reached and cost."""
    asked = parse(Compare, "compare", arguments)
    if asked.show is not None:
        if asked.nets or asked.out:
            raise UsageError("--show draws what is there, and trains nothing: leave NETS and --out away")
        return _shown(asked, asked.show)
    if not asked.nets:
        raise UsageError("compare wants networks: fovea compare lenet5 cifar_nin cifar_resnet20 --data cifar10")
    nets = [_net(each) for each in asked.nets]
    asked = _checked(asked, nets, arguments)
    check_source(asked.data)
    keep_memory()
    return _compared(asked, nets, arguments)


def _net(text: str) -> Net:
    """The name, and what stands behind the last colon where it holds =."""
    name, _, options = text.rpartition(":")
    if "=" not in options:
        name, options = text, ""
    if not is_reference(name):
        facts(name)
    return Net(name, options_of(tuple(options.split(","))) if options else {})


def _checked(asked: Compare, nets: Sequence[Net], arguments: list[str]) -> Compare:
    check(asked)
    free = [net for net in nets if FREE in net.options.values()]
    if bool(free) != (asked.at_equal_cost > 0):
        raise UsageError(
            "--at-equal-cost and an option left open, such as cifar_resnet20:depth=?, belong together; give both"
        )
    if nets[0] in free or any(list(net.options.values()).count(FREE) > 1 for net in nets):
        raise UsageError("one option of a network can be left open for --at-equal-cost, and none of the first network")
    budgets = {
        tuple(each.flat()[name] for name in EQUAL): net.name
        for net in nets
        for each in [_training(asked, net, arguments, None)]
    }
    if len(budgets) > 1:
        told = "; ".join(
            f"{name}: " + ", ".join(f"{what} {value}" for what, value in zip(EQUAL, budget, strict=True) if value)
            for budget, name in budgets.items()
        )
        raise UsageError(f"the recipes give these networks different budgets ({told}); give --epochs and --batch-size")
    return asked


def _training(asked: Compare, net: Net, arguments: list[str], opened: Data | None) -> TrainingOptions:
    """What a network trains with: its recipe's options, and over them what was typed."""
    size = net.options.get("image_size", asked.image_size)
    size = size if isinstance(size, int) else None
    task = likely(net.name, size) if opened is None else task_of(net.name, opened, size)
    options = recipe(asked.recipe or "modern", task)
    if asked.augment is not None:
        options = dataclasses.replace(options, augmentation=preset(asked.augment))
    default = dataclasses.replace(asked, training=options, source=DataOptions())
    return parse(Compare, "compare", arguments, default=default).training


def _compared(asked: Compare, nets: Sequence[Net], arguments: list[str]) -> int:
    import fovea
    from fovea.experiments.arms import across
    from fovea.training.folder import new_name

    with counting("opening files") as progress:
        opened = fovea.open_data(asked.data, **dataclasses.asdict(asked.source), progress=progress)
    arms = [_arm(asked, net, nets[0], opened, arguments) for net in nets]
    trained = {str(arm.label): dataclasses.replace(arm.options, seed=0).meaning() for arm in arms}
    arms = across(arms, asked.across) if asked.across else arms
    out = asked.out or new_name("compare", opened.name)
    judged = len(opened.test or opened.validation or ())
    plan = plan_of("comparison", opened, judged=judged, networks=trained)
    records = swept(dataclasses.replace(asked, out=out), ["compare", *arguments], arms, opened, plan)
    return 0 if helping() else _told(asked, records, asked.results or out / "results")


def _arm(asked: Compare, net: Net, first: Net, opened: Data, arguments: list[str]) -> Arm:
    from fovea.experiments.arms import Arm, Label
    from fovea.experiments.equal_cost import cost_of, nearest

    build, options = _builder(asked, net, opened), dict(net.options)
    name = next((each for each, value in options.items() if value == FREE), None)
    if name is not None:
        wanted = round(asked.at_equal_cost * cost_of(_builder(asked, first, opened)(0)))
        own = (
            asked.image_size or facts(net.name).image_size if name == "image_size" else builder_defaults(net.name)[name]
        )
        options[name], found = nearest(lambda value: build(0, **{name: value}), own, wanted, name=f"{net.name}: {name}")
        tell(f"{net.name}: {name}={options[name]} costs {found:,} multiply-adds, of {wanted:,} wanted")
        build = _builder(asked, net._replace(options=options), opened)
    shown = ",".join(f"{each}={value}" for each, value in options.items())
    label = Label(net.name.rpartition("/")[2] + (f":{shown}" if shown else ""))
    build(0)  # what cannot be built is refused now, not after an hour
    training = _training(asked, net._replace(options=options), arguments, opened)
    return Arm(label=label, network=build, options=training)


def _builder(asked: Compare, net: Net, opened: Data) -> Callable[..., nn.Module]:
    """Builds the network of a seed, with options over its own."""
    from fovea.randomness import key
    from fovea.transfer.creating import create

    sizes: dict[str, Any] = {"num_classes": len(opened.classes), "in_channels": opened.channels}

    def network(seed: int, **more: Any) -> nn.Module:
        options = {"image_size": asked.image_size} | {k: v for k, v in net.options.items() if v != FREE} | more
        return create(net.name, seed=key(seed, "weights"), **sizes, **options)

    return network


def _told(asked: Compare, records: Records, folder: Path) -> int:
    from fovea.experiments.comparison import Comparison

    whole = records.save(folder)
    title = f"{len(whole.labels)} networks on {whole.plan['data']['name']}, the same budget each"
    return print_results(Comparison(whole, images=whole.plan["judged"]), folder, title=title, as_json=asked.json)


def _shown(asked: Compare, folder: Path) -> int:
    from fovea.experiments.records import load

    return _told(asked, load(folder), folder)
