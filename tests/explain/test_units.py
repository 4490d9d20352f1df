"""What excites a unit most: the right images, cut where the unit looked."""

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, UsageError
from fovea.explain.units import units
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state


@pytest.fixture
def model():
    torch.manual_seed(0)
    spec = Preprocessing(image_size=24, resize=24, in_channels=3, mean=(0.5,), std=(0.5,))
    return Model(Bundle(network=Small(), architecture=None, classes=tuple("abcd"), preprocessing=spec), batch_size=8)


@pytest.fixture
def split():
    pixels = np.random.default_rng(0).integers(0, 256, (70, 24, 24, 3), dtype=np.uint8)  # enough to be folded
    return Split("test", ArrayImages(pixels, "test"), np.arange(70) % 4, ("a", "b", "c", "d"))


def seen(model, split, layer):
    pixels = torch.from_numpy(np.stack([split.images[row].transpose(2, 0, 1) for row in range(len(split))]))
    network, maps = model.network, []
    handle = dict(network.named_modules())[layer].register_forward_hook(lambda *args: maps.append(args[2].clone()))
    with torch.no_grad():
        network(model.bundle.preprocessing.normalise(pixels))
    handle.remove()
    return maps[0]


def test_they_are_the_images_with_the_largest_activations_the_largest_first(model, split):
    before = state(model.network)
    found = units(model, split, layer="second", channels=(5, 1), top=4)
    assert state(model.network) == before
    maps = seen(model, split, "second")
    for unit, channel in zip(found.units, (5, 1), strict=True):
        largest = maps[:, channel].flatten(1).amax(1)
        expected = largest.topk(4)
        assert unit.channel == channel
        assert [each.row for each in unit.images] == expected.indices.tolist()
        np.testing.assert_allclose([each.activation for each in unit.images], expected.values, rtol=1e-4)
        assert [each.label for each in unit.images] == ["abcd"[row % 4] for row in expected.indices.tolist()]
    assert found.field == (8, 8)  # 3×3, 2×2 of stride 2, 3×3
    assert "second, of 70 images; a unit sees 8×8 pixels" in str(found)


def test_the_crop_is_what_the_unit_sees_no_more_and_no_less(model, split):
    found = units(model, split, layer="second", channels=(0,), top=5)
    network, spec = model.network, model.bundle.preprocessing
    for each in found.units[0].images:
        top, bottom, left, right = each.box
        picture = split.images[each.row].copy()
        np.testing.assert_array_equal(each.crop, picture[top:bottom, left:right])
        outside = np.full_like(picture, 7)
        outside[top:bottom, left:right] = picture[top:bottom, left:right]
        for changed, same in ((outside, True), (255 - picture, False)):
            shown = spec.normalise(torch.from_numpy(changed.transpose(2, 0, 1)[None].copy()))
            with torch.no_grad():
                maps = network.second(network.pool(network.relu(network.norm(network.first(shown)))))[0, 0]
            assert bool(((maps - each.activation).abs() < 1e-4).any()) is same


def test_at_the_edge_the_crop_ends_with_the_image():
    corner = nn.Conv2d(1, 1, 5, padding=2)
    nn.init.constant_(corner.weight, 1 / 25)
    nn.init.zeros_(corner.bias)
    network = nn.Sequential(corner, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    spec = Preprocessing(image_size=8, resize=8, in_channels=1)
    pixels = np.zeros((1, 8, 8), np.uint8)
    pixels[0, 0, 0] = 255
    model = Model(Bundle(network=network, architecture=None, classes=("a", "b"), preprocessing=spec))
    found = units(model, Split("test", ArrayImages(pixels, "test"), np.zeros(1, np.int64), ("a", "b")), layer="0")
    assert found.units[0].images[0].box == (0, 3, 0, 3)
    assert found.units[0].images[0].crop.shape == (3, 3, 1)


def test_equal_activations_come_in_the_order_of_the_split(model):
    same = np.full((5, 24, 24, 3), 90, np.uint8)
    split = Split("test", ArrayImages(same, "test"), np.zeros(5, np.int64), ("a", "b", "c", "d"))
    found = units(model, split, layer="first", channels=(2,), top=3)
    assert [each.row for each in found.units[0].images] == [0, 1, 2]


def test_what_has_no_places_shows_whole_images(model, split):
    found = units(model, split, layer="fc", channels=(3,), top=2)
    assert found.field is None
    assert found.units[0].images[0].crop.shape == (24, 24, 3)
    assert "a unit sees the whole image" in str(found)


def test_what_cannot_be_is_refused(model, split):
    with pytest.raises(UsageError, match=r"unit \(=8\) of second must be 0 to 7"):
        units(model, split, layer="second", channels=(8,))
    with pytest.raises(UsageError, match="no stage is called secnd"):
        units(model, split, layer="secnd")
    with pytest.raises(UsageError, match=r"top \(=0\) must be 1 or more"):
        units(model, split, top=0)
    with pytest.raises(DataError, match="test holds no image to look at"):
        units(
            model, Split("test", ArrayImages(np.zeros((0, 24, 24, 3), np.uint8), "test"), np.zeros(0, np.int64), ("a",))
        )
