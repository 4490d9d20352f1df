"""A small network with VGG's layers, and pictures to stylise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import he_normal
from fovea.layers.vgg_block import VGGBlock
from fovea.runtime.model import Model
from fovea.style.styler_file import MEANING, STATE, WEIGHTS

CHANNELS = (4, 6, 8, 8, 8)


def vgg_like(in_channels=3, channels=CHANNELS):
    """Five stages of two convolutions, named as VGG's, with a small head that takes images of any size."""
    stages, before = {}, in_channels
    for n, own in enumerate(channels, start=1):
        stages |= {f"conv{n}": VGGBlock(before, own, (3, 3)), f"pool{n}": nn.MaxPool2d(2)}
        before = own
    head = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(before, 3)}
    torch.manual_seed(0)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=he_normal())


def model_of(network, in_channels=3, size=32):
    spec = Preprocessing(image_size=size, resize=size, in_channels=in_channels, mean=(0.45,), std=(0.25,))
    return Model(Bundle(network=network, architecture=None, classes=("a", "b", "c"), preprocessing=spec))


@pytest.fixture
def model():
    return model_of(vgg_like())


def picture(seed, height=40, width=48):
    """A smooth picture of chance."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=draws)
    fine = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1)
    return np.ascontiguousarray((fine * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def striped(height=40, width=40):
    """Diagonal stripes of yellow and blue."""
    rows, columns = np.mgrid[:height, :width]
    light = (((rows + columns) // 4) % 2).astype(bool)[:, :, None]
    return np.where(light, np.uint8([230, 200, 40]), np.uint8([20, 40, 120])).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    """Five image files to learn from."""
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(5):
        Image.fromarray(picture(n, 40 + n, 60)).save(folder / f"{n}.png")
    return sorted(folder.iterdir())


def content_of(folder):
    """All that a taught network's folder holds."""
    return [(folder / name).read_bytes() for name in (MEANING, WEIGHTS, STATE)]
