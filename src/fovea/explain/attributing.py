"""Which pixels made a network say what it says: one call, any method, arrays and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from fovea.explain.aims import Unit
from fovea.explain.methods import METHODS, attribution_name
from fovea.explain.options import ATTRIBUTIONS, ExplainOptions
from fovea.explain.question import Question
from fovea.explain.subject import Shown, Subject, subject_of
from fovea.explain.untouched import untouched
from fovea.runtime.model import Model


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """How much each pixel of each image did for what is explained.

    Args:
        method: By which method.
        names: Of the images.
        targets: What is explained of each: its class, or a unit.
        probabilities: Of those classes; NaN for a unit.
        maps: For each pixel of the image as the network sees it; more is more important, and below 0, where the method
            has signs, is what speaks against.
        detail: The same for each channel, where the method tells them apart.
        layer: The place that a class activation map is of.
        gap: For each image how far the numbers are from adding up to what theory promises, as a share of it; None
            where it promises nothing.
        pictures: The images as the network sees them.
    """

    method: str
    names: tuple[str, ...]
    targets: tuple[str, ...]
    probabilities: Float32[NDArray[np.float32], "n"]
    maps: Float32[NDArray[np.float32], "n h w"]
    pictures: NDArray[np.uint8]
    detail: Float32[NDArray[np.float32], "n c h w"] | None = None
    layer: str | None = None
    gap: Float32[NDArray[np.float32], "n"] | None = None

    @property
    def words(self) -> str:
        """The method as people call it."""
        return ATTRIBUTIONS[self.method]

    @property
    def signed(self) -> bool:
        """Whether the method has signs."""
        return METHODS[self.method].signed

    def told(self, place: int) -> str:
        """The class of an image and its probability in words."""
        chance = float(self.probabilities[place])
        return self.targets[place] + ("" if np.isnan(chance) else f", {100 * chance:.1f} %")

    def __str__(self) -> str:
        where = f" of {self.layer}" if self.layer else ""
        lines = [f"{self.words}{where}"]
        for place, name in enumerate(self.names):
            row, column = np.unravel_index(self.maps[place].argmax(), self.maps[place].shape)
            off = "" if self.gap is None else f"; adds up but for {100 * self.gap[place]:.2g} %"
            lines.append(f"  {name}: {self.told(place)}; most at row {row}, column {column}{off}")
        return "\n".join(lines)


def attribute(
    model: Model | nn.Module | Path | str,
    images: Shown,
    *,
    method: str = "grad_cam",
    target: str | int | Sequence[str | int] | None = None,
    layer: str | None = None,
    options: ExplainOptions | None = None,
) -> Attribution:
    """Which pixels made the model say what it says of images.

    The network runs in evaluation mode and is afterwards as it was, after an error too.

    Args:
        model: What `fovea.load` or `Run.model` gives, or the path of a run folder or bundle; or any module, which then
            receives square images of one size, their pixels scaled to [0, 1].
        images: A split, an array (n, h, w) or (n, h, w, c) of uint8, a tensor (n, c, h, w); or image files, a folder of
            them, or several of these.
        method: One of `fovea.explain.methods.METHODS`.
        target: A class by name or index, or one for each image; a unit as "stage:channel"; the class predicted where
            None.
        layer: Of class activation maps: a stage or a module's path; the last stage whose maps have places where None.
        options: What the methods leave open.

    Raises:
        UsageError: no such method, class, unit or layer.
        ModelError: the method is not defined for this network; the message says why, and what would do.
        DataError: images that cannot be read.
    """
    name = attribution_name(method)  # before anything is read
    subject = subject_of(model, images)
    with untouched(subject.network):
        question = subject.question(target=target, layer=layer, options=options)
        return answered(subject, question, name)


def answered(subject: Subject, question: Question, method: str) -> Attribution:
    """The answer to a question by the method of that name; the network is in evaluation mode, as `untouched` has it.

    Raises:
        ModelError: the method is not defined for this network.
    """
    answer, aim = METHODS[method].ask(question), question.aim
    chances = torch.full((len(subject.names),), torch.nan)
    if not isinstance(aim, Unit):
        chances = subject.probabilities.gather(1, aim[:, None])[:, 0]
    return Attribution(
        method=method,
        names=subject.names,
        targets=subject.words(aim),
        probabilities=_array(chances),
        maps=_array(answer.maps),
        detail=None if answer.detail is None else _array(answer.detail),
        gap=None if answer.gap is None else _array(answer.gap),
        layer=answer.layer,
        pictures=subject.pictures,
    )


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
