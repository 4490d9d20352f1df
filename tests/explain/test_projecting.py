"""What in the patches excites a unit."""

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.explain.projecting import projections
from fovea.explain.units import units
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state


def model_of(network):
    spec = Preprocessing(image_size=24, resize=24, in_channels=3, mean=(0.5,), std=(0.5,))
    return Model(Bundle(network=network, architecture=None, classes=tuple("abcd"), preprocessing=spec), batch_size=8)


@pytest.fixture
def split():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)
    return Split("test", ArrayImages(pixels, "noise"), np.arange(12) % 4, tuple("abcd"))


def test_each_patch_has_its_projection_by_the_deconvnet_of_that_unit(split):
    torch.manual_seed(0)
    model = model_of(Small())
    found = units(model, split, layer="second", channels=(3, 5), top=4)
    before = state(model.network)
    projected = projections(model, split, found)
    assert state(model.network) == before
    assert projected.words == "deconvnet"
    for unit in found.units:
        patches = projected.patches[unit.channel]
        assert [each.shape for each in patches] == [(3, *each.crop.shape[:2]) for each in unit.images]
        assert all(np.abs(each).max() > 0 for each in patches)
    assert projected.patches[3][0].tobytes() != projected.patches[5][0].tobytes()


def test_without_switches_it_is_guided_backpropagation_and_without_a_relu_nothing(split):
    torch.manual_seed(0)

    def network(activation):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), activation, nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(324, 4)
        )

    found = {}
    for name, activation in (("relu", nn.ReLU()), ("silu", nn.SiLU())):
        model = model_of(network(activation))
        found[name] = projections(model, split, units(model, split, layer="2", channels=(0,), top=2))
    assert found["relu"].words == "guided backpropagation"
    assert len(found["relu"].patches[0]) == 2
    assert found["silu"] == ("", {})


def test_of_a_layer_without_maps_the_whole_image_is_projected(split):
    torch.manual_seed(0)
    model = model_of(Small())
    projected = projections(model, split, units(model, split, layer="fc", channels=(1,), top=2))
    assert [each.shape for each in projected.patches[1]] == [(3, 24, 24)] * 2
