"""What a size takes before it is begun: the peak of memory, from the real evaluation run without numbers, and tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from fovea.cost.liveness import Liveness
from fovea.cost.memory import machine_memory
from fovea.cost.recorder import Recorder
from fovea.errors import MachineError
from fovea.style.aim import Aim, Region, Weights
from fovea.style.descending import HISTORY, VECTORS
from fovea.style.evaluating import evaluate
from fovea.style.perception import Perception, numberless
from fovea.style.tiles import Size, Tile, grid_of, tiles_of, whole

SIDES = (1536, 1024, 768, 512, 384, 256, 128)  # pixels of tiles that are tried, without margins, the largest first
GIB = 2**30
MARGIN = 1.4  # what kernels and the allocator held beyond the tensors of an evaluation, at most, where it was measured


class Plan(NamedTuple):
    """How a picture is worked on.

    Args:
        size: Its height and width in pixels.
        maps: Those of each layer's maps.
        tiles: One for the whole picture, or several.
        bytes: The peak of memory beyond what the process had before, weights included.
    """

    size: Size
    maps: dict[str, Size]
    tiles: list[Tile]
    bytes: int

    @property
    def places(self) -> dict[str, int]:
        """By layer how many places its maps have."""
        return {name: height * width for name, (height, width) in self.maps.items()}


class Planner:
    """Plans sizes for one network and one set of styles.

    Args:
        perception: The network.
        regions: How many styles each region has.
        limit: Bytes that may be needed; half of the machine's where 0.
    """

    def __init__(self, perception: Perception, regions: Sequence[int], limit: int = 0) -> None:
        self.perception, self.regions = perception, regions
        self.limit = limit or machine_memory() // 2
        self._maps: dict[Size, dict[str, Size]] = {}
        self._working: dict[tuple[Size, str], int] = {}

    def plan(self, size: Size, *, searched: bool = True) -> Plan:
        """In one piece where that fits, else in the largest tiles that do.

        Args:
            size: Height and width.
            searched: Whether L-BFGS moves a picture of that size; else it is a style, which is only read.

        Raises:
            ShapeError: the picture is too small for a layer.
            MachineError: not even the smallest tiles fit.
            ModelError: the picture would have to be cut, and cannot be.
        """
        maps = self._sizes(size)
        held = self._held(size, maps) if searched else self.perception.weights()
        needed = held + self._peak(size)
        if needed <= self.limit:
            return Plan(size, maps, [whole(maps)], needed)
        grid = grid_of(self.perception.fields())
        for side in (each // grid.step * grid.step for each in SIDES):
            if side < grid.step or side >= max(size):
                continue
            tiles = tiles_of(grid, size, maps, side)
            shown = [(rows.stop - rows.start, columns.stop - columns.start) for (rows, columns), _, _ in tiles]
            needed = held + self._peak(max(shown, key=lambda each: each[0] * each[1]))
            if needed <= self.limit:
                return Plan(size, maps, tiles, needed)
        raise MachineError(
            f"{size[1]}×{size[0]} pixels need {needed / GIB:.1f} GiB even in small tiles, of {self.limit / GIB:.1f} "
            f"that may be used; take a smaller size, or allow more with --memory"
        )

    def _held(self, size: Size, maps: dict[str, Size]) -> int:
        """Bytes that are there all the time: weights, L-BFGS's pictures, the content's maps, masks."""
        perception = self.perception
        height, width = maps[perception.layers.content]
        content = perception.channels[perception.layers.content] * height * width * 4
        shares = sum(h * w * 4 for h, w in maps.values()) * len(self.regions)
        return perception.weights() + (VECTORS + 2 * HISTORY) * 12 * size[0] * size[1] + content + shares

    def _sizes(self, size: Size) -> dict[str, Size]:
        """Those of each layer's maps, found once for each size of picture."""
        if size not in self._maps:
            self._maps[size] = self.perception.sizes(size)
        return self._maps[size]

    def _peak(self, size: Size) -> int:
        """Bytes that one evaluation makes at its peak."""
        known = (size, self.perception.precision)
        if known not in self._working:
            perception, liveness = self.perception, Liveness()
            recorder = Recorder(after=liveness.after)
            maps = self._sizes(size)
            with numberless():
                images = torch.empty(1, 3, *size, device=perception.device)
                aim = _any_aim(perception, maps, self.regions)
                liveness.ignore([images, aim.content])
                with recorder.watching(perception.network):
                    evaluate(perception, aim, images, [whole(maps)])
            self._working[known] = round(MARGIN * max(liveness.timeline))
        return self._working[known]


def _any_aim(perception: Perception, maps: dict[str, Size], regions: Sequence[int]) -> Aim:
    """An aim of the size of any other."""
    channels, device, content = perception.channels, perception.device, perception.layers.content
    grams = {name: torch.empty(channels[name], channels[name], device=device) for name in perception.layers.style}
    shares = {name: torch.empty(*size, device=device) for name, size in maps.items()} if len(regions) > 1 else None
    return Aim(
        perception,
        torch.empty(1, channels[content], *maps[content], device=device),
        {name: height * width for name, (height, width) in maps.items()},
        [Region(shares, 1.0, [grams] * count, [1.0] * count) for count in regions],
        Weights(1.0, 1.0, 1.0),
    )
