"""Teaching a network one style: what it paints of many photographs shall have their content and the style."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import DataError, NumbersError
from fovea.explain.priors import total_variation
from fovea.randomness import key
from fovea.runtime.checkpoint import bits
from fovea.runtime.model import Model
from fovea.style.aim import VARIATION, outer, style_distance
from fovea.style.evaluating import style_grams
from fovea.style.gram import gram
from fovea.style.perception import Perception, arithmetic
from fovea.style.sizing import Picture, as_images, fitted
from fovea.style.squares import batches, listed
from fovea.style.styler import Styler
from fovea.style.styler_file import begun, save
from fovea.style.teaching_options import TeachingOptions
from fovea.style.tiles import whole
from fovea.training.arithmetic import autocast
from fovea.training.folder import locked
from fovea.training.guard import gradient_norm


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
        # What the hardware has is asked once: a network goes on in the precision that it was begun in.
        self.options = options = replace(options, precision=arithmetic(perceiving, options.precision))
        self.perception = seen = Perception(
            perceiving,
            content_layer=options.content_layer,
            style_layers=options.style_layers,
            precision=options.precision,
        )
        painted = as_images(fitted(style, options.style_size or options.image_size)).to(seen.device)
        self.wanted = style_grams(seen, painted, [whole(seen.layers.all)])
        seen.sizes((options.image_size, options.image_size))
        self.about = {
            "network": seen.name,
            "network_weights": _fingerprint(seen.network),
            "style": hashlib.sha256(style.tobytes()).hexdigest()[:16],
        }

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
            ModelError: what the folder holds is damaged.
            NumbersError: the loss or its gradient became NaN or infinite; what was saved before stays.
            RunInUse: another process teaches in that folder.

        Source: Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155, section 3.
        """
        if not images:
            raise DataError("there is no image to learn from")
        about = {**self.about, "images": listed(images)}
        with locked(out):
            return self._taught(images, out, about, watch or (lambda _: None), stop or (lambda: False))

    def _taught(
        self,
        images: Sequence[Path],
        out: Path,
        about: dict[str, Any],
        watch: Callable[[TeachingStep], None],
        stop: Callable[[], bool],
    ) -> Taught:
        styler, adam, taken = self._ready(out, about)
        history: list[TeachingStep] = []
        finished, saved = True, time.monotonic()
        for batch in batches(images, self.options, taken):
            if stop():
                finished = False
                break
            history.append(self._step(styler, adam, batch.to(self.perception.device), taken + 1))
            taken += 1
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
        single = zip(*(torch.split(reading[name], 1) for name in seen.layers.style), strict=True)
        grams = [self._grams(dict(zip(seen.layers.style, maps, strict=True))) for maps in single]
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
        length = float(gradient_norm([each.grad for each in styler.parameters() if each.grad is not None]))
        if not length < float("inf"):
            raise NumbersError(f"the gradient became {length} in step {step}; take a lower strength or rate")
        adam.step()
        return found

    def _grams(self, reading: dict[str, Tensor]) -> dict[str, Tensor]:
        """The Gram matrices of one image, the filters scaled."""
        scales = self.perception.scales
        return {name: gram(maps) / maps[0, 0].numel() / outer(scales[name]) for name, maps in reading.items()}

    def _save(self, out: Path, styler: Styler, adam: torch.optim.Adam, learned: dict[str, Any]) -> None:
        state = {
            f"{n}.{name}": value.detach().cpu().contiguous()
            for n, parameter in enumerate(styler.parameters())
            for name, value in adam.state[parameter].items()
        }
        save(out, styler, self.options, learned, state)


def _fingerprint(network: nn.Module) -> str:
    """Of the numbers of all layers that run."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not tensor.is_meta:
            digest.update(name.encode())
            digest.update(bits(tensor.detach().cpu().contiguous()).numpy().data)
    return digest.hexdigest()[:16]
