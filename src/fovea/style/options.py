"""How pictures are stylised, as values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fovea.errors import UsageError, require, suggestion

Colour = Literal["style", "histogram", "luminance"]
Pooling = Literal["average", "max"]
Precision = Literal["auto", "float32", "bf16"]
Start = Literal["content", "noise"]

CONTENT = "conv4_2"  # of VGG-19, as the paper has it
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
SMALLEST, LARGEST = 32, 2048  # pixels of the longer side
RATIO = 1e3  # the weight of style over that of content in the authors' code


@dataclass(frozen=True, kw_only=True)
class StyliseOptions:
    """How a picture is found that has the content of one picture and the style of others."""

    size: tuple[int, ...] = (512,)
    """The result's longer side in pixels, 32 to 2,048. Several, growing, go from coarse to fine: each size starts from
    what the last one found."""
    steps: int = 200
    """Steps of L-BFGS at each size."""
    strength: float = 0.5
    """The one dial, from 0, the content alone, to 1, the style alone. 0.5 weighs content and style 1 to 1,000, as the
    paper's authors do; in general 1 to 1,000 × (strength / (1 - strength))², so that 0.25 is a ninth of the style and
    0.75 nine times as much."""
    style_scale: float = 1.0
    """The styles' longer side as a multiple of the result's: below 1 strokes become finer, above coarser."""
    style_weights: tuple[float, ...] = ()
    """How several styles share; all alike where none is given."""
    colour: Colour = "style"
    """Whose colours: style takes the styles'; histogram gives the styles the content's mean and covariance of colours
    first; luminance transfers brightness alone and keeps the content's colours."""
    variation: float = 0.0
    """Weight of the total variation, which smooths; the paper has none."""
    start: Start = "content"
    """Where the search begins: at the content, or at white noise, as in the paper's figures."""
    content_layer: str | None = None
    """The layer that keeps the content; conv4_2 of VGG-19, of other networks the last stage but one."""
    style_layers: tuple[str, ...] = ()
    """The layers that keep the style; conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1 of VGG-19, of other networks the
    last stage of each resolution, five at most."""
    pooling: Pooling = "average"
    """What stands for the network's max pooling: average, as in the paper, or max, as the network was trained."""
    precision: Precision = "auto"
    """Of convolutions: auto is bf16 where the hardware has it, and float32 from where the search gains less than bf16
    rounds."""
    memory: float = 0.0
    """GiB that may be needed; where one piece would need more the picture is worked on in tiles, with the same result.
    Half of the machine's where 0."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        sizes = ", ".join(map(str, self.size))
        fit = all(SMALLEST <= each <= LARGEST for each in self.size)
        growing = all(a < b for a, b in zip(self.size, self.size[1:], strict=False))
        require("size", sizes, bool(self.size) and fit and growing, f"growing numbers from {SMALLEST} to {LARGEST:,}")
        require("steps", self.steps, 1 <= self.steps <= 100_000, "1 to 100,000")
        require("strength", self.strength, 0 <= self.strength <= 1, "0 (content alone) to 1 (style alone)")
        require("style_scale", self.style_scale, 0.1 <= self.style_scale <= 4, "0.1 to 4")
        weights = all(0 < each < float("inf") for each in self.style_weights)
        require("style_weights", self.style_weights, weights, "numbers above 0")
        require("variation", self.variation, 0 <= self.variation < float("inf"), "0 or more")
        require("memory", self.memory, 0 <= self.memory < float("inf"), "0 or more GiB")
        _one_of("colour", self.colour, ("style", "histogram", "luminance"))
        _one_of("start", self.start, ("content", "noise"))
        _one_of("pooling", self.pooling, ("average", "max"))
        _one_of("precision", self.precision, ("auto", "float32", "bf16"))

    def weights(self) -> tuple[float, float]:
        """What content and style weigh: content 1, but 0 where the style is alone."""
        if self.strength == 1:
            return 0.0, RATIO
        return 1.0, RATIO * (self.strength / (1 - self.strength)) ** 2


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} (={value}) must be one of {', '.join(known)}.{suggestion(value, known)}")
