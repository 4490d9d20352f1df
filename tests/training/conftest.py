"""What the tests of training share: tiny data, a quick recipe, one finished run."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: threads that spin slow a busy machine down
CLASSES = 3


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs without the pictures at their end, which take longer than all the rest."""
    from fovea.training import train

    monkeypatch.setattr(train, "draw", lambda *_: None)


def stripes(count=60, side=16, seed=0):
    """Grey images of three classes, told apart by the place of a bright stripe, with noise."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 80, (count, side, side)).astype(np.uint8)
    labels = (np.arange(count) % CLASSES).astype(np.int64)
    for image, label in zip(images, labels, strict=True):
        image[:, label * side // CLASSES : label * side // CLASSES + 3] += 150
    return images, labels


@pytest.fixture(scope="session")
def arrays():
    return stripes()


@pytest.fixture
def network():
    return build_small()


def build_small(seed=3, **changes):
    from fovea.architectures.catalogue import build

    return build("lenet5", **({"num_classes": CLASSES, "in_channels": 1, "image_size": 16} | changes), seed=seed)


@pytest.fixture
def make_network():
    return build_small


@pytest.fixture
def quick():
    """Options of a run that takes a fraction of a second: nine steps in three epochs, augmented."""
    from fovea.training.options import options

    return options(epochs=3, batch_size=18, lr=0.02, warmup_epochs=1.0, shift=1)


def files_of(folder):
    """Every file below a folder by its relative path, with its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def read_files():
    return files_of
