"""What the configuration says about data. Standard library only: the command line reads it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are varied; each draw is a function of (seed, epoch, index)."""

    shift: int = 0
    """Largest shift in pixels of the network's image, in each direction."""
    rotate: float = 0.0
    """Largest rotation in degrees, either way."""
    zoom: float = 0.0
    """Largest change of scale: 0.1 is from 1/1.1 to 1.1 times."""
    flip: bool = False
    """Mirror every other image; not for digits, letters or signs."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a data set is found and cut."""

    split: str | None = None
    """Fractions of train, validation and test, for what is not split already: 0.8/0.1/0.1."""
    split_seed: int = 42
    """Cuts the splits; apart from the run's seed, so that runs of different seeds share their test images."""
    data_root: Path | None = None
    """Where mnist and fashion_mnist lie; else the environment's FOVEA_DATA, else ~/.cache/fovea/data."""
    download: bool = False
    """Fetch a known data set that is not there."""
