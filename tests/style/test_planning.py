"""What a size takes, told before it is begun."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.cost.receptive_field import IMAGE, UNKNOWN
from fovea.errors import MachineError, ModelError
from fovea.style.descending import HISTORY, VECTORS
from fovea.style.perception import Perception
from fovea.style.planning import Planner
from fovea.style.tiles import grid_of
from tests.style.conftest import model_of, vgg_like


@pytest.fixture
def model():
    return model_of(vgg_like(channels=(16, 16, 16, 16, 16)))


@pytest.fixture
def perception(model):
    return Perception(model, precision="float32")


def test_what_fits_is_worked_on_in_one_piece(perception):
    plan = Planner(perception, [1]).plan((200, 300))
    assert len(plan.tiles) == 1
    assert plan.maps["conv3_1"] == (50, 75)
    assert plan.places["conv5_1"] == 12 * 18
    pictures = (VECTORS + 2 * HISTORY) * 12 * 200 * 300
    first = 16 * 200 * 300 * 4  # bytes of the first layer's maps
    assert pictures + 2 * first < plan.bytes < pictures + 12 * first


def test_memory_grows_with_the_picture_and_halves_in_bf16(model):
    float32, bf16 = (Planner(Perception(model, precision=each), [1]) for each in ("float32", "bf16"))
    assert float32._peak((400, 400)) == pytest.approx(4 * float32._peak((200, 200)), rel=0.05)
    assert bf16._peak((400, 400)) < 0.75 * float32._peak((400, 400))


def test_what_does_not_fit_is_cut_into_tiles_that_do(perception):
    whole = Planner(perception, [1]).plan((800, 800)).bytes
    plan = Planner(perception, [1], limit=int(0.8 * whole)).plan((800, 800))
    assert len(plan.tiles) > 1
    assert plan.bytes <= 0.8 * whole


def test_what_does_not_fit_in_any_tiles_is_refused_before_the_work(perception):
    with pytest.raises(MachineError, match=r"800×800 pixels need .* GiB even in small tiles, of 0.0 that may be used"):
        Planner(perception, [1], limit=1000).plan((800, 800))


@pytest.mark.parametrize("field", [IMAGE, UNKNOWN])
def test_a_layer_that_sees_everything_cannot_be_cut(field):
    with pytest.raises(ModelError, match="what conv sees is the whole picture"):
        grid_of({"conv": field})


class Squeezing(nn.Module):
    """Multiplies its maps by what it makes of their means."""

    def forward(self, maps):
        return maps * torch.sigmoid(maps.mean((2, 3), keepdim=True))


def test_a_network_that_weighs_channels_by_the_whole_picture_is_not_cut():
    network = vgg_like(channels=(16, 16, 16, 16, 16))
    network.features.conv2.add_module("weighed", Squeezing())
    perception = Perception(model_of(network), precision="float32")
    whole = Planner(perception, [1]).plan((400, 400)).bytes
    with pytest.raises(ModelError, match="cannot be cut into tiles"):
        Planner(perception, [1], limit=whole - 1).plan((400, 400))
