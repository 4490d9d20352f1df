"""The images that excite a unit most, and what of them it sees."""

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, NumbersError, UsageError
from fovea.explain.places import place_of
from fovea.explain.reaching import reach
from fovea.explain.units import units
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state

SIDE = 24


class Strided(nn.Module):
    """Padding, strides, pools, a branch and a shortcut before the maps that are looked at."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 5, stride=2, padding=2), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(4, 2)

    def forward(self, images):
        maps = torch.relu(self.first(images))
        maps = self.pool(maps + torch.relu(self.second(maps)))
        return self.fc(maps.mean((2, 3)))


class Enlarged(Strided):
    """A map that is enlarged again."""

    def forward(self, images):
        maps = nn.functional.interpolate(self.first(images), scale_factor=2)
        return self.fc(self.second(maps).mean((2, 3)))


def a_model(network, **options):
    spec = Preprocessing(image_size=SIDE, resize=SIDE, in_channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    classes = tuple("abcd"[: network.fc.out_features])
    return Model(Bundle(network=network, architecture={}, classes=classes, preprocessing=spec), **options)


def a_split(count=20, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return Split("test", ArrayImages(pixels, "own"), np.arange(count) % 2, ("even", "odd"))


@pytest.fixture
def strided():
    torch.manual_seed(3)
    return Strided().eval()


def received(model, split):
    spec = model.bundle.preprocessing
    return spec.normalise(torch.from_numpy(split.images.array).permute(0, 3, 1, 2))


def test_the_images_of_a_unit_are_those_with_its_largest_activations_in_their_order(strided):
    model, split = a_model(strided, batch_size=7), a_split()
    found = units(model, split, layer="second", channels=[2, 0], top=5)
    images = received(model, split)
    with torch.no_grad():
        largest = strided.second(torch.relu(strided.first(images))).amax((2, 3))
    assert [unit.channel for unit in found.units] == [2, 0]
    for unit in found.units:
        order = largest[:, unit.channel].argsort(descending=True)[:5]
        assert [each.row for each in unit.images] == order.tolist()
        np.testing.assert_allclose(
            [each.activation for each in unit.images], largest[order, unit.channel], rtol=1e-5, atol=1e-6
        )
        assert [each.label for each in unit.images] == [("even", "odd")[row % 2] for row in order]
        assert unit.images[0].name == f"own/{order[0]}"
    assert found.looked_at == 20
    assert "unit 2" in str(found)


@pytest.mark.parametrize("layer", ["first", "second", "pool"])
def test_pixels_outside_the_box_do_not_move_the_activation_and_each_edge_of_the_box_does(strided, layer):
    model, split = a_model(strided), a_split(60)
    found = units(model, split, layer=layer, channels=[0, 1], top=9)
    with torch.no_grad():
        read = reach(strided, place_of(strided, received(model, split), layer))
        whole, moved = 0, []
        for unit in found.units:
            for each in unit.images:
                image = received(model, split)[each.row : each.row + 1]
                maps = read(image)[0, unit.channel]
                position = divmod(int(maps.argmax()), maps.shape[1])
                top, bottom, left, right = each.box
                outside = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 9
                outside[:, :, top:bottom, left:right] = image[:, :, top:bottom, left:right]
                assert float(read(outside)[0, unit.channel][position]) == pytest.approx(each.activation, abs=1e-5)
                edges = [(top, slice(left, right)), (bottom - 1, slice(left, right))]
                edges += [(slice(top, bottom), left), (slice(top, bottom), right - 1)]
                inside = image.repeat(len(edges), 1, 1, 1)
                for number, (rows, columns) in enumerate(edges):
                    inside[number, :, rows, columns] += 9
                moved.append((read(inside)[:, unit.channel, *position] - each.activation).abs().numpy())
                whole += (bottom - top, right - left) == found.field
                np.testing.assert_array_equal(each.crop, split.images[each.row][top:bottom, left:right])
    assert (np.array(moved) > 1e-3).any(0).all()  # ReLUs hide some
    assert whole > 0
    assert found.field == {"first": (5, 5), "second": (9, 9), "pool": (11, 11)}[layer]


def test_a_unit_at_the_corner_has_a_patch_cut_at_the_images_edge(strided):
    with torch.no_grad():
        strided.first.weight.fill_(1)
        strided.first.bias.fill_(0)
    pixels = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    pixels[2, -3:, -3:] = 255
    split = Split("test", ArrayImages(pixels, "own"), np.zeros(4, np.int64), ("a",))
    model = a_model(strided)
    best = units(model, split, layer="first", channels=[1], top=1).units[0].images[0]
    assert best.row == 2
    assert best.box == (20, 24, 20, 24)
    assert best.crop.shape == (4, 4, 3)


def test_of_equal_activations_the_mean_decides_then_the_earlier_image(strided):
    with torch.no_grad():
        strided.first.weight.zero_()
        strided.first.bias.fill_(1)
    found = units(a_model(strided), a_split(), layer="first", channels=[0], top=4)
    assert [each.row for each in found.units[0].images] == [0, 1, 2, 3]

    class Ends(nn.Module):
        """Ends at 6, as MobileNet's activations do."""

        def __init__(self):
            super().__init__()
            self.act, self.fc = nn.ReLU6(), nn.Linear(3, 2)

        def forward(self, images):
            return self.fc(self.act(images).mean((2, 3)))

    pixels = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    pixels[1, :4], pixels[2, :9] = 255, 255
    spec = Preprocessing(image_size=SIDE, resize=SIDE, in_channels=3, std=(0.1,))
    model = Model(Bundle(network=Ends(), architecture={}, classes=("a", "b"), preprocessing=spec))
    split = Split("test", ArrayImages(pixels, "own"), np.zeros(3, np.int64), ("a",))
    best = units(model, split, layer="act", channels=[0], top=3).units[0].images
    assert [(each.row, each.activation) for each in best] == [(2, 6.0), (1, 6.0), (0, 0.0)]


