"""Whether an explanation names what matters: the class's probability as the image is taken away, or brought back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fovea import randomness
from fovea.errors import NumbersError, ShapeError, UsageError, require
from fovea.explain.aims import check_images, logits_of
from fovea.explain.baselines import baseline_of
from fovea.explain.untouched import untouched
from fovea.runtime.folding import folded

Explainer = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, images, targets -> a number for each pixel

Chance = Literal["scattered", "shifted"]

INSERTION = 1  # the place of the insertion curve among an image's curves; all others are deletions


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """How images are taken away and brought back."""

    grid: int = 7
    """Cells along each side, as many as the last maps of most networks have places at 224 pixels: a finer grid would
    rank what only interpolation tells apart. As many as there are pixels where those are fewer."""
    steps: int = 14
    """In how many equal steps all cells go."""
    orders: int = 5
    """Random orders of the cells, for comparison."""
    chance: Chance = "scattered"
    """How they are drawn: "scattered" has every order alike; "shifted" moves the map's own order by so many rows and
    columns of cells, around the edges, so that its holes have the same shapes elsewhere."""
    batch_size: int = 16
    """Images that run at once, copies of one image included."""
    seed: int = 0
    """Of the random orders."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        for name in ("grid", "steps", "orders", "batch_size"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The probability of each image's target class as its cells go and come.

    Args:
        shares: Of the cells that are gone, or back, at each point, from 0 to 1.
        deletion: The probability with the most important cells gone.
        insertion: The probability with the most important cells back.
        random: The probability with cells gone in a random order; the mean over several orders.
        chance: How these were drawn, as in `CurveOptions`.
    """

    shares: Float[Tensor, "p"]
    deletion: Float[Tensor, "n p"]
    insertion: Float[Tensor, "n p"]
    random: Float[Tensor, "n p"]
    chance: Chance = "scattered"

    @property
    def deletion_area(self) -> Float[Tensor, "n"]:
        """The deletion curve's mean height in [0, 1]; low is good."""
        return torch.trapezoid(self.deletion, self.shares)

    @property
    def insertion_area(self) -> Float[Tensor, "n"]:
        """The insertion curve's mean height in [0, 1]; high is good."""
        return torch.trapezoid(self.insertion, self.shares)

    @property
    def random_deletion(self) -> Float[Tensor, "n"]:
        """The deletion curve's mean height where chance orders the cells."""
        return torch.trapezoid(self.random, self.shares)

    @property
    def better_than_random(self) -> Bool[Tensor, "n"]:
        """Whether the probability falls sooner than where chance orders the cells."""
        return self.deletion_area < self.random_deletion

    def __str__(self) -> str:
        chance = "in random order" if self.chance == "scattered" else "with the map shifted at random"
        better, images = int(self.better_than_random.sum()), len(self.deletion)
        return (
            f"deletion {self.deletion_area.mean():.3f} ({chance} {self.random_deletion.mean():.3f}), insertion "
            f"{self.insertion_area.mean():.3f}; deletion is better than {chance} for {better:,} of {images:,} "
            f"images ({better / images:.2%})"
        )


def curves(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    targets: Int[Tensor, "n2"],
    maps: Float[Tensor, "n3 h2 w2"],
    *,
    options: CurveOptions | None = None,
    known: Curves | None = None,
) -> Curves:
    """Take away what a map calls important, and bring it back: does the class's probability follow?

    An image is cut into a grid of cells, ranked by the sum of the map in each, of equal sums the upper left first.
    Deletion replaces them, most important first, by the image's mean colour. Insertion begins with the image under a
    Gaussian blur of a tenth of its longer side, so that it shows no sharp edge where nothing is, and brings them back.
    Where the grid does not divide a side, cells differ by a pixel.

    Cells are taken, not single pixels: scattered holes are edges, to which a network reacts wherever they lie, and as
    they are all over the image at once, a random order of pixels would destroy it sooner than any explanation does.
    Cells that are "scattered" at random still have some of that advantage; "shifted" maps have none, and differ from
    the explanation in place alone.

    Args:
        network: Any module from images to logits; it runs in evaluation mode and is afterwards as it was.
        images: As it receives them.
        targets: The class of each.
        maps: For each pixel a number; more is more important, negative is allowed.
        options: Grid, steps and random orders.
        known: Curves of another map of the same images and targets with the same options: "scattered" orders do not
            depend on the map, and need not be judged again.

    Raises:
        ShapeError: maps or targets do not fit the images.
        NumbersError: a map holds NaN or infinity.
        UsageError: the network has no such class.
        ModelError: the network gives no logits.

    Source: Petsiuk, Das and Saenko 2018, "RISE", arXiv:1806.07421, section 4.3; cells, the mean colour and the random
    orders are ours.
    """
    options = options or CurveOptions()
    _check(images, targets, maps)
    cells = _Cells.of(images.shape[2], images.shape[3], options.grid)
    cuts = torch.arange(options.steps + 1) * cells.total // options.steps
    reused = known is not None and options.chance == known.chance == "scattered"
    ranks = _ranks(cells.sums(maps), cells.sides, replace(options, orders=1) if reused else options)
    ranks = ranks[:, :2] if reused else ranks
    with untouched(network), torch.no_grad(), folded(network, images[:2]):
        found = [
            _Trial(network, images[rows], targets[rows], ranks[rows], cells, cuts).chances(options.batch_size)
            for rows in torch.split(torch.arange(len(images)), options.batch_size)
        ]
    deletion, insertion, random = torch.cat(found).tensor_split((1, 2), dim=1)
    return Curves(
        shares=cuts / cells.total,
        deletion=deletion[:, 0],
        insertion=insertion[:, 0],
        random=known.random if reused and known is not None else random.mean(dim=1),
        chance=options.chance,
    )


