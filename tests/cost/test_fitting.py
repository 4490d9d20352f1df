"""Why images do not fit, in numbers, and the nearest sizes that do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fovea
from fovea.cost import fitting
from fovea.cost.fitting import advice, nearest, refusal
from fovea.errors import ShapeError
from fovea.layers.convnet import ConvNet


class Halves(nn.Module):
    """Halves the sides so many times and doubles them again, with a shortcut around: wants multiples of 2^times."""

    def __init__(self, times):
        super().__init__()
        self.down = nn.Sequential(*(nn.MaxPool2d(2) for _ in range(times)))
        self.up = nn.Upsample(scale_factor=2**times)

    def forward(self, images):
        return images + self.up(self.down(images))


class Never(nn.Module):
    def forward(self, images):
        return images.reshape(7, 11)


def ends_in(side, channels=4):
    """A network with a head for maps of one side."""
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.Flatten(), nn.Linear(channels * side * side, 2))


def message(network, image_size, in_channels=None):
    with pytest.raises(ShapeError) as refused:
        fovea.inspect(network, image_size=image_size, in_channels=in_channels)
    return str(refused.value)


# --- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "size", "formula"),
    [
        (nn.Conv2d(3, 4, 5), 3, "floor((3 + 2·0 − 5)/1) + 1 = −1 pixels"),
        (nn.Conv2d(3, 4, 7, stride=4, padding=1), 2, "floor((2 + 2·1 − 7)/4) + 1 = 0 pixels"),
        (nn.Conv2d(3, 4, 3, dilation=4), 5, "floor((5 + 2·0 − 4·(3 − 1) − 1)/1) + 1 = −3 pixels"),
        (nn.Conv2d(3, 4, (1, 5), padding=(0, 1)), 2, "floor((2 + 2·1 − 5)/1) + 1 = 0 pixels"),
        (nn.MaxPool2d(3, 2), 2, "floor((2 + 2·0 − 3)/2) + 1 = 0 pixels"),
        (nn.MaxPool2d(5, 2, ceil_mode=True), 2, "ceil((2 + 2·0 − 5)/2) + 1 = 0 pixels"),
        (nn.AvgPool2d(4), 2, "floor((2 + 2·0 − 4)/4) + 1 = 0 pixels"),
    ],
)
def test_a_window_that_does_not_fit_gives_its_formula_with_the_numbers(layer, size, formula):
    said = message(nn.Sequential(nn.ReLU(), layer), size)
    assert f"; 1 ({type(layer).__name__}) would give {formula}; it runs with images of " in said


def test_the_axis_that_does_not_fit_is_worked_out():
    assert "floor((4 + 2·0 − 5)/1) + 1 = 0 pixels" in message(nn.Conv2d(3, 4, 5), (9, 4))


def test_units_that_came_from_maps_are_told_as_channels_times_sides():
    network = nn.Sequential(
        nn.Conv2d(3, 256, 4, stride=4),
        nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(9216, 10)),
    )
    said = message(network, 28)
    assert "; 12544 = 256·7·7 units came in, 9216 = 256·6·6 are expected; it runs with images of 27×27 pixels" in said


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), "; 192 units came in, 10 are expected"),  # no maps before it
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(24, 2)), "144 = 4·6·6 units came in, 24 = 4·6 are"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2)), "144 = 4·6·6 units came in, 7 are expected"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(144, 2)),
            "it expects 144 = 4·6·6 units in a row: flatten the maps before it",
        ),
    ],
)
def test_units_that_no_square_maps_give(network, said):
    assert said in message(network, 8)


def test_wrong_channels_are_no_matter_of_size():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(8, 2, 3))
    said = message(network, 8)
    assert said.endswith("; 3 channels came in, 1 is expected: give in_channels=1")
    said = message(network, 8, in_channels=1)
    assert said.startswith("1 (Conv2d) does not take what came in (1×4×6×6)")
    assert said.endswith("; 4 channels came in, 8 are expected")


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "size", "sides"),
    [
        (ends_in(6), (9, 9), [8]),
        (ends_in(6), (7, 7), [8]),
        (ends_in(6), (8, 12), [8]),
        (ends_in(6), (8 + 65, 8 + 65), []),
        (Halves(5), (63, 63), [32, 64]),
        (Halves(5), (33, 33), [32, 64]),
        (Halves(5), (40, 100), [64, 96]),
        (nn.Conv2d(3, 4, 5), (1, 1), [5]),
        (Never(), (8, 8), []),
    ],
)
def test_the_nearest_sizes_below_and_above(network, size, sides):
    found, tried = nearest(network, 3, size)
    assert found == sides
    middle = sum(size) // 2
    assert sorted(tried, key=lambda side: abs(side - middle)) == tried  # outward, so none nearer was passed over
    assert size not in [(side, side) for side in tried]
    for side in found:
        fovea.inspect(network, image_size=side)


def test_both_are_told_and_both_run():
    assert message(Halves(5), 63).endswith("; it runs with images of 32×32 or 64×64 pixels")


def test_where_none_nearby_runs_that_is_told():
    assert message(ends_in(6, channels=2), 80).endswith("; no square image of 16 to 144 pixels runs")
    assert "runs" not in message(Never(), 8)  # nobody knows whether the size is the matter


@pytest.mark.parametrize(("name", "size", "side"), [("lenet5", 40, 35), ("lenet5", 8, 32)])
def test_networks_of_the_catalogue_say_why_and_which(name, size, side):
    with torch.device("meta"):
        network = fovea.create(name)
    said = message(network, size)
    assert said.startswith(f"images of {size}×{size} pixels do not fit this network")
    assert f"; it runs with images of {side}×{side} pixels" in said
    assert " units came in, " in said or " would give floor((2 + 2·0 − 5)/1) + 1 = −2 pixels" in said


def test_their_channels_are_told_once():
    said = message(fovea.create("lenet5", seed=0), 32, in_channels=3)
    assert said.endswith("build it with in_channels=3, or convert the images")


def test_a_network_that_explains_itself_slowly_is_not_asked_for_each_size(monkeypatch):
    with torch.device("meta"):
        network = fovea.create("densenet121")
    asked = []
    monkeypatch.setattr(ConvNet, "_explain", lambda *_: asked.append(1))  # it takes seconds for each of 28 sizes
    assert nearest(network, 3, (8, 8))[0] == [29]
    assert not asked


def test_trying_ends_after_so_many_operations(monkeypatch):
    _, tried = nearest(ends_in(6), 3, (80, 80))
    assert len(tried) == 128
    monkeypatch.setattr(fitting, "OPERATIONS", 500)
    found, some = nearest(ends_in(6), 3, (80, 80))
    assert found == []
    assert some == tried[: len(some)]
    assert 0 < len(some) <= 10
    assert len(nearest(Never(), 3, (1, 100_000))[1]) <= 10


# --- neither changes anything ----------------------------------------------------------------------------------------


def test_nothing_of_the_module_changes():
    network = ends_in(6).train()
    network[1].eval()
    weights = network[2].weight
    before = weights.clone()
    message(network, 9)
    assert [part.training for part in network] == [True, False, True]
    assert network[2].weight is weights
    assert torch.equal(weights, before)
    assert not torch.nn.modules.module._global_forward_hooks


def test_what_fits_needs_no_advice():
    assert refusal(ends_in(6), 3, (8, 8)) is None
    assert advice(ends_in(6), 3, (8, 8)) == ""


def test_the_first_error_is_the_cause():
    with pytest.raises(ShapeError) as refused:
        fovea.inspect(ends_in(6), image_size=9)
    assert isinstance(refused.value.__cause__, ShapeError)
