"""Deletion and insertion: networks whose reasons are known, so that the curves can be told beforehand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fovea.errors import NumbersError, ShapeError, UsageError
from fovea.explain.faithfulness import CurveOptions, curves, maps_of
from fovea.randomness import key, uniforms


class Corner(nn.Module):
    """Class 1 is the more likely, the more the upper left of an image, `side` pixels each way, stands out."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        found = images[:, :, : self.side, : self.side].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(found), 6 * found - 3], dim=1)


def cornered(count: int = 1, side: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Images whose upper left quarter is 1 and whose rest is 0, class 1, and the map that says so."""
    images = torch.zeros(count, 3, side, side)
    images[:, :, : side // 2, : side // 2] = 1
    return images, torch.ones(count, dtype=torch.int64), images[:, 0].clone()


def test_the_true_map_lets_the_probability_fall_and_rise_first_and_its_opposite_last() -> None:
    images, targets, maps = cornered()
    options = CurveOptions(grid=4, steps=4)
    good = curves(Corner(4), images, targets, maps, options=options)
    bad = curves(Corner(4), images, targets, -maps, options=options)
    top, low = torch.sigmoid(torch.tensor(3.0)), torch.sigmoid(torch.tensor(6 * 0.25 - 3))
    # The four cells of the corner are a quarter of all 16: after one step they are gone, and stand at the mean, 1/4.
    assert torch.allclose(good.deletion, torch.stack([top, low, low, low, low])[None])
    assert torch.allclose(bad.deletion, torch.stack([top, top, top, top, low])[None])
    assert torch.allclose(good.insertion[0, 1:], top.expand(4))
    assert torch.allclose(good.deletion_area, (top / 2 + 3.5 * low) / 4)
    assert good.insertion_area > bad.insertion_area
    assert good.better_than_random.tolist() == [True]
    assert bad.better_than_random.tolist() == [False]


def test_insertion_begins_blurred_and_both_end_where_they_must() -> None:
    images = torch.from_numpy(uniforms(key(0, "test"), range(2), 3 * 20 * 14)).float().view(2, 3, 20, 14)
    targets, network = torch.tensor([0, 1]), Corner(4)
    found = curves(network, images, targets, images.mean(1))
    intact = network(images).softmax(1).gather(1, targets[:, None])[:, 0]
    grey = network(images.mean((2, 3), keepdim=True).expand_as(images)).softmax(1).gather(1, targets[:, None])[:, 0]
    assert torch.allclose(found.deletion[:, 0], intact)
    assert torch.allclose(found.insertion[:, -1], intact)
    assert torch.allclose(found.random[:, 0], intact)
    assert torch.allclose(found.deletion[:, -1], grey)
    assert torch.allclose(found.random[:, -1], grey)
    assert not torch.allclose(found.insertion[:, 0], intact)
    assert found.deletion.shape == (2, 15)


def test_equal_sums_go_from_the_upper_left_on_and_the_grid_need_not_divide_the_sides() -> None:
    images, targets, _ = cornered(side=7)
    flat = torch.ones(1, 7, 7)
    flat[:, -1] = 0  # so that rows of cells are of 3 pixels and of 3 that count
    found = curves(Corner(3), images, targets, flat, options=CurveOptions(grid=2, steps=4))
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.deletion[0, 1] < found.deletion[0, 0]
    assert torch.allclose(found.deletion[0, 1:], found.deletion[0, 1])


def test_images_smaller_than_the_grid_have_a_cell_for_each_pixel() -> None:
    images, targets, maps = cornered(side=2)
    found = curves(Corner(1), images, targets, maps, options=CurveOptions(steps=8))
    assert found.shares.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]
    assert ((found.deletion_area >= 0) & (found.deletion_area <= 1)).all()


def test_random_orders_depend_on_the_seed_and_the_image_alone() -> None:
    images, targets, maps = cornered(count=3)

    def random(count: int, seed: int) -> Tensor:
        options = CurveOptions(grid=4, steps=4, orders=2, seed=seed)
        return curves(Corner(4), images[:count], targets[:count], maps[:count], options=options).random

    before = torch.random.get_rng_state()
    assert torch.equal(random(3, 0)[:2], random(2, 0))
    assert not torch.equal(random(3, 0), random(3, 1))
    assert not torch.equal(random(3, 0)[0], random(3, 0)[1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_shifted_map_goes_in_the_same_shapes_elsewhere_and_never_where_it_was() -> None:
    images, targets, maps = cornered(count=20)
    options = CurveOptions(grid=4, steps=4, orders=1, chance="shifted")
    found = curves(Corner(4), images, targets, maps, options=options)
    top = torch.sigmoid(torch.tensor(3.0))
    # A square of four of the 16 cells, moved over the grid: on the corner lie as many as its rows by its columns.
    left = {round(float(torch.sigmoid(6 * (1 - 0.75 * some / 4) - torch.tensor(3.0))), 5) for some in (0, 1, 2)}
    assert {round(float(each), 5) for each in found.random[:, 1]} == left
    assert found.better_than_random.all()
    assert torch.allclose(found.random[:, 0], top.expand(20))
    assert "with the map shifted at random for 20 of 20 images" in str(found)
    flat = curves(Corner(1), images[:1, :, :1, :1], targets[:1], maps[:1, :1, :1], options=options)
    assert torch.equal(flat.random, flat.deletion)  # of one cell there is one order


def test_never_more_images_than_a_batch_run_at_once_and_the_batch_changes_nothing() -> None:
    images, targets, maps = cornered(count=3)
    network = Corner(4)
    small = curves(network, images, targets, maps, options=CurveOptions(batch_size=2))
    assert max(network.seen) <= 2
    large = curves(network, images, targets, maps, options=CurveOptions(batch_size=64))
    assert torch.allclose(small.deletion, large.deletion)
    assert torch.allclose(small.random, large.random)


def test_batch_normalisation_is_as_before_and_so_is_the_mode() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, targets, maps = cornered()
    curves(network, images, targets, maps)
    assert network.training
    assert network[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_the_words_tell_both_areas_and_how_often_chance_is_beaten() -> None:
    images, targets, maps = cornered(count=2)
    told = str(curves(Corner(4), images, targets, torch.stack([maps[0], -maps[1]]), options=CurveOptions(grid=4)))
    assert "deletion is better than in random order for 1 of 2 images (50.00%)" in told


def test_what_does_not_fit_is_refused() -> None:
    images, targets, maps = cornered()
    with pytest.raises(ShapeError, match=r"maps \(shape \(1, 4, 4\)\) must have one number for each pixel"):
        curves(Corner(4), images, targets, maps[:, ::2, ::2])
    with pytest.raises(ShapeError, match="must name one class for each of 1 images"):
        curves(Corner(4), images, targets.repeat(2), maps)
    with pytest.raises(NumbersError, match="NaN or infinity"):
        curves(Corner(4), images, targets, maps / 0)
    with pytest.raises(UsageError, match=r"targets \(=2\) must be 0 to 1"):
        curves(Corner(4), images, targets + 1, maps)
    with pytest.raises(UsageError, match=r"steps \(=0\) must be 1 or more"):
        CurveOptions(steps=0)


def test_a_method_that_gives_no_number_for_each_pixel_is_refused() -> None:
    images, targets, _ = cornered()
    with pytest.raises(ShapeError, match=r"the method gives \(1, 3, 8, 8\)"):
        maps_of(Corner(4), images, targets, lambda _, images, __: images)


def test_chance_that_is_known_is_not_judged_again_and_changes_nothing(small, images):
    targets = torch.tensor([0, 3, 1])
    one, two = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    first = curves(small, images, targets, one)
    runs = []
    handle = small.register_forward_pre_hook(lambda _, given: runs.append(len(given[0])))
    again = curves(small, images, targets, two, known=first)
    handle.remove()
    alone = curves(small, images, targets, two)
    assert torch.equal(again.random, alone.random)
    torch.testing.assert_close(again.deletion, alone.deletion)
    torch.testing.assert_close(again.insertion, alone.insertion)
    assert sum(runs) < 3 * 15 * 2 + 10  # two curves an image, and what is looked at to fold
