"""What goes into a run: the data at the network's size, and the batches of it."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from torch import nn

from fovea import bundle as bundles
from fovea.data.augmentation.image import one_by_one
from fovea.data.fitted import Fitted
from fovea.data.loader import TrainingBatches
from fovea.data.preparing import Wanted, components, geometry, prepare
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Data
from fovea.errors import ModelError, ShapeError, require
from fovea.training.options import TrainingOptions
from fovea.training.ranks import Ranks


def prepared(network: nn.Module, data: Data, options: TrainingOptions) -> dict[str, Fitted]:
    """The splits at the size that the network takes, as the recipe wants them.

    Raises:
        ModelError: the network's image size is unknown, or it does not fit the data.
        DataError: no validation images, or images that cannot be read.
    """
    architecture = bundles.describe(network)
    image_size = architecture.image_size if architecture else data.image_size
    if image_size is None:
        raise ModelError(f"{type(network).__name__}: its image size is unknown; give square images of one size")
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    in_channels = getattr(network, "in_channels", first.in_channels if first else data.channels)
    spec = geometry(
        data,
        image_size=image_size,
        in_channels=in_channels,
        resize=options.input.resize,
        interpolation=options.input.interpolation,
    )
    _check_logits(network, spec, data)
    if 0 < options.input.smallest_size < spec.image_size:
        try:
            _check_logits(network, replace(spec, image_size=options.input.smallest_size), data)
        except ShapeError as error:
            raise ShapeError(
                f"smallest_size (={options.input.smallest_size}) is no size that the network takes, and it must be to "
                f"grow from there: {error}"
            ) from error
    source = options.input
    wanted = Wanted(
        augmentation=options.augmentation,
        moments=None if source.mean is None or source.std is None else (source.mean, source.std),
        mean_image=options.input.mean_image,
        cache=options.input.cache,
        workers=options.execution.workers or os.cpu_count() or 1,
    )
    return prepare(data, spec, wanted)


def training_batches(
    train_split: Fitted, options: TrainingOptions, ranks: Ranks, device: torch.device
) -> TrainingBatches:
    """This rank's batches, made where the work is: single images by threads, whole batches on the device.

    Raises:
        DataError: fewer images than a batch, or a batch that the ranks cannot share.
        UsageError: a share that cannot be cut into equal parts.
    """
    parts, shares = options.update.accumulate, ranks.count
    if parts > 0 and shares > 1:
        whole = options.batch_size % (parts * shares) == 0
        require(
            "accumulate", parts, whole, f"such that batch_size (={options.batch_size}) is a multiple of it and ranks"
        )
    singly = train_split.packed is None or one_by_one(options.augmentation)
    return TrainingBatches(
        fitted=train_split if singly else train_split.on(device),
        batch_size=options.batch_size,
        seed=options.seed,
        augmentation=options.augmentation,
        components=components(train_split, options.augmentation),
        workers=options.execution.workers or (os.cpu_count() or 1 if singly else 0),
        device=device,
        rank=ranks.rank,
        ranks=ranks.count,
    )


def _check_logits(network: nn.Module, spec: Preprocessing, data: Data) -> None:
    """Run one black image through, so that what does not fit is said before anything is decoded."""
    was_training = network.training
    image = torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size)
    try:
        with torch.no_grad():
            logits = network.eval()(image)
    except RuntimeError as error:
        raise ShapeError(f"{type(network).__name__} does not take images {tuple(image.shape[1:])}: {error}") from error
    finally:
        network.train(was_training)
    if logits.shape != (1, len(data.classes)):
        raise ModelError(
            f"{type(network).__name__} gives {tuple(logits.shape[1:])} logits, but {data.name} has "
            f"{len(data.classes)} classes; build it with num_classes={len(data.classes)}"
        )
