"""The protocols of the papers: several views of each image, judged one by one, their answers averaged."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn

from fovea.data.ahead import ahead
from fovea.data.fitted import Fitted, stacked
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Images
from fovea.data.views import PROTOCOLS as VIEWS
from fovea.data.views import random_views, views
from fovea.errors import ModelError, ShapeError, UsageError, require, suggestion
from fovea.evaluation.dense import fully_convolutional
from fovea.evaluation.ensembles import averaged
from fovea.runtime.model import Model
from fovea.runtime.ranks import summed

Average = Literal["probabilities", "logits"]

VIEWS_AT_ONCE = 4096  # whose logits are kept until they are averaged
RANDOM_VIEWS: Final = 16
WORKERS: Final = os.cpu_count() or 1

SAYS: Final = {
    "centre": "one square from the middle",
    "flip": "the square from the middle and its mirror image",
    "airbench_6": "the square, moved a pixel each way along a diagonal, and these mirrored, as Jordan 2024",
    "five": "four corners and the centre",
    "ten": "four corners and the centre, and these mirrored, as Krizhevsky et al. 2012",
    "googlenet_144": "four sizes, three squares, six crops, mirrored, as Szegedy et al. 2014",
    "vgg_150": "three sizes, 5 by 5 crops, mirrored, as Simonyan and Zisserman 2014",
    "random": "random squares of the same image, mirrored or not",
}
WEIGHTS: Final = {"airbench_6": (2.0, 1.0, 1.0, 2.0, 1.0, 1.0)}  # of views, where they are not weighed alike


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one image becomes several that are judged.

    Args:
        name: One of `SAYS`.
        views: How many, which is the cost: forward passes for each image.
        average: What is averaged over them. The papers average probabilities, after the softmax.
        seed: What random views are drawn from; each image keeps its own in any order and any batch.
    """

    name: str
    views: int
    average: Average = "probabilities"
    seed: int = 0

    def __str__(self) -> str:
        passes = f"{self.views} forward passes" if self.views > 1 else "1 forward pass"
        mean = f", {self.average} averaged" if self.views > 1 else ""
        return f"{self.name} ({SAYS[self.name]}; {passes} an image{mean})"


def protocol(name: str, *, average: Average = "probabilities", views: int = RANDOM_VIEWS, seed: int = 0) -> Protocol:
    """A protocol by its name.

    Args:
        name: One of `SAYS`.
        average: What is averaged over the views.
        views: How many random ones; the others have theirs from the papers.
        seed: What random views are drawn from.

    Raises:
        UsageError: an unknown name, or no view.
    """
    if name not in SAYS:
        known = (*SAYS, "dense")
        raise UsageError(f"unknown protocol {name!r}; choose from {', '.join(known)}.{suggestion(name, known)}")
    require("views", views, views > 0, "1 or more")
    return Protocol(name=name, views=VIEWS.get(name, views), average=average, seed=seed)


