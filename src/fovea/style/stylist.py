"""A network made ready once, to stylise any number of pictures, size after size."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fovea.randomness import key
from fovea.runtime.model import Model
from fovea.style.aim import Aim, Region, Weights, shares_of
from fovea.style.colours import grey, rebrightened, recoloured, with_colours_of
from fovea.style.descending import Descent, Evaluate, Step
from fovea.style.evaluating import content_maps, evaluate, style_grams
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.perception import Perception
from fovea.style.planning import GIB, Plan, Planner
from fovea.style.sizing import Picture, as_images, as_picture, enlarged, fitted, fitted_size

NOISE = 0.1  # deviation of white noise about mid-grey, pixels being 0 to 1


@dataclass(frozen=True, kw_only=True)
class Stylised:
    """A stylised picture, and how it was found.

    Args:
        picture: (height, width, 3), RGB of 8 bits.
        history: What was reached at every step, size after size.
        plans: How each size was worked on, and the memory foreseen.
        options: As asked for.
        network: The network's name.
        finished: False where it was stopped before the last step.
    """

    picture: Picture
    history: tuple[Step, ...]
    plans: tuple[Plan, ...]
    options: StyliseOptions
    network: str
    finished: bool

    def __str__(self) -> str:
        first, last = self.history[0], self.history[-1]
        height, width = self.picture.shape[:2]
        same = [each for each in self.history if each.size == last.size]
        share = f"{100 * last.total / same[0].total:.3g} % of the start's" if same[0].total else "0"
        ended = "" if self.finished else ", stopped early"
        steps = sum(each.step > 0 for each in self.history)
        return (
            f"{width}×{height} pixels by {self.network}, {steps:,} steps{ended}; the loss "
            f"is {share} (content {last.content:.4g}, style {last.style:.4g}, first {first.total:.4g})"
        )

    def history_csv(self) -> str:
        """The history as CSV: a line for each step."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*Step._fields, "total"])
        writer.writerows([*step, step.total] for step in self.history)
        return out.getvalue()


class Moment(NamedTuple):
    """How far the search has come.

    Args:
        step: What was reached.
        steps: Steps in all at this size.
        picture: Gives the best picture so far.
    """

    step: Step
    steps: int
    picture: Callable[[], Picture]