def test_a_layer_behind_the_maps_sees_the_whole_image(strided):
    found = units(a_model(strided), a_split(), layer="fc", top=2)
    assert found.field is None
    assert found.known
    assert found.sees == "the whole image"
    assert [unit.channel for unit in found.units] == [0, 1]
    assert found.units[0].images[0].box == (0, SIDE, 0, SIDE)
    assert found.units[0].images[0].crop.shape == (SIDE, SIDE, 3)


def test_where_nobody_knows_what_a_unit_sees_the_whole_image_is_shown_and_said():
    torch.manual_seed(0)
    found = units(a_model(Enlarged().eval()), a_split(), layer="second", top=1)
    assert not found.known
    assert found.units[0].images[0].box == (0, SIDE, 0, SIDE)
    assert "nobody knows" in str(found)

    class Decides(Strided):
        """Asks its numbers where to go, which cannot be followed without them."""

        def forward(self, images):
            return super().forward(images if float(images.sum()) > 0 else -images)

    found = units(a_model(Decides().eval()), a_split(), layer="second", top=1)
    assert not found.known
    assert found.units[0].images[0].crop.shape == (SIDE, SIDE, 3)


def test_folding_changes_nothing_but_rounding_and_the_network_stays_as_it_was():
    torch.manual_seed(1)
    network = Small()
    with torch.no_grad():
        network.norm.running_mean.uniform_(-1, 1)
        network.norm.running_var.uniform_(0.5, 2)
    model = a_model(network)
    before = state(network)
    few = units(model, a_split(63), layer="second", top=1)
    many = units(model, a_split(64), layer="second", top=64)
    assert state(network) == before
    for one, other in zip(few.units, many.units, strict=True):
        activations = {each.row: each.activation for each in other.images}
        assert activations[one.images[0].row] == pytest.approx(one.images[0].activation, rel=1e-4)


def test_what_cannot_be_looked_at_is_refused(strided):
    model = a_model(strided)
    empty = Split("test", ArrayImages(np.zeros((0, SIDE, SIDE, 3), np.uint8), "own"), np.zeros(0, np.int64), ("a",))
    with pytest.raises(DataError, match="test holds no image to look at"):
        units(model, empty, layer="first")
    with pytest.raises(UsageError, match=r"unit \(=9\) of first must be 0 to 3, its channels"):
        units(model, a_split(), layer="first", channels=[9])
    with pytest.raises(UsageError, match=r"top \(=0\) must be 1 or more"):
        units(model, a_split(), top=0)
    with torch.no_grad():
        strided.second.bias.fill_(float("nan"))
    with pytest.raises(NumbersError, match="second gives NaN or infinity for own/0, own/1, own/2 and 17 more"):
        units(model, a_split(), layer="second")