@dataclass(frozen=True)
class Seen:
    """A model that judges by a protocol: what `evaluate` takes, in the place of the model itself."""

    model: Model
    protocol: Protocol

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.model.classes

    def __str__(self) -> str:
        return str(self.protocol)

    def logits(self, images: Images) -> Float[Tensor, "n k"]:
        """One row for each image, whose softmax is the mean over the views, or which is their mean itself.

        Raises:
            ShapeError: views that an image cannot give.
        """
        if self.protocol.name == "centre":
            return self.model.logits(images)
        step = max(1, VIEWS_AT_ONCE // self.protocol.views)
        starts = range(0, len(images), step)
        return torch.cat([self._some(images, start, min(step, len(images) - start)) for start in starts])

    def _some(self, images: Images, start: int, count: int) -> Float[Tensor, "n k"]:
        spec, views = self.model.bundle.preprocessing, self.protocol.views
        labels = torch.zeros(count, dtype=torch.int64)
        every = _Views(images, labels, spec, None, workers=WORKERS, protocol=self.protocol, start=start)
        found = self.model.logits_of(every)
        found = found.view(count, views, -1)
        weights = WEIGHTS.get(self.protocol.name, (1.0,) * views)
        if self.protocol.average == "probabilities":
            return averaged(list(found.unbind(1)), weights).float()
        return torch.einsum("nvk,v->nk", found, found.new_tensor(weights)) / sum(weights)


@dataclass(frozen=True)
class SeenWhole:
    """A model that judges each image whole, and mirrored: what `evaluate` takes, in the place of the model itself.

    The classifier's layers become convolutions, whose map of logits is averaged over its places; the probabilities of
    image and mirror image, and of several scales, are averaged.

    Args:
        model: One whose network has a fully convolutional form.
        average: Of image, mirror image and scales.
        scales: What the shorter side becomes, in pixels; none for the one of the model's preprocessing.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.2.
    """

    model: Model
    average: Average = "probabilities"
    scales: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.model.classes

    def logits(self, images: Images) -> Float[Tensor, "n k"]:
        """One row for each image.

        Raises:
            ModelError: a network that has no such form, or whose preprocessing subtracts a mean image.
            ShapeError: a scale below the network's size.
        """
        spec = self.model.bundle.preprocessing
        scales = self.scales or (spec.resize,)
        if min(scales) < spec.image_size:
            raise ShapeError(
                f"an image resized to {min(scales)} does not fill the network's {spec.image_size} pixels; "
                f"dense evaluation wants {spec.image_size} or more"
            )
        if len(spec.mean) > spec.in_channels:
            raise ModelError("dense evaluation cannot subtract a mean image from images of other sizes; use another")
        network = fully_convolutional(self.model.network, spec.in_channels, spec.image_size)
        specs = [replace(spec, resize=scale) for scale in scales]
        (rank, ranks), count = self.model.share, len(images)
        own = range(rank, count, ranks)
        ready = ahead(lambda index: [_whole(images[index], each) for each in specs], own, WORKERS)
        with torch.inference_mode():
            found = {index: self._one(network, whole) for index, whole in zip(own, ready, strict=True)}
        return torch.cat(list(found.values())) if ranks == 1 else summed(found, 1, count, len(self.classes))

    def _one(self, network: nn.Module, scaled: list[NDArray[np.generic]]) -> Float[Tensor, "1 k"]:
        spec = self.model.bundle.preprocessing
        found: list[Tensor] = []
        for planes in scaled:
            both = np.ascontiguousarray(np.stack([planes, planes[:, ::-1]]))
            pixels = torch.from_numpy(both).permute(0, 3, 1, 2).to(self.model.device)
            found += self.model.tempered(network(spec.normalise(pixels)).float().cpu().mean((2, 3)))[:, None].unbind()
        return averaged(found).float() if self.average == "probabilities" else torch.stack(found).mean(0)

    def __str__(self) -> str:
        scales = self.scales or (self.model.bundle.preprocessing.resize,)
        sides = ", ".join(map(str, scales))
        return (
            f"dense (the whole image and its mirror image, shorter side {sides}; {2 * len(scales)} forward passes "
            f"over the whole image, {self.average} averaged; Simonyan and Zisserman 2014)"
        )


def seen(
    model: Model,
    name: str,
    *,
    average: Average = "probabilities",
    views: int = RANDOM_VIEWS,
    scales: tuple[int, ...] = (),
    seed: int = 0,
) -> Model | Seen | SeenWhole:
    """A model that judges by the protocol of that name, "dense" included; "centre" is the model itself.

    Args:
        model: The model.
        name: One of `SAYS`, or "dense".
        average: What is averaged over the views.
        views: How many random ones.
        scales: Of "dense", what the shorter side becomes, in pixels; none for the one of the model's preprocessing.
        seed: What random views are drawn from.

    Raises:
        UsageError: an unknown name, or no view.
    """
    if name == "centre":
        return model
    if name == "dense":
        return SeenWhole(model, average, scales)
    return Seen(model, protocol(name, average=average, views=views, seed=seed))


def _whole(image: NDArray[np.generic], spec: Preprocessing) -> NDArray[np.generic]:
    """The image (h, w, c) with its shorter side at the specification's, as a whole."""
    planes = spec.channelled(image)
    return planes if min(planes.shape[:2]) == spec.resize else spec.rescaled(planes)


@dataclass(frozen=True)
class _Views(Fitted):
    """Some images' views, one after another, as if each were an image."""

    protocol: Protocol = Protocol(name="centre", views=1)
    start: int = 0

    def __len__(self) -> int:
        return len(self.labels) * self.protocol.views

    def gather(self, indices: NDArray[np.int64]) -> Shaped[Tensor, "b c s s"]:
        places, which = divmod(indices, self.protocol.views)
        found: list[NDArray[np.generic]] = []
        for place in np.unique(places):
            found += list(self._of(int(place) + self.start)[which[places == place]])
        return stacked(found)

    def told(self, indices: NDArray[np.int64]) -> str:
        return super().told(np.unique(indices // self.protocol.views) + self.start)

    def _of(self, index: int) -> NDArray[np.generic]:
        image, asked = self.images[index], self.protocol
        if asked.name != "random":
            return views(image, self.preprocessing, asked.name)
        return random_views(image, self.preprocessing, asked.views, seed=asked.seed, index=index)
