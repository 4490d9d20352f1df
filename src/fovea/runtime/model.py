"""A bundle ready to predict: images in, logits out, through the preprocessing that the bundle carries."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fovea import bundle as bundles
from fovea.bundle import Bundle
from fovea.data.fitted import Fitted
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Images
from fovea.errors import MachineError, ModelError, UsageError, require
from fovea.runtime.checkpoint import judged_weights
from fovea.runtime.find import find_model
from fovea.runtime.folding import folded
from fovea.runtime.ranks import summed

# Batches are cut at fixed boundaries by index, so that logits do not depend on who asks for how many.
BATCH_SIZE, SMALLEST_BATCH = 256, 8
PIXELS = 32 * 224**2  # of a batch: with more, deep networks of thin layers are a third slower, and none is faster

FOLDS_FROM = 64  # images; of fewer, the pass that finds what can be folded costs more than it saves

Found = TypeVar("Found", Tensor, list[Tensor])

_one_at_a_time = threading.RLock()  # folding changes the network for a while, which no other thread may see


@runtime_checkable
class Predicts(Protocol):
    """Whatever turns raw images into logits."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        ...

    def logits(self, images: Images) -> Float[Tensor, "n k"]:
        """Logits of raw images, in their order."""
        ...


class Model:
    """Predicts with a bundle's network, in evaluation mode and without gradients.

    Args:
        bundle: The network with its meaning.
        device: Where the network runs.
        batch_size: Images judged at once, which changes logits by rounding alone; as `batch_of` says where None.
        share: This process's place and how many processes share the images, each of which then asks for the same
            logits; (0, 1) for one alone. `runtime.ranks.joined` has brought them together.

    Raises:
        MachineError: there is no such device here.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.bundle = bundle
        self.batch_size = batch_of(bundle.preprocessing.image_size) if batch_size is None else batch_size
        require("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")
        self.share = share
        try:
            self.device = torch.device(device)
            self.network = bundle.network.to(self.device).to(memory_format=torch.channels_last).eval()
        except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without the device
            reason = str(error).partition("\n")[0]
            raise MachineError(f"device (={device}) cannot be used: {reason}; choose another --device") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.bundle.classes

    def logits(self, images: Images) -> Float[Tensor, "n k"]:
        """Logits of raw images, in their order, on the CPU."""
        labels = torch.zeros(len(images), dtype=torch.int64)
        fitted = Fitted(images, labels, self.bundle.preprocessing, None, workers=os.cpu_count() or 1)
        return self.logits_of(fitted)

    def logits_of(self, fitted: Fitted) -> Float[Tensor, "n k"]:
        """Logits of fitted images, on the CPU, by all processes that share them, divided by the temperature."""
        (rank, ranks), size = self.share, self.batch_size
        if ranks == 1:
            return self.tempered(network_logits(self.network, fitted, self.device, batch_size=size))
        share = range(rank, _batches(fitted, size), ranks)
        parts = by_batch(self.network, self.network, fitted, self.device, size, share)
        return self.tempered(summed(parts, size, len(fitted), len(self.classes)))

    def tempered(self, logits: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
        """The network's logits divided by the bundle's temperature: classes stay as they are, confidences change."""
        return logits if self.bundle.temperature == 1 else logits / self.bundle.temperature


def batch_of(image_size: int) -> int:
    """How many images of so many pixels a side are judged at once: 256 small ones, 32 of 224 pixels, a power of 2."""
    fit = max(1, PIXELS // image_size**2)
    return min(BATCH_SIZE, max(SMALLEST_BATCH, 1 << (fit.bit_length() - 1)))


def network_logits(
    network: nn.Module,
    fitted: Fitted,
    device: torch.device,
    *,
    rank: int = 0,
    ranks: int = 1,
    batch_size: int | None = None,
) -> Float[Tensor, "n k"]:
    """Logits of fitted images in evaluation mode, on the CPU; the network's mode is as before afterwards.

    Of 64 images or more, batch normalisation is folded into the convolutions for as long as it takes, which changes
    logits by rounding alone. Threads that call this wait for each other.

    Batches are cut at the same boundaries whatever the number of ranks. Each rank takes its share of them, and leaves
    zeros where the others' stand, so that the sum over the ranks has every image exactly once.

    Args:
        network: From images to logits.
        fitted: The images.
        device: Where the network runs.
        rank: This process's place.
        ranks: How many share the work.
        batch_size: Images judged at once; as `batch_of` says where None.
    """
    size = batch_of(fitted.preprocessing.image_size) if batch_size is None else batch_size
    parts = by_batch(network, network, fitted, device, size, range(rank, _batches(fitted, size), ranks))
    if ranks == 1:
        return torch.cat(list(parts.values()))
    return _spread(parts, size, len(fitted))


def _batches(fitted: Fitted, size: int) -> int:
    return math.ceil(len(fitted) / size)


def by_batch(
    call: Callable[[Tensor], Found],
    network: nn.Module,
    fitted: Fitted,
    device: torch.device,
    size: int,
    share: range | None = None,
) -> dict[int, Found]:
    """What a network, or a part of it, gives for batches of fitted images, by their places, as float32 on the CPU.

    The network is in evaluation mode meanwhile, and runs with its batch normalisations folded, where there are 64
    images or more.

    Args:
        call: From a batch of images to a tensor or a list of them, by running `network` or a part of it.
        network: Whose mode is set, and is as before afterwards.
        fitted: The images.
        device: Where the network runs.
        size: Images of a batch.
        share: Which of the batches; all where None.
    """
    parts: dict[int, Found] = {}
    share = range(_batches(fitted, size)) if share is None else share
    with _one_at_a_time, torch.inference_mode(), ExitStack() as stack:
        stack.callback(network.train, network.training)
        network.eval()
        for place, pixels in zip(share, fitted.batches(size, share), strict=True):
            images = fitted.preprocessing.normalise(pixels.to(device))
            if not parts and len(fitted) >= FOLDS_FROM:
                stack.enter_context(folded(network, images[:2], call))
            parts[place] = tree_map(_brought, call(images))
    return parts


def _brought(found: Tensor) -> Tensor:
    return found.float().cpu()


def _spread(parts: dict[int, Tensor], size: int, count: int) -> Tensor:
    """The logits of some batches at their places among all; with no batch, a column that widens to any."""
    if not parts:
        return torch.zeros(count, 1)
    found = torch.zeros(count, next(iter(parts.values())).shape[1])
    for place, logits in parts.items():
        found[place * size : place * size + len(logits)] = logits
    return found


def load(
    model: Path | str,
    *,
    network: nn.Module | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> Model:
    """A model from a run folder, a bundle's folder, or a checkpoint of a finished run.

    A checkpoint's weights are those that validation judged: the averages, where the run keeps any.

    Args:
        model: The folder, or the checkpoint's file.
        network: The module to load the weights into, where it is not one of the catalogue.
        device: Where it shall run.
        batch_size: Images judged at once; as their size suggests where None.

    Raises:
        UsageError: there is no such folder or file.
        ModelError: it holds no bundle or no checkpoint, or one that is damaged or does not fit.
    """
    found = find_model(model)
    bundle = bundles.load(found.bundle, network=network)
    if found.checkpoint is not None:
        bundles.fill(bundle.network, judged_weights(found.checkpoint), str(found.checkpoint))
        bundle = replace(bundle, metrics={}, temperature=1.0)  # these belong to the bundle's own weights
    return Model(bundle, device=device, batch_size=batch_size)


def as_model(network: nn.Module, images: Images, classes: tuple[str, ...]) -> Model:
    """A plain module as a model for images of its own size: pixels scaled to [0, 1], nothing subtracted."""
    first = np.asarray(images[0])
    if first.shape[0] != first.shape[1]:
        raise UsageError(
            f"images of {first.shape[0]}×{first.shape[1]} pixels must be square for a module without bundle"
        )
    channels = first.shape[2] if first.ndim == 3 else 1
    size = first.shape[0]
    spec = Preprocessing(image_size=size, resize=size, in_channels=getattr(network, "in_channels", channels))
    if first.dtype != np.uint8:
        spec = replace(spec, scale=1.0)
    count = getattr(network, "num_classes", len(classes))
    if count != len(classes):
        raise ModelError(f"the network gives {count} logits, but there are {len(classes)} classes")
    described = bundles.describe(network)
    return Model(Bundle(network=network, architecture=described, classes=classes, preprocessing=spec))
