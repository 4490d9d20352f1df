"""What the configuration says about data. Standard library only: the command line reads it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fovea.errors import require

Crop = Literal["centre", "random", "area"]
Border = Literal["zeros", "reflect"]
Interpolation = Literal["bilinear", "bicubic"]
Policy = Literal["none", "randaugment", "trivialaugment", "autoaugment"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are varied; each draw is a function of (seed, epoch, index)."""

    crop: Crop = "centre"
    """Where the network's square lies: centre; random, anywhere; area, a random share of the image, aspect included."""
    sides: tuple[int, int] = (0, 0)
    """For random crops the shorter side is drawn from this range first (VGG: 256 512); 0 0 is --resize."""
    area: tuple[float, float] = (0.08, 1.0)
    """For area crops the smallest and largest share of the image; the aspect lies between 3/4 and 4/3."""
    shift: int = 0
    """Largest shift in pixels of the network's image, in each direction (CIFAR: 4)."""
    border: Border = "zeros"
    """What comes in where an image is shifted: zeros, or its own reflection."""
    rotate: float = 0.0
    """Largest rotation in degrees, either way."""
    zoom: float = 0.0
    """Largest change of scale: 0.1 is from 1/1.1 to 1.1 times."""
    flip: bool = False
    """Mirror every other image; not for digits, letters or signs."""
    flip_alternately: bool = False
    """Mirror each image in every other epoch, half of them in the even ones: no image comes alike twice in a row."""
    policy: Policy = "none"
    """Published lists of distortions, drawn for each image."""
    policy_operations: int = 2
    """RandAugment's N: distortions in a row."""
    policy_magnitude: int = 9
    """RandAugment's M: how strong each is, from 0 to 30."""
    photometric: float = 0.0
    """Brightness, contrast and saturation each by a factor within 1 ± this, in random order (Howard: 0.5)."""
    pca_noise: float = 0.0
    """Deviation of colour noise along the principal components of the training pixels (AlexNet: 0.1)."""
    cutout: int = 0
    """Side in pixels of a square set to the mean, centred anywhere (CIFAR-10: 16)."""
    erasing: float = 0.0
    """Share of images of which a random rectangle becomes noise (Zhong: 0.5)."""
    mixup: float = 0.0
    """Alpha of MixUp: images and labels blended in pairs (0.2 to 0.4)."""
    cutmix: float = 0.0
    """Alpha of CutMix: a rectangle of another image pasted, labels in proportion (1)."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            UsageError: with the value and the range.
        """
        for name in ("shift", "rotate", "zoom", "photometric", "pca_noise", "cutout", "mixup", "cutmix"):
            require(name, getattr(self, name), 0 <= getattr(self, name) < float("inf"), "0 or more")
        once = not (self.flip and self.flip_alternately)
        require("flip_alternately", self.flip_alternately, once, "off where flip is on: one of them mirrors")
        low, high = self.sides
        require("sides", self.sides, self.sides == (0, 0) or 1 <= low <= high, "0 0, or two sides from 1, in order")
        require("sides", self.sides, self.sides == (0, 0) or self.crop == "random", "0 0 unless --crop random")
        require("area", self.area, 0 < self.area[0] <= self.area[1] <= 1, "two shares above 0, up to 1, in order")
        require("policy_operations", self.policy_operations, 1 <= self.policy_operations <= 16, "from 1 to 16")
        require("policy_magnitude", self.policy_magnitude, 0 <= self.policy_magnitude <= 30, "from 0 to 30")
        require("photometric", self.photometric, self.photometric <= 1, "from 0 to 1")
        require("erasing", self.erasing, 0 <= self.erasing <= 1, "from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a data set is found and cut."""

    split: str | None = None
    """Fractions of train, validation and test, for what is not split already: 0.8/0.1/0.1."""
    split_seed: int = 42
    """Cuts the splits; apart from the run's seed, so that runs of different seeds share their test images."""
    data_root: Path | None = None
    """Where the sets known by name lie; else the environment's FOVEA_DATA, else ~/.cache/fovea/data."""
    download: bool = False
    """Fetch a known data set that is not there."""
    fold: str = ""
    """Cross-validation: 2/5 validates on the second of five stratified parts and trains on the others."""
    fraction: float = 1.0
    """Train on this share of every class, for a quick trial; validation and test stay whole."""
    allow_bad: int = 0
    """Go on without so many files that cannot be decoded or have no label; they are left out, never replaced."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            UsageError: with the value and the range.
        """
        require("fraction", self.fraction, 0 < self.fraction <= 1, "above 0, up to 1")
        require("allow_bad", self.allow_bad, self.allow_bad >= 0, "0 or more")
