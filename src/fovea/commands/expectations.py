"""What a recipe is expected to cost on some data: images seen, multiply-adds, and hours where this machine is known."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fovea.architectures.catalogue import published
from fovea.architectures.reference import is_reference
from fovea.commands.tasks import COLOURS, likely, task_of
from fovea.files import cache_folder
from fovea.training.recipes.task import Task

if TYPE_CHECKING:
    from fovea.cost.calibration import Calibration
    from fovea.training.options import TrainingOptions

# Training images and channels of the sets known by name, as fovea cuts them; a test recounts those it can.
KNOWN_SETS = {
    "digits": (1_079, 1),
    "mnist": (55_000, 1),
    "fashion_mnist": (55_000, 1),
    "cifar10": (45_000, 3),
    "cifar100": (45_000, 3),
    "imagenet": (1_281_167, 3),
}
PASSES = 3  # a training step's multiply-adds in forward passes: one forward, and twice as many backward
HOUR = 3600.0


class Expected(NamedTuple):
    """What a run is expected to take.

    Args:
        images: Seen over all epochs.
        macs: Multiply-adds of them, at the network's own size; None where nobody has counted the network.
        steps: Updates.
    """

    images: int
    macs: int | None
    steps: int


def known_task(network: str, data: str, *, images: int = 0) -> Task:
    """A network and data: a set known by name is not opened.

    Args:
        network: Its name.
        data: As for fovea train.
        images: How many there are to train on, where that was found before; 0 finds it.

    Raises:
        DataError: a folder or file that holds no images of classes.
    """
    task = likely(network)
    if data in KNOWN_SETS:
        count, channels = KNOWN_SETS[data]
        return task._replace(images=count, photographs=channels == COLOURS)
    if images:
        return task._replace(images=images)
    import fovea

    return task_of(network, fovea.open_data(data))


def expectation(told: TrainingOptions, images: int, network: str) -> Expected:
    """What a run of so many training images is expected to take.

    Args:
        told: The recipe.
        images: To train on.
        network: Its name.
    """
    seen = told.epochs * images
    macs = published()[network].macs if network in published() else None
    steps = told.epochs * math.ceil(images / told.batch_size)
    return Expected(seen, None if macs is None else PASSES * macs * seen, steps)


def hours_of(network: str, runs: Sequence[tuple[TrainingOptions, Expected]]) -> list[float | None]:
    """Hours of runs of a network on this machine, without judging and reading; None where it is not calibrated.

    Args:
        network: Its name.
        runs: Recipes, and what they take.
    """
    if is_reference(network) or not any(cache_folder().glob("calibration-float32-*.json")):
        return [None] * len(runs)
    found = _kept()
    if found is None:
        return [None] * len(runs)
    seconds = functools.cache(functools.partial(_step, network, *found))
    return [seconds(told.batch_size) * each.steps / HOUR for told, each in runs]


def _kept() -> tuple[Calibration, bool] | None:
    """This machine's calibration for float32, and whether it is one for channels last, as training has them."""
    from fovea.cost.calibration import calibration, kept_at

    for channels_last in (True, False):
        if kept_at(precision="float32", channels_last=channels_last).is_file():
            return calibration(precision="float32", channels_last=channels_last), channels_last
    return None


def _step(network: str, made: Calibration, channels_last: bool, batch_size: int) -> float:
    """Seconds of a training step, estimated without running it."""
    import torch

    from fovea.architectures.catalogue import build
    from fovea.cost.step import Setting
    from fovea.cost.timing import expected

    told = published()[network]
    with torch.device("meta"):
        module = build(network)
    setting = Setting(
        in_channels=told.in_channels,
        image_size=(told.image_size, told.image_size),
        batch_size=batch_size,
        precision="float32",
        channels_last=channels_last,
    )
    return expected(module, setting, made)[1].step