class Stylist:
    """A network made ready for stylising; it is a copy, so the model stays as it was, and may go.

    Args:
        model: The network.
        options: How pictures are stylised.

    Raises:
        UsageError, ModelError: as `Perception`.
    """

    def __init__(self, model: Model, options: StyliseOptions) -> None:
        self.options = options
        self.perception = Perception(
            model,
            content_layer=options.content_layer,
            style_layers=options.style_layers,
            pooling=options.pooling,
            precision=options.precision,
        )
        self.arithmetic = self.perception.precision
        self._planners: dict[tuple[int, ...], Planner] = {}

    def plans(self, pictures: Pictures) -> list[Plan]:
        """How each size will be worked on; nothing is computed yet.

        Raises:
            ShapeError: a picture is too small for a layer.
            MachineError: a size needs more memory than it may.
        """
        self.perception.precision = self.arithmetic
        planner = self._planner(pictures)
        for longest in self.options.size:
            for style in pictures.styles:
                planner.plan(fitted_size(style, self._style_side(longest), "a style"), searched=False)
        return [planner.plan(fitted_size(pictures.content, each, "the content")) for each in self.options.size]

    def stylise(
        self,
        pictures: Pictures,
        *,
        watch: Callable[[Moment], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Stylised:
        """As `fovea.stylise`, of pictures that are read."""
        options, plans, planner = self.options, self.plans(pictures), self._planner(pictures)
        history: list[Step] = []
        images: Tensor = torch.empty(0)
        for n, plan in enumerate(plans):
            content = self._content(pictures, plan)

            def told(step: Step, images: Tensor, content: Picture = content) -> None:
                history.append(step)
                if watch is not None:
                    watch(Moment(step, options.steps, lambda: self._finished(images, content)))

            begin = self._begin(pictures, content, images)
            loss = self._loss(pictures, content, plan, planner)
            descent = Descent(loss, begin, told, stop or (lambda: False))
            finished = descent.run(options.steps)
            if finished and descent.taken < options.steps and self._sharper():
                plans[n:] = [planner.plan(each.size) for each in plans[n:]]
                descent.evaluate = self._loss(pictures, content, plans[n], planner)
                finished = descent.run(options.steps)
            images = descent.images
            if not finished:
                break
        return Stylised(
            picture=self._finished(images, content),
            history=tuple(history),
            plans=tuple(plans),
            options=options,
            network=self.perception.name,
            finished=finished,
        )

    def _loss(self, pictures: Pictures, content: Picture, plan: Plan, planner: Planner) -> Evaluate:
        return partial(evaluate, self.perception, self._aim(pictures, content, plan, planner), tiles=plan.tiles)

    def _sharper(self) -> bool:
        """Go on in float32 where bf16 was our choice: a search that gains less than bf16 rounds ends early."""
        gained = self.options.precision == "auto" and self.perception.precision == "bf16"
        if gained:
            self.perception.precision = "float32"
        return gained

    def _planner(self, pictures: Pictures) -> Planner:
        """One for each kind of picture: what it has found out of a size is not found out again."""
        count = len(pictures.styles)
        regions = (1,) * count if pictures.masks else (count,)
        if regions not in self._planners:
            self._planners[regions] = Planner(self.perception, regions, int(self.options.memory * GIB))
        return self._planners[regions]

    def _style_side(self, longest: int) -> int:
        return round(longest * self.options.style_scale)

    def _content(self, pictures: Pictures, plan: Plan) -> Picture:
        return fitted(pictures.content, max(plan.size))

    def _aim(self, pictures: Pictures, content: Picture, plan: Plan, planner: Planner) -> Aim:
        options, perception = self.options, self.perception
        grams = []
        for style in pictures.styles:
            painted = self._as_wanted(fitted(style, self._style_side(max(plan.size))), content)
            tiles = planner.plan(painted.shape[:2], searched=False).tiles
            grams.append(style_grams(perception, self._images(painted), tiles))
        weights = options.style_weights or (1.0,) * len(grams)
        shared = [each / sum(weights) for each in weights]
        regions = [Region(None, 1.0, grams, shared)]
        if pictures.masks:
            regions = []
            for mask, own, weight in zip(pictures.masks, grams, shared, strict=True):
                drawn = self._images(fitted(mask, max(plan.size)))[0].mean(0)
                shares, area = shares_of(drawn, plan.maps)
                regions.append(Region(shares, area, [own], [weight * len(grams)]))
        bright = grey(content) if options.colour == "luminance" else content
        maps = content_maps(perception, self._images(bright), plan.tiles, plan.maps[perception.layers.content])
        return Aim(perception, maps, plan.places, regions, Weights(*options.weights(), options.variation))

    def _as_wanted(self, style: Picture, content: Picture) -> Picture:
        """A style in the colours that it is to have."""
        if self.options.colour == "histogram":
            return recoloured(style, content)
        return rebrightened(style, content) if self.options.colour == "luminance" else style

    def _begin(self, pictures: Pictures, content: Picture, before: Tensor) -> Float[Tensor, "1 3 h w"]:
        """Where the search begins: at what the size before has found, or as the options say."""
        if before.numel():
            return enlarged(before, content.shape[:2])
        if pictures.start is not None:
            given = self._images(grey(pictures.start) if self.options.colour == "luminance" else pictures.start)
            return given if given.shape[2:] == content.shape[:2] else enlarged(given, content.shape[:2])
        if self.options.start == "content":
            return self._images(grey(content) if self.options.colour == "luminance" else content)
        draws = torch.Generator().manual_seed(key(self.options.seed, "stylise"))
        noise = torch.randn(1, 3, *content.shape[:2], generator=draws)
        return (0.5 + NOISE * noise).to(self.perception.device)

    def _images(self, picture: Picture) -> Float[Tensor, "1 3 h w"]:
        return as_images(picture).to(self.perception.device)

    def _finished(self, images: Float[Tensor, "1 3 h w"], content: Picture) -> Picture:
        kept = self.options.colour == "luminance"
        return as_picture(with_colours_of(images, self._images(content)) if kept else images)
