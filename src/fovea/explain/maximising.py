"""Activation maximisation: the image that a class or a unit of a network answers to most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from fovea.errors import ShapeError, UsageError, require
from fovea.explain.aims import Score, Unit, class_score, targets_of, unit_of
from fovea.explain.baselines import blurred
from fovea.explain.canvas import Canvas, CanvasKind, canvas_class
from fovea.explain.places import Place, place_of
from fovea.explain.priors import jittered, total_variation, turned
from fovea.explain.question import gradient
from fovea.explain.reaching import Reach, black, fits, pictures_of, reach, received, require_finite, rounded
from fovea.explain.untouched import untouched
from fovea.randomness import key
from fovea.runtime.model import Model
from fovea.runtime.predict import in_words

STRONGER = (0.1, 0.3, 1.0, 1.0, 1.0)  # deviations of noise tried one after the other where a unit is silent

Position = Literal["mean", "centre"]
Asked = Unit | str | tuple[str, int]  # a unit as "conv2:5" or ("conv2", 5)


@dataclass(frozen=True, kw_only=True)
class MaximisingOptions:
    """How images are sought that excite a network."""

    canvas: CanvasKind = "fourier"
    """What is optimised: the image's waves, which keeps noise away, or its pixels."""
    fall: float = 1.5
    """How steeply the weight of waves falls with their frequency: 1 as in natural images, more is smoother."""
    steps: int = 256
    """Updates."""
    lr: float = 0.1
    """Adam's learning rate, of numbers whose deviation 1 is that of the image before its sigmoid."""
    image_size: int | None = None
    """Side of the images in pixels, for units alone; the network's where None."""
    position: Position = "mean"
    """Of a unit: the mean of its map, or its value at the map's centre."""
    jitter: float = 0.07
    """The most that an image is shifted at each step, as a share of its side."""
    turn: float = 15.0
    """The most that it is turned, in degrees."""
    zoom: float = 0.15
    """The most that it is enlarged or shrunk, as a share."""
    blur: float = 0.0
    """Deviation in pixels of the Gaussian that it goes through now and then; 0 is none."""
    blur_every: int = 4
    """Steps from one blur to the next."""
    total_variation: float = 0.0
    """The weight of the penalty on differences between neighbours."""
    batch_size: int = 16
    """Images that run at once."""
    seed: int = 0
    """Of the noise at the start, the shifts and the turns."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        canvas_class(self.canvas)
        require("fall", self.fall, 0 <= self.fall <= 4, "0 to 4")
        require("steps", self.steps, self.steps >= 1, "1 or more")
        require("lr", self.lr, 0 < self.lr < float("inf"), "above 0")
        require("image_size", self.image_size, self.image_size is None or self.image_size >= 1, "1 or more")
        require("position", self.position, self.position in ("mean", "centre"), "mean or centre")
        require("jitter", self.jitter, 0 <= self.jitter < 1, "0 or more and below 1")
        require("turn", self.turn, 0 <= self.turn <= 180, "0 to 180")
        require("zoom", self.zoom, 0 <= self.zoom < 1, "0 or more and below 1")
        require("blur", self.blur, 0 <= self.blur < float("inf"), "0 or more")
        require("blur_every", self.blur_every, self.blur_every >= 1, "1 or more")
        require("total_variation", self.total_variation, 0 <= self.total_variation < float("inf"), "0 or more")
        require("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Maximised:
    """Images that excite a network, one for each class or unit.

    Args:
        names: Of the classes or units.
        pictures: The images found.
        before: What the image at the start scored: the logit of the class, or the activation of the unit.
        after: What the picture found scores, as it is given here, unshifted.
        history: The scores at each step, of images shifted and turned.
    """

    names: tuple[str, ...]
    pictures: UInt8[NDArray[np.uint8], "n s s c"]
    before: Float32[NDArray[np.float32], "n"]
    after: Float32[NDArray[np.float32], "n"]
    history: Float32[NDArray[np.float32], "steps n"]

    def __str__(self) -> str:
        told = zip(self.names, self.before, self.after, strict=True)
        return "\n".join(f"{name}: {before:.4g} at the start, {after:.4g} found" for name, before, after in told)


class _Batch(NamedTuple):
    """Rows of the answer that run at once, and what scores their images."""

    rows: list[int]
    score: Score


def maximise(
    model: Model,
    *,
    targets: str | int | Sequence[str | int] | None = None,
    units: Sequence[Asked] | None = None,
    options: MaximisingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Maximised:
    """The images that classes or units of a model answer to most, by gradient ascent from faint noise.

    A class is its logit, not its probability, which grows as well where only the other classes fall. Each image starts
    from the same noise and is shifted alike, so what is found does not depend on what is sought beside it, but for
    rounding; where a unit is silent in faint noise, stronger noise is tried, and where that is no use, its score stays
    as it is. The network is afterwards as it was, after an error too.

    Args:
        model: It.
        targets: Classes by name or index.
        units: Instead of them, units as "conv2:5" or ("conv2", 5): a stage or layer, and a channel.
        options: How; all as it comes where None.
        progress: Is told the steps done and all.

    Raises:
        UsageError: there is no such class or unit, or not one of targets and units was given.
        ShapeError: images of this size do not get as far as the units.
        ModelError: a score does not depend on the image.
        NumbersError: a score became NaN or infinite.

    Source: Erhan et al. 2009, "Visualizing higher-layer features of a deep network"; Simonyan, Vedaldi and Zisserman
    2013, arXiv:1312.6034, section 2; Olah, Mordvintsev and Schubert 2017, "Feature visualization", Distill.
    """
    options = options or MaximisingOptions()
    if (targets is None) == (units is None):
        raise UsageError("maximise needs targets, which are classes, or units; give one of the two")
    with untouched(model.network):
        if units is None:
            names, batches = _classes(model, [targets] if isinstance(targets, str | int) else targets or [], options)
        else:
            names, batches = _units(model, units, options)
        ascents = _Ascents(model, options, len(batches), progress)
        found = [ascents.climb(batch) for batch in batches]
    order = np.argsort([row for batch in batches for row in batch.rows])
    return Maximised(
        names=names,
        pictures=np.concatenate([each.pictures for each in found])[order],
        before=np.concatenate([each.before for each in found])[order],
        after=np.concatenate([each.after for each in found])[order],
        history=np.concatenate([each.history for each in found], axis=1)[:, order],
    )


class _Found(NamedTuple):
    """What one batch came to."""

    pictures: NDArray[np.uint8]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    history: NDArray[np.float32]


class _Ascents:
    """Gradient ascents of one kind, batch after batch."""

    def __init__(
        self, model: Model, options: MaximisingOptions, count: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.model, self.options, self.progress = model, options, progress
        self.done, self.all = 0, count * options.steps

    def climb(self, batch: _Batch) -> _Found:
        """The images that score most."""
        spec, options = self.model.bundle.preprocessing, self.options
        side = options.image_size or spec.image_size
        shape = (len(batch.rows), spec.in_channels, side, side)
        canvas = canvas_class(options.canvas)(shape, seed=options.seed, device=self.model.device, fall=options.fall)
        before = self._judged(canvas, batch.score, 0)
        self._wake(canvas, batch.score)
        adam = torch.optim.Adam([canvas.numbers], lr=options.lr)
        history = [self._step(canvas, batch.score, adam, step) for step in range(1, options.steps + 1)]
        after = self._judged(canvas, batch.score, options.steps)
        return _Found(pictures_of(canvas.painted()), before, after, torch.stack(history).cpu().numpy())

    def _wake(self, canvas: Canvas, score: Score) -> None:
        """Stronger noise for images whose unit is silent and has no gradient, as behind a ReLU."""
        for attempt, deviation in enumerate(STRONGER, start=1):
            images = canvas.painted()
            grown = gradient(score(received(self.model, images)), images, "the image")
            silent = grown.flatten(1).abs().amax(1) == 0
            if not bool(silent.any()):
                return
            canvas.stir(silent, attempt, deviation)

    def _step(self, canvas: Canvas, score: Score, adam: torch.optim.Adam, step: int) -> Float[Tensor, "n"]:
        """One update; the scores before it."""
        options, images = self.options, canvas.painted()
        most = round(options.jitter * images.shape[3])
        moved = turned(images, options.turn, options.zoom, key(options.seed, "turn", step))
        scores = score(received(self.model, jittered(moved, most, key(options.seed, "jitter", step))))
        require_finite(scores, "a score", step)
        grown = gradient(scores, images, "the image")
        penalty = options.total_variation * total_variation(images).sum()
        (canvas.numbers.grad,) = torch.autograd.grad(penalty - (images * grown).sum(), canvas.numbers)
        adam.step()
        if options.blur and step % options.blur_every == 0:
            canvas.repaint(blurred(canvas.painted().detach(), options.blur))
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.all)
        return scores.detach().float()

    def _judged(self, canvas: Canvas, score: Score, step: int) -> NDArray[np.float32]:
        """The scores of the images as pictures keep them."""
        with torch.no_grad():
            scores = score(received(self.model, rounded(canvas.painted())))
        require_finite(scores, "a score", step)
        return scores.float().cpu().numpy()


def _classes(
    model: Model, targets: Sequence[str | int], options: MaximisingOptions
) -> tuple[tuple[str, ...], list[_Batch]]:
    size = model.bundle.preprocessing.image_size
    if options.image_size not in (None, size):
        raise UsageError(f"image_size (={options.image_size}) must be the network's {size} for classes; leave it out")
    if not targets:
        raise UsageError("there is no class to maximise; name one")
    indices = targets_of(targets, torch.zeros(len(targets), len(model.classes)), model.classes)
    names = tuple(in_words(model.classes[int(index)]) for index in indices)
    parts = _cut(list(range(len(indices))), options.batch_size)
    return names, [_Batch(rows, class_score(model.network, indices[rows])) for rows in parts]


def _units(model: Model, asked: Sequence[Asked], options: MaximisingOptions) -> tuple[tuple[str, ...], list[_Batch]]:
    if not asked:
        raise UsageError("there is no unit to maximise; name one")
    units = [_unit(model, each) for each in asked]
    batches = []
    for place in dict.fromkeys(unit.place for unit in units):
        read = reach(model.network, place)
        _require_room(model, read, place, options)
        rows = [row for row, unit in enumerate(units) if unit.place == place]
        for some in _cut(rows, options.batch_size):
            channels = torch.tensor([units[row].channel for row in some])
            batches.append(_Batch(some, _channels_score(read, channels, options.position)))
    return tuple(map(str, units)), batches


def _unit(model: Model, asked: Asked) -> Unit:
    if isinstance(asked, Unit):
        return asked
    name, colon, channel = asked.rpartition(":") if isinstance(asked, str) else (asked[0], ":", str(asked[1]))
    if not colon or not channel.isdecimal():
        raise UsageError(f"unit (={asked}) must be a stage or layer and a channel, such as conv1:5")
    return unit_of(place_of(model.network, black(model), name), int(channel))


def _require_room(model: Model, read: Reach, place: Place, options: MaximisingOptions) -> None:
    spec = model.bundle.preprocessing
    side = options.image_size or spec.image_size
    if not fits(read, received(model, torch.zeros(1, spec.in_channels, side, side))):
        raise ShapeError(f"image_size (={side}) does not reach {place.name}; take {spec.image_size}, the network's")


def _channels_score(read: Reach, channels: Int[Tensor, "n"], position: Position) -> Score:
    """Of each image one channel of what leaves the place: its mean, or its value in the middle."""

    def score(images: Tensor) -> Tensor:
        maps = read(images)
        own = maps[torch.arange(len(maps), device=maps.device), channels.to(maps.device)]
        if position == "centre" and own.ndim == 3:
            return own[:, own.shape[1] // 2, own.shape[2] // 2]
        return own.flatten(1).mean(1)

    return score


def _cut(rows: list[int], size: int) -> Iterator[list[int]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))