def maps_of(
    network: nn.Module, images: Float[Tensor, "n c h w"], targets: Int[Tensor, "n2"], explain: Explainer
) -> Float[Tensor, "n h w"]:
    """What a method says of images, in float32 on the CPU; the network is afterwards as it was.

    Args:
        network: Any module from images to logits.
        images: As it receives them; the method sees them all at once and cuts them into batches itself.
        targets: The class of each.
        explain: The method.

    Raises:
        ShapeError: targets or the maps that the method gives do not fit the images.
    """
    _check_targets(images, targets)
    with untouched(network):
        maps = explain(network, images, targets)
    if not isinstance(maps, Tensor) or maps.shape != (len(images), *images.shape[2:]):
        told = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ShapeError(
            f"the method gives {told} for images of shape {tuple(images.shape)}; it must give one number for each "
            f"pixel, {(len(images), *images.shape[2:])}"
        )
    return maps.detach().float().cpu()


class _Cells(NamedTuple):
    """An image's cells, counted row by row.

    Args:
        rows: The row of cells in which each row of pixels lies.
        columns: Likewise.
    """

    rows: Int[Tensor, "h"]
    columns: Int[Tensor, "w"]

    @classmethod
    def of(cls, height: int, width: int, grid: int) -> _Cells:
        return cls(*(torch.arange(side) * min(grid, side) // side for side in (height, width)))

    @property
    def sides(self) -> tuple[int, int]:
        return int(self.rows[-1]) + 1, int(self.columns[-1]) + 1

    @property
    def total(self) -> int:
        return self.sides[0] * self.sides[1]

    def sums(self, maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n m"]:
        """Of the map in each cell."""
        values = maps.detach().cpu().double()
        (height, width), n = self.sides, len(maps)
        high = values.new_zeros(n, height, values.shape[2]).index_add_(1, self.rows, values)
        return values.new_zeros(n, height, width).index_add_(2, self.columns, high).flatten(1)

    def spread(self, chosen: Bool[Tensor, "j m"]) -> Bool[Tensor, "j 1 h w"]:
        """The pixels of the chosen cells."""
        return chosen.view(-1, 1, *self.sides)[:, :, self.rows][:, :, :, self.columns]


def _ranks(sums: Float[Tensor, "n m"], sides: tuple[int, int], options: CurveOptions) -> Int[Tensor, "n k m"]:
    """When each cell goes, for each image's curves: deletion, insertion, and deletion in random orders."""
    own = sums.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    drawn = [
        torch.stack([_by_chance(ranks.view(sides), options, image, order) for order in range(options.orders)])
        for image, ranks in enumerate(own)
    ]
    return torch.cat([own[:, None], own[:, None], torch.stack(drawn)], dim=1)


def _by_chance(own: Int[Tensor, "i j"], options: CurveOptions, image: int, order: int) -> Int[Tensor, "m"]:
    draw_key, cells = randomness.key(options.seed, "order of deletion", image, order), own.numel()
    if options.chance == "scattered":
        return torch.from_numpy(randomness.permutation(draw_key, cells))
    moved = 1 + int(randomness.uniforms(draw_key, [0])[0, 0] * (cells - 1))  # never by nothing
    return own.roll(divmod(moved, own.shape[1]), (0, 1)).flatten()


class _Trial(NamedTuple):
    """A batch of images and in which order their cells go."""

    network: nn.Module
    images: Float[Tensor, "n c h w"]
    targets: Int[Tensor, "n"]
    ranks: Int[Tensor, "n k m"]
    cells: _Cells
    cuts: Int[Tensor, "p"]

    def chances(self, size: int) -> Float[Tensor, "n k p"]:
        """The target's probability at each point of each curve, so many at once."""
        empty = torch.stack([baseline_of(self.images, "mean"), baseline_of(self.images, "blurred")])
        shape = (*self.ranks.shape[:2], len(self.cuts))
        jobs = torch.cartesian_prod(*(torch.arange(length) for length in shape))
        return torch.cat([self._chances(empty, some) for some in torch.split(jobs, size)]).view(shape)

    def _chances(self, empty: Tensor, jobs: Tensor) -> Tensor:
        rows, curve, points = jobs.unbind(1)
        inserts = curve == INSERTION
        gone = (self.ranks[rows, curve] < self.cuts[points, None]) != inserts[:, None]
        device = self.images.device
        hidden = self.cells.spread(gone).to(device)
        shown = torch.where(hidden, empty[inserts.long().to(device), rows.to(device)], self.images[rows.to(device)])
        logits = logits_of(self.network, shown.contiguous(memory_format=torch.channels_last)).float().cpu()
        targets = self.targets.cpu()[rows]
        if targets.min() < 0 or targets.max() >= logits.shape[1]:
            wrong = int(targets.min() if targets.min() < 0 else targets.max())
            raise UsageError(f"targets (={wrong}) must be 0 to {logits.shape[1] - 1}, the network's classes")
        return logits.softmax(1).gather(1, targets[:, None])[:, 0]


def _check(images: Tensor, targets: Tensor, maps: Tensor) -> None:
    _check_targets(images, targets)
    if maps.shape != (len(images), *images.shape[2:]):
        raise ShapeError(
            f"maps (shape {tuple(maps.shape)}) must have one number for each pixel of images of shape "
            f"{tuple(images.shape)}"
        )
    if not maps.isfinite().all():
        raise NumbersError(
            "maps hold NaN or infinity, by which nothing can be ranked; look at the method or its network"
        )


def _check_targets(images: Tensor, targets: Tensor) -> None:
    check_images(images)
    if targets.shape != images.shape[:1]:
        raise ShapeError(f"targets (shape {tuple(targets.shape)}) must name one class for each of {len(images)} images")
