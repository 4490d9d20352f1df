"""Images before a model: what it is shown, what it says, and what of that is to be explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn

from fovea.data.fitted import Fitted
from fovea.data.sets import Images, Split
from fovea.errors import UsageError
from fovea.explain.aims import Unit, logits_of, targets_of, unit_of
from fovea.explain.options import ExplainOptions
from fovea.explain.places import place_of
from fovea.explain.question import Question, batches
from fovea.explain.untouched import untouched
from fovea.runtime.features import images_of
from fovea.runtime.model import Model, as_model, load
from fovea.runtime.predict import in_words

Shown = Images | Split | NDArray[np.generic] | Tensor | Path | str | Iterable[Path | str]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Images as a model sees them, and what it makes of them.

    Args:
        model: It.
        raw: The images as they came.
        names: Theirs.
        pixels: The images at the network's size.
        images: The same as the network receives them, on its device.
        logits: What it says of them.
    """

    model: Model
    raw: Images
    names: tuple[str, ...]
    pixels: Shaped[Tensor, "n c h w"]
    images: Float[Tensor, "n c h w"]
    logits: Float[Tensor, "n k"]

    @property
    def network(self) -> nn.Module:
        """The model's network."""
        return self.model.network

    @property
    def titles(self) -> tuple[str, ...]:
        """The images' names without the folders above the last."""
        return tuple("/".join(Path(name).parts[-2:]) for name in self.names)

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """(n, h, w, c): the images as the network sees them, for people."""
        return self.model.bundle.preprocessing.pictured(self.images)

    @property
    def probabilities(self) -> Float[Tensor, "n k"]:
        """Of each class, with the model's temperature."""
        return self.model.tempered(self.logits).softmax(1)

    def question(
        self,
        *,
        target: str | int | Sequence[str | int] | None = None,
        layer: str | None = None,
        options: ExplainOptions | None = None,
    ) -> Question:
        """What made the network say this?

        Args:
            target: A class by name or index, or one for each image; a unit as "stage:channel"; the class predicted
                where None.
            layer: Of class activation maps.
            options: What the methods leave open.

        Raises:
            UsageError: no such class, or no such unit.
        """
        aim = self.unit(target) if isinstance(target, str) else None
        spec = self.model.bundle.preprocessing
        black = spec.normalise(torch.zeros_like(self.pixels[:1])).to(self.images.device)
        return Question(
            network=self.network,
            images=self.images,
            aim=targets_of(target, self.logits, self.model.classes) if aim is None else aim,
            layer=layer,
            black=black,
            options=options or ExplainOptions(batch_size=self.model.batch_size),
        )

    def unit(self, target: str) -> Unit | None:
        """The unit that "stage:channel" means; None where the target is a class.

        Raises:
            UsageError: the stage has no such channel, or there is no such stage.
        """
        place, colon, channel = target.rpartition(":")
        if target in self.model.classes or not colon or not channel.isdecimal():
            return None
        return unit_of(place_of(self.network, self.images, place), int(channel))

    def words(self, aim: Unit | Tensor) -> tuple[str, ...]:
        """What is explained of each image: its class, or the unit."""
        if isinstance(aim, Unit):
            return (f"unit {aim}",) * len(self.names)
        return tuple(in_words(self.model.classes[int(target)]) for target in aim)


def subject_of(model: Model | nn.Module | Path | str, images: Shown) -> Subject:
    """Show images to a model.

    Args:
        model: What `fovea.load` or `Run.model` gives, or the path of a run folder or bundle; or any module, which then
            receives square images of one size, their pixels scaled to [0, 1].
        images: A split, an array (n, h, w) or (n, h, w, c) of uint8, a tensor (n, c, h, w); or image files, a folder of
            them, or several of these.

    Raises:
        UsageError: no image at all.
        DataError: images that cannot be read.
        ModelError: the network gives no logits.
    """
    raw = images_of(images)
    if not len(raw):
        raise UsageError("there is no image to explain; name one")
    plain = isinstance(model, nn.Module)
    if isinstance(model, nn.Module):
        with untouched(model):  # a `Model` has it in evaluation mode for good; here it is its owner's again
            model = as_model(model, raw, tuple(map(str, range(getattr(model, "num_classes", 1)))))
    model = model if isinstance(model, Model) else load(model)
    spec, size = model.bundle.preprocessing, model.batch_size
    pixels = Fitted(raw, torch.zeros(len(raw), dtype=torch.int64), spec, None).gather(np.arange(len(raw)))
    shown = spec.normalise(pixels.to(model.device))
    with untouched(model.network), torch.no_grad():
        logits = torch.cat([logits_of(model.network, some) for some in batches(shown, size)])
    if plain:
        model.bundle = replace(model.bundle, classes=tuple(map(str, range(logits.shape[1]))))
    names = tuple(raw.name(place) for place in range(len(raw)))
    return Subject(model=model, raw=raw, names=names, pixels=pixels, images=shown, logits=logits.float().cpu())
