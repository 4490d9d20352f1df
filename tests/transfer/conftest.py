"""Data that a probe can tell apart, and a small network with weights, as a bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.opening import open_data
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Data

SOURCE = "cifar_resnet20"


@pytest.fixture
def colours() -> Data:
    """Noise of three brightnesses: 45 images to train on, 18 that choose, 27 that judge."""
    drawn = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = drawn.integers(0, 90, (90, 32, 32, 3)) + 80 * labels[:, None, None, None]
    return open_data((images.astype(np.uint8), labels), split="0.5/0.2/0.3", classes=("dark", "grey", "light"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A bundle of a network for ten other classes."""
    network = build(SOURCE, num_classes=10, seed=0)
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32))  # statistics of batch normalisation that are not the first ones
    spec = Preprocessing(image_size=32, resize=36, in_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    names = tuple(f"class {number}" for number in range(10))
    bundle = Bundle(network=network, architecture=describe(network), classes=names, preprocessing=spec)
    return bundle.save(tmp_path / "source")
