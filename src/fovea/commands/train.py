"""fovea train: a network and data become a run folder."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fovea.architectures.catalogue import facts, published
from fovea.architectures.reference import is_reference
from fovea.commands.allocator import keep_memory
from fovea.commands.parsing import options_of, parse
from fovea.commands.progress import counting
from fovea.commands.tasks import likely, task_of
from fovea.data.augmentation.presets import preset
from fovea.data.names import KNOWN, check_source
from fovea.data.options import DataOptions
from fovea.errors import ModelError, UsageError, suggestion
from fovea.files import RUN_FILE, SEEDS_FILE, read_json
from fovea.training.options import TrainingOptions, from_json
from fovea.training.recipes import FITTED, PAPER, fitting, recipe

if TYPE_CHECKING:
    from torch import nn

    from fovea.data.sets import Data
    from fovea.training.recipes.task import Task

NETWORK, DATA = "lenet5", "digits"
BATCH_SIZE = ("-b", "--batch-size")


@dataclass(frozen=True)
class Train:
    """Train a network on images. With no arguments: LeNet-5 on the handwritten digits that come with scikit-learn."""

    net: Annotated[str | None, tyro.conf.Positional] = None
    """A network ('fovea list'), or file.py:Class for one of your own; lenet5 where none is named."""
    data: Annotated[str | None, tyro.conf.Positional] = None
    """digits, mnist, cifar10, …, a folder <class>/* or {train,val,test}/<class>/*, a .tar, .zip or .csv of one."""
    recipe: str | None = None
    """Where the options start: a name that 'fovea recipes' lists; paper, the network's own; modern, quick and finetune,
    which fit themselves to network and data; what fits them where none is named."""
    augment: str | None = None
    """Start the augmentation from a preset named by its paper: alexnet, vgg, inception, cifar, randaugment, …"""
    config: Path | None = None
    """Start from the config.json of another run."""
    resume: Path | None = None
    """Go on with this run folder, as if it had never stopped."""
    out: Path | None = None
    """The run folder; runs/<time>_<network>_<data> where none is named."""
    image_size: int | None = None
    """Side of the network's images in pixels; the network's own where none is given."""
    in_channels: int | None = None
    """Channels the network takes; those of the data where none is given."""
    weights: str | None = None
    """Start from these: a run folder, bundle, checkpoint, file (.safetensors, .pth, …), torchvision:NAME or timm:NAME.
    Images are then prepared as they were there, unless --mean, --resize or a recipe says otherwise."""
    option: tuple[str, ...] = ()
    """What the network's builder takes beside these, as name=value: stem=small, dropout=0.2."""
    json: bool = False
    """The result as an object for machines."""
    dry_run: bool = False
    """Print the plan, with time, memory and disk expected, and stop there."""
    prove_resume: bool = False
    """Kill this run a few times in its first steps, resume it, and say whether the result is the same to the bit."""
    seeds: int = 1
    """Train with so many seeds, from --seed on, and report mean and deviation."""
    source: DataOptions = field(default_factory=DataOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)


def run(arguments: list[str]) -> int:
    """Train, and print what the best epoch reached."""
    asked = _with_defaults(_parts_for_auto(arguments))
    data = str(asked.data)
    if not is_reference(str(asked.net)):
        facts(str(asked.net))
    check_source(data)
    keep_memory()
    if asked.prove_resume:
        return _prove(asked, arguments)

    import fovea

    with counting("opening files") as progress:
        opened = fovea.open_data(data, **dataclasses.asdict(asked.source), progress=progress)

    if asked.recipe in FITTED:
        asked = _with_defaults(_parts_for_auto(arguments), task_of(str(asked.net), opened, asked.image_size))
    network, training = _started(asked, opened)
    if asked.dry_run:
        return _plan(asked, network(training.seed), opened, training)
    out, resume = asked.resume or asked.out, asked.resume is not None
    if asked.seeds > 1:
        from fovea.experiments.seeds import train_seeds

        several = train_seeds(network, opened, training, seeds=asked.seeds, out=out, resume=resume)
        return _tell(asked, several.as_json(), str(several))
    done = fovea.train(network(training.seed), opened, training, out=out, resume=resume)
    scores = {split: each.summary() for split, each in done.scores.items()}
    return _tell(asked, {"run": str(done.folder)} | scores, str(done))


def _started(asked: Train, opened: Data) -> tuple[Callable[[int], nn.Module], TrainingOptions]:
    """What builds the network of a seed, and the options with the preprocessing of its weights."""
    from fovea.bundle import origin_of
    from fovea.randomness import key
    from fovea.transfer.creating import started
    from fovea.transfer.starting import Start, adopted
    from fovea.transfer.unfolding import unfolded

    sizes = {
        "num_classes": len(opened.classes),
        "in_channels": asked.in_channels or (None if asked.weights else opened.channels),
        "image_size": asked.image_size,
    }

    def start(seed: int) -> Start:
        options = options_of(asked.option)
        own = key(seed, "weights")
        return started(str(asked.net), asked.weights, sizes=sizes, classes=opened.classes, seed=own, **options)

    if not asked.weights:
        return lambda seed: start(seed).network, asked.training
    first = {asked.training.seed: start(asked.training.seed)}  # read once, and used by the run of that seed
    spec, own = first[asked.training.seed].preprocessing, asked.training.input
    training = asked.training
    if spec is not None:  # what is told otherwise wins
        training = adopted(training, spec).but(**{"resize": own.resize} if own.resize else {})
        training = training.but(mean=own.mean, std=own.std) if own.mean is not None else training
    elif own.mean is None and os.environ.get("RANK", "0") == "0":
        what = "mean and deviation are measured on the data, unless --mean and --std tell them"
        print(f"note: {asked.weights} does not say how images are prepared for it; {what}", file=sys.stderr)

    def network(seed: int) -> nn.Module:
        found = (first.pop(seed, None) or start(seed)).network
        if spec is not None and opened.train is not None and (norms := unfolded(found, opened.train, spec)):
            found.origin = {**(origin_of(found) or {}), "unfolded": norms}  # type: ignore[assignment]
        return found

    return network, training


def _tell(asked: Train, values: dict[str, Any], words: str) -> int:
    """One process speaks for all that torchrun started."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(values) if asked.json else words)
    return 0


def _plan(asked: Train, network: nn.Module, data: Data, training: TrainingOptions) -> int:
    from fovea.files import read_json
    from fovea.training.planning import prepare

    found = read_json(asked.resume / RUN_FILE) if asked.resume else None
    made = prepare(network, data, training, run=asked.resume or asked.out or Path("runs"), found=found)
    return _tell(asked, made.plan.as_json(), str(made.plan))


def _prove(asked: Train, arguments: list[str]) -> int:
    from fovea.training.proof import prove_resume

    flags = [argument for argument in arguments if argument not in ("--prove-resume", "--no-prove-resume", "--json")]
    verdict = prove_resume([sys.executable, "-m", "fovea", "train", *flags])
    _tell(asked, verdict.as_json(), str(verdict))
    return 0 if verdict.equal else 1


def _parts_for_auto(arguments: list[str]) -> list[str]:
    """--batch-size auto keeps the recipe's batch and lets its parts be found: --accumulate 0."""
    found: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument == "auto" and found and found[-1] in BATCH_SIZE:
            found[-1:] = ["--accumulate", "0"]
        elif name in BATCH_SIZE and equals and value == "auto":
            found += ["--accumulate", "0"]
        else:
            found.append(argument)
    return found


def _with_defaults(arguments: list[str], task: Task | None = None) -> Train:
    """Parse twice: first to learn the recipe or configuration, then with it as the default.

    Args:
        arguments: What was typed.
        task: What a recipe fits itself to; before the data is opened a likely one, so that what is wrong with the
            arguments is told at once.
    """
    first = parse(Train, "train", arguments)
    if sum(each is not None for each in (first.recipe, first.config, first.resume)) > 1:
        raise UsageError("--recipe, --config and --resume are three starting points; give one")
    if first.seeds < 1:
        raise UsageError(f"seeds (={first.seeds}) must be 1 or more")
    if first.resume is not None and (first.net or first.data or first.out or first.weights):
        raise UsageError(
            "--resume takes network, weights, data and folder from the run; leave NET, DATA and --out away"
        )
    if first.resume is not None and (first.resume / SEEDS_FILE).is_file():
        base = _from_seeds(first.resume)
    elif first.resume is not None or first.config is not None:
        base = _from_file(first.config or Path(str(first.resume)) / RUN_FILE)
        if first.resume is not None:
            base = dataclasses.replace(base, weights=None)  # the checkpoint has them
    else:
        net, data = network_and_data(first.net, first.data)
        if first.recipe == PAPER and not is_reference(net):
            facts(net)
        name = first.recipe or ("finetune" if first.weights else fitting(net, data))
        options = recipe(name, task or likely(net, first.image_size))
        base = dataclasses.replace(first, net=net, data=data, training=options, source=DataOptions(), recipe=name)
    if first.augment is not None:
        varied = dataclasses.replace(base.training, augmentation=preset(first.augment))
        base = dataclasses.replace(base, training=varied, augment=first.augment)
    again = parse(Train, "train", arguments, default=base)
    if first.net is not None and first.data is None:  # one word: the other half stays as it was
        net, data = network_and_data(first.net, None)
        is_net = net == first.net
        again = dataclasses.replace(again, net=net if is_net else base.net, data=base.data if is_net else data)
    return again


def network_and_data(first: str | None, second: str | None) -> tuple[str, str]:
    """[NET] [DATA]: a single word that is a known data set or a path is DATA.

    Raises:
        UsageError: a single word that is neither a network nor data.
    """
    if first is None or second is not None:
        return first or NETWORK, second or DATA
    if first in published() or is_reference(first):
        return first, DATA
    if first in KNOWN or "/" in first or Path(first).exists():
        return NETWORK, first
    known = [*published(), *KNOWN]
    raise UsageError(f"{first!r} is neither a network, nor a data set, nor a folder.{suggestion(first, known)}")


def _from_seeds(folder: Path) -> Train:
    """What several seeds in one folder were told: the first one's configuration, and their number."""
    seeds = read_json(folder / SEEDS_FILE).get("seeds")
    if not isinstance(seeds, list) or not seeds:
        raise ModelError(f"{folder / SEEDS_FILE}: names no seeds; start them anew")
    return dataclasses.replace(_from_file(folder / f"seed_{seeds[0]}" / RUN_FILE), seeds=len(seeds))


def _from_file(path: Path) -> Train:
    """What a run was told, as defaults."""
    if not path.is_file():
        raise ModelError(f"{path.parent if path.name == RUN_FILE else path}: holds no run (no {RUN_FILE})")
    told: dict[str, Any] = read_json(path)
    try:
        network, source = told["network"], told["data"]["source"]
        options = from_json(told["training"])
        if source is None or not (network["name"] in published() or is_reference(network["name"])):
            raise ModelError(f"{path}: was made from Python, with a network or data of its own; go on there as well")
        root = source.get("data_root")
        return Train(
            net=network["name"],
            data=source["source"],
            image_size=network["image_size"],
            in_channels=network["in_channels"],
            weights=(told.get("weights") or {}).get("source"),
            option=tuple(f"{name}={json.dumps(value)}" for name, value in network.get("options", {}).items()),
            source=DataOptions(
                split=source["split"],
                split_seed=source["split_seed"],
                fold=source.get("fold", ""),
                fraction=source.get("fraction", 1.0),
                allow_bad=source.get("allow_bad", 0),
                data_root=Path(root) if root else None,
            ),
            training=options,
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: is no configuration of a run (field {error})") from error
