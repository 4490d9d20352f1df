"""fovea train: a network and data become a run folder."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from fovea.architectures.catalogue import facts, published
from fovea.architectures.reference import is_reference
from fovea.commands.parsing import parse
from fovea.commands.progress import counting
from fovea.data.augmentation.presets import preset
from fovea.data.names import KNOWN, check_source
from fovea.data.options import DataOptions
from fovea.errors import ModelError, UsageError, suggestion
from fovea.files import RUN_FILE, read_json
from fovea.training.options import TrainingOptions, from_json
from fovea.training.recipes import fitting, recipe

NETWORK, DATA = "lenet5", "digits"


@dataclass(frozen=True)
class Train:
    """Train a network on images. With no arguments: LeNet-5 on the handwritten digits that come with scikit-learn."""

    net: Annotated[str | None, tyro.conf.Positional] = None
    """A network ('fovea list'), or file.py:Class for one of your own; lenet5 where none is named."""
    data: Annotated[str | None, tyro.conf.Positional] = None
    """digits, mnist, cifar10, …, a folder <class>/* or {train,val,test}/<class>/*, a .tar, .zip or .csv of one."""
    recipe: str | None = None
    """Where the options start: digits, mnist, lenet5_1998 or photos; what fits network and data where none is named."""
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
    option: tuple[str, ...] = ()
    """What the network's builder takes beside these, as name=value: stem=small, dropout=0.2."""
    json: bool = False
    """The result as an object for machines."""
    source: DataOptions = field(default_factory=DataOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)


def run(arguments: list[str]) -> int:
    """Train, and print what the best epoch reached."""
    asked = _with_defaults(arguments)
    name, data = str(asked.net), str(asked.data)
    if not is_reference(name):
        facts(name)
    check_source(data)

    import fovea
    from fovea.randomness import key

    with counting("opening files") as progress:
        opened = fovea.open_data(data, **dataclasses.asdict(asked.source), progress=progress)
    network = fovea.create(
        name,
        num_classes=len(opened.classes),
        in_channels=asked.in_channels or opened.channels,
        image_size=asked.image_size,
        seed=key(asked.training.seed, "weights"),
        **_options(asked.option),
    )
    done = fovea.train(network, opened, asked.training, out=asked.resume or asked.out, resume=asked.resume is not None)
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks for all
        return 0
    if asked.json:
        print(json.dumps({"run": str(done.folder)} | {name: each.summary() for name, each in done.scores.items()}))
    else:
        print(done)
    return 0


def _with_defaults(arguments: list[str]) -> Train:
    """Parse twice: first to learn the recipe or configuration, then with it as the default."""
    first = parse(Train, "train", arguments)
    if sum(each is not None for each in (first.recipe, first.config, first.resume)) > 1:
        raise UsageError("--recipe, --config and --resume are three starting points; give one")
    if first.resume is not None and (first.net or first.data or first.out):
        raise UsageError("--resume takes network, data and folder from the run; leave NET, DATA and --out away")
    if first.resume is not None or first.config is not None:
        base = _from_file(first.config or Path(str(first.resume)) / RUN_FILE)
    else:
        net, data = network_and_data(first.net, first.data)
        options = recipe(first.recipe or fitting(net, data))
        base = dataclasses.replace(first, net=net, data=data, training=options, source=DataOptions())
    if first.augment is not None:
        varied = dataclasses.replace(base.training, augmentation=preset(first.augment))
        base = dataclasses.replace(base, training=varied, augment=first.augment)
    again = parse(Train, "train", arguments, default=base)
    if first.net is not None and first.data is None:  # one word: the other half stays as it was
        net, data = network_and_data(first.net, None)
        is_net = net == first.net
        again = dataclasses.replace(again, net=net if is_net else base.net, data=base.data if is_net else data)
    return again


def _options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """name=value pairs; a value is JSON where it can be read so, else text.

    Raises:
        UsageError: a pair without a name or without =.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"option (={pair}) must be name=value, such as stem=small")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


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
