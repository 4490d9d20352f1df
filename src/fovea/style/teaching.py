"""Teaching a network one style: what it paints of many photographs shall have their content and the style."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from fovea.data.ahead import ahead
from fovea.data.pixels import read_image
from fovea.errors import DataError, NumbersError
from fovea.explain.priors import total_variation
from fovea.explain.untouched import untouched
from fovea.randomness import key, permutation, uniforms
from fovea.runtime.model import Model
from fovea.style.aim import VARIATION, outer, style_distance
from fovea.style.evaluating import style_grams
from fovea.style.gram import gram
from fovea.style.perception import Perception, own_layers
from fovea.style.sizing import Picture, as_images, fitted
from fovea.style.styler import Styler
from fovea.style.styler_file import begun, save
from fovea.style.teaching_options import TeachingOptions
from fovea.style.tiles import whole
from fovea.training.arithmetic import autocast

ROOM = 1.15  # what photographs are larger than the squares cut out of them, at least


class TeachingStep(NamedTuple):
    """What was reached after an update; the terms are weighed, and means over the batch."""

    step: int
    content: float
    style: float
    variation: float


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A network that was taught, and how far.

    Args:
        styler: It.
        steps: Updates in all.
        history: Of those of this time.
        finished: False where it was stopped before the last.
    """

    styler: Styler
    steps: int
    history: tuple[TeachingStep, ...]
    finished: bool

    def __str__(self) -> str:
        if not self.history:
            return f"{self.steps:,} steps, all taken before"
        last = self.history[-max(1, len(self.history) // 20) :]
        content, style = (sum(getattr(each, name) for each in last) / len(last) for name in ("content", "style"))
        return f"{self.steps:,} steps; of the last {len(last):,}: content {content:.4g}, style {style:.4g}"


class Teacher:
    """A style, and a network that sees whether a picture has it.

    Args:
        style: The picture.
        perceiving: The network that sees, which stays as it was.
        options: How a network is taught.

    Raises:
        UsageError, ModelError: as `Perception`.
        ShapeError: the style, or a square that is learned from, is too small for a layer.
    """

    def __init__(self, style: Picture, perceiving: Model, options: TeachingOptions) -> None:
        self.options = options
        with untouched(perceiving.network):
            layers = own_layers(perceiving, options.content_layer, options.style_layers)
        self.perception = seen = Perception(perceiving, layers, precision=options.precision)
        painted = as_images(fitted(style, options.image_size)).to(seen.device)
        self.wanted = style_grams(seen, painted, [whole(layers.all)])
        seen.sizes((options.image_size, options.image_size))
        self.about = {"network": seen.name, "style": hashlib.sha256(style.tobytes()).hexdigest()[:16]}

    def teach(
        self,
        images: Sequence[Path],
        out: Path,
        *,
        watch: Callable[[TeachingStep], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Taught:
        """Teach a network from image files; or go on, where the folder holds one that was begun.

        The order of images and where they are cut depend on seed and step alone, so that a network whose learning was
        stopped becomes what it would have become. It is saved every few minutes and at the end.

        Args:
            images: The files.
            out: The network's folder.
            watch: Is told of every step.
            stop: Is asked before every step; True saves and ends.

        Raises:
            DataError: no image; one that cannot be read, when its turn comes.
            UsageError: the folder holds a network that is taught otherwise.
            NumbersError: the loss became NaN or infinite; what was saved before stays.

        Source: Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155, section 3.
        """
        if not images:
            raise DataError("there is no image to learn from")
        names = "\n".join(path.name for path in images)
        about = {**self.about, "images": hashlib.sha256(names.encode()).hexdigest()[:16]}
        styler, adam, taken = self._ready(out, about)
        history: list[TeachingStep] = []
        finished, saved = True, time.monotonic()
        for batch in self._batches(images, taken):
            if stop is not None and stop():
                finished = False
                break
            history.append(self._step(styler, adam, batch, taken + 1))
            taken += 1
            if watch is not None:
                watch(history[-1])
            if time.monotonic() - saved > 60 * self.options.save_minutes:
                self._save(out, styler, adam, {"steps": taken, **about})
                saved = time.monotonic()
        self._save(out, styler, adam, {"steps": taken, **about})
        return Taught(styler=styler.eval(), steps=taken, history=tuple(history), finished=finished)

    def _ready(self, out: Path, about: dict[str, Any]) -> tuple[Styler, torch.optim.Adam, int]:
        """The network and its optimiser, fresh or as they were left, and the steps taken."""
        options, before = self.options, begun(out, self.options, about)
        if before is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(key(options.seed, "styler"))
                styler = Styler(options.width, options.normalisation)
        else:
            styler = before.styler
        styler = styler.to(self.perception.device).to(memory_format=torch.channels_last).train()
        adam = torch.optim.Adam(styler.parameters(), lr=options.lr)
        if before is not None:
            for n, parameter in enumerate(styler.parameters()):
                adam.state[parameter] = {
                    name: before.state[f"{n}.{name}"].to(parameter.device if name != "step" else "cpu").clone()
                    for name in ("step", "exp_avg", "exp_avg_sq")
                }
        return styler, adam, 0 if before is None else before.steps

    def _step(self, styler: Styler, adam: torch.optim.Adam, batch: Float[Tensor, "n 3 s s"], step: int) -> TeachingStep:
        """One update."""
        seen, options = self.perception, self.options
        content, style = options.weights()
        with torch.no_grad():
            kept = seen.read(batch)[seen.layers.content]
        with autocast(seen.precision, seen.device):
            painted = styler(batch)
        reading = seen.read(painted)
        scales = seen.scales[seen.layers.content][:, None, None]
        apart = (reading[seen.layers.content] - kept).float() / scales
        grams = [self._grams(reading, n) for n in range(len(batch))]
        terms = (
            content * apart.square().mean(),
            style * torch.stack([style_distance(own, self.wanted) for own in grams]).mean(),
            options.variation * VARIATION * total_variation(painted).mean(),
        )
        loss = torch.stack(terms).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
        found = TeachingStep(step, *(float(each.detach()) for each in terms))
        if not sum(found[1:]) < float("inf"):
            raise NumbersError(f"the loss became {sum(found[1:])} in step {step}; take a lower strength or rate")
        adam.step()
        return found

    def _grams(self, reading: dict[str, Tensor], n: int) -> dict[str, Tensor]:
        """The Gram matrices of one image of a batch, the filters scaled."""
        found = {}
        for name in self.perception.layers.style:
            maps = reading[name][n : n + 1]
            found[name] = gram(maps) / (maps.shape[2] * maps.shape[3]) / outer(self.perception.scales[name])
        return found

    def _batches(self, images: Sequence[Path], taken: int) -> Iterator[Float[Tensor, "n 3 s s"]]:
        """What remains to be learned from, batch by batch, read ahead."""
        size, count = self.options.batch_size, len(images)
        orders: dict[int, Any] = {}

        def square(n: int) -> Float[Tensor, "1 3 s s"]:
            epoch, place = divmod(n, count)
            if epoch not in orders:
                orders[epoch] = permutation(key(self.options.seed, "styler order", epoch), count)
            return _square(images[orders[epoch][place]], self.options.image_size, key(self.options.seed, "squares", n))

        ready = ahead(square, range(taken * size, self.options.steps * size), 1)
        try:
            for _ in range(taken, self.options.steps):
                yield torch.cat([next(ready) for _ in range(size)]).to(self.perception.device)
        finally:
            ready.close()

    def _save(self, out: Path, styler: Styler, adam: torch.optim.Adam, learned: dict[str, Any]) -> None:
        state = {
            f"{n}.{name}": value.detach().cpu().contiguous()
            for n, parameter in enumerate(styler.parameters())
            for name, value in adam.state[parameter].items()
        }
        save(out, styler, self.options, learned, state)


def _square(path: Path, side: int, draw_key: int) -> Float[Tensor, "1 3 s s"]:
    """A square of chance out of a photograph, mirrored or not."""
    picture = read_image(path)
    height, width = picture.shape[:2]
    factor = ROOM * side / min(height, width)
    size = (max(side, round(width * factor)), max(side, round(height * factor)))
    left, top, turn = uniforms(draw_key, [0], 3)[0]
    x, y = int(left * (size[0] - side + 1)), int(top * (size[1] - side + 1))
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(image)[y : y + side, x : x + side]
    return as_images(pixels[:, ::-1] if turn < 0.5 else pixels)
