"""How a network is taught a style, as values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fovea.errors import require
from fovea.style.options import StyliseOptions

Normalisation = Literal["instance", "batch"]


@dataclass(frozen=True, kw_only=True)
class TeachingOptions:
    """How a network is taught a style."""

    image_size: int = 256
    """Side in pixels of the squares that it learns from, a multiple of 4."""
    batch_size: int = 4
    """Images in a step."""
    steps: int = 2000
    """Updates; the paper's are 40,000."""
    lr: float = 1e-3
    """Adam's learning rate."""
    strength: float = 0.5
    """The dial between content (0) and style (1), as for pictures."""
    style_size: int = 0
    """The style's longer side in pixels: smaller makes strokes finer, larger coarser. As image_size where 0."""
    variation: float = 0.0
    """Weight of the total variation of what it paints."""
    content_layer: str | None = None
    """The layer that keeps the content; the perceiving network's own where None."""
    style_layers: tuple[str, ...] = ()
    """The layers that keep the style, likewise."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of convolutions: bf16 where the hardware has it, or float32."""
    width: int = 32
    """Filters of the first convolution; deeper ones have two and four times as many."""
    normalisation: Normalisation = "instance"
    """Of each image by itself, or of batches, as in the paper."""
    save_minutes: float = 5.0
    """Minutes between two times that the network is saved while it learns."""
    seed: int = 0
    """Of the first weights, the order of images and where they are cut."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        fit = 32 <= self.image_size <= 1024 and self.image_size % 4 == 0
        require("image_size", self.image_size, fit, "a multiple of 4 from 32 to 1,024")
        scaled = self.style_size == 0 or 32 <= self.style_size <= 2048
        require("style_size", self.style_size, scaled, "0, or 32 to 2,048")
        require("batch_size", self.batch_size, 1 <= self.batch_size <= 256, "1 to 256")
        require("steps", self.steps, 1 <= self.steps <= 10_000_000, "1 or more")
        require("lr", self.lr, 0 < self.lr < 1, "above 0 and below 1")
        require("strength", self.strength, 0 < self.strength <= 1, "above 0, the content alone, to 1, the style alone")
        require("variation", self.variation, 0 <= self.variation < float("inf"), "0 or more")
        require("width", self.width, 1 <= self.width <= 256, "1 to 256")
        require("save_minutes", self.save_minutes, self.save_minutes > 0, "above 0")

    def weights(self) -> tuple[float, float]:
        """What content and style weigh."""
        return StyliseOptions(strength=self.strength).weights()
