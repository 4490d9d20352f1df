"""The loss and its gradient: against the formulas in float64, and tile by tile against the whole."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.style.aim import Aim, Region, Weights, shares_of
from fovea.style.evaluating import content_maps, evaluate, style_grams
from fovea.style.perception import Perception
from fovea.style.sizing import as_images
from fovea.style.tiles import grid_of, tiles_of, whole
from fovea.training.arithmetic import has_bf16
from tests.style.conftest import model_of, picture, striped, vgg_like

CONTENT, STYLE = "conv4_2", ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def read_by_hand(model, images):
    """The layers in float64, by torch's functions, with average pooling."""
    spec, found = model.bundle.preprocessing, {}
    maps = (images.double() - spec.mean[0]) / spec.std[0]
    for n, stage in enumerate(model.network.features[::2], start=1):
        for k, layer in enumerate(each for each in stage if isinstance(each, nn.Conv2d)):
            maps = F.relu(F.conv2d(maps, layer.weight.double(), layer.bias.double(), padding=1))
            found[f"conv{n}_{k + 1}"] = maps
        maps = F.avg_pool2d(maps, 2)
    return found


def grams_by_hand(reading, scales):
    found = {}
    for name in STYLE:
        maps = reading[name][0] / scales[name].double()[:, None, None]
        flat = maps.flatten(1)
        found[name] = flat @ flat.T / flat.shape[1]
    return found


def loss_by_hand(model, scales, images, content, style, weights):
    """Mean squared difference of maps; of Gram matrices, divided by the number of filters squared."""
    reading, wanted = read_by_hand(model, images), read_by_hand(model, content)
    apart = (reading[CONTENT] - wanted[CONTENT]) / scales[CONTENT].double()[:, None, None]
    own, other = grams_by_hand(reading, scales), grams_by_hand(read_by_hand(model, style), scales)
    styles = sum((own[name] - other[name]).square().mean() / len(own[name]) ** 2 for name in STYLE)
    x = images.double()
    right, below = F.pad(x.diff(dim=3), (0, 1)).square(), F.pad(x.diff(dim=2), (0, 0, 0, 1)).square()
    variation = (right + below).mean() * 1e3
    return weights.content * apart.square().mean() + weights.style * styles + weights.variation * variation


def aim_of(perception, content, styles, weights, masks=()):
    size = tuple(content.shape[2:])
    maps = perception.sizes(size)
    everything = [whole(maps)]
    grams = [style_grams(perception, style, everything) for style in styles]
    regions = [Region(None, 1.0, grams, [1 / len(grams)] * len(grams))]
    if masks:
        drawn = [shares_of(mask, maps) for mask in masks]
        regions = [Region(shares, area, [own], [1.0]) for (shares, area), own in zip(drawn, grams, strict=True)]
    target = content_maps(perception, content, everything, maps[CONTENT])
    return Aim(perception, target, {name: h * w for name, (h, w) in maps.items()}, regions, weights)


def test_the_loss_and_its_gradient_are_those_of_a_float64_reference(model):
    perception = Perception(model, precision="float32")
    content, style = as_images(picture(1)), as_images(striped())
    images = as_images(picture(2))
    weights = Weights(1.0, 1e3, 0.5)
    aim = aim_of(perception, content, [style], weights)
    terms, gradient = evaluate(perception, aim, images, [whole(aim.places)])
    exact = images.double().requires_grad_()
    loss = loss_by_hand(model, perception.scales, exact, content, style, weights)
    (wanted,) = torch.autograd.grad(loss, exact)
    assert float(terms.total) == pytest.approx(float(loss.detach()), rel=1e-4)
    assert (gradient - wanted).norm() < 1e-4 * wanted.norm()
    assert min(map(float, terms)) > 0


@pytest.mark.parametrize(("masked", "precision"), [(False, "float32"), (True, "float32"), (True, "bf16")])
def test_in_tiles_the_loss_and_the_gradient_are_those_of_the_whole(masked, precision):
    model = model_of(vgg_like(channels=(3, 3, 4, 4, 4)))
    perception = Perception(model, precision=precision)
    content, images = (as_images(picture(seed, 333, 250)) for seed in (1, 2))
    styles = [as_images(striped(120, 130)), as_images(picture(3, 100, 90))]
    halves = torch.zeros(333, 250)
    halves[:, :90] = 1.0
    aim = aim_of(perception, content, styles, Weights(1.0, 1e3, 0.5), (halves, 1 - halves) if masked else ())
    maps = perception.sizes((333, 250))
    tiles = tiles_of(grid_of(perception.fields()), (333, 250), maps, 80)
    assert len(tiles) == 12
    terms, gradient = evaluate(perception, aim, images, tiles)
    wanted, exact = evaluate(perception, aim, images, [whole(maps)])
    near = 1e-5 if precision == "float32" else 1e-2
    allowed = near * exact.norm()
    if precision == "bf16" and not has_bf16(torch.device("cpu")):  # emulated, gradients are rounded more often
        in_full = Perception(model, precision="float32")
        allowed = (exact - evaluate(in_full, aim, images, [whole(maps)])[1]).norm() / 5
    assert [float(each) for each in terms] == pytest.approx([float(each) for each in wanted], rel=near)
    assert (gradient - exact).norm() < allowed


def test_what_is_read_of_a_picture_is_the_same_in_tiles(model):
    perception = Perception(model, precision="float32")
    images, size = as_images(picture(4, 300, 200)), (300, 200)
    maps = perception.sizes(size)
    tiles = tiles_of(grid_of(perception.fields()), size, maps, 64)
    for name, own in style_grams(perception, images, tiles).items():
        torch.testing.assert_close(own, style_grams(perception, images, [whole(maps)])[name], rtol=1e-4, atol=1e-5)
    own = content_maps(perception, images, tiles, maps[CONTENT])
    wanted = content_maps(perception, images, [whole(maps)], maps[CONTENT])
    torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "side"), list(itertools.product((97, 160, 333), (64, 250), (16, 64, 176))))
def test_tiles_hold_every_place_of_every_layer_once(model, height, width, side):
    perception = Perception(model, precision="float32")
    maps = perception.sizes((height, width))
    counted = {name: torch.zeros(size, dtype=torch.int64) for name, size in maps.items()}
    for tile in tiles_of(grid_of(perception.fields()), (height, width), maps, side):
        for name, spans in tile.places.items():
            assert all(span.stop > span.start for span in spans)
            counted[name][spans] += 1
            inside = [span.stop - span.start for span in tile.inside[name]]
            assert inside == [span.stop - span.start for span in spans]
    assert all((each == 1).all() for each in counted.values())


def test_a_mask_s_shares_add_up_to_one_and_follow_its_squares():
    mask = torch.zeros(8, 8)
    mask[:, 4:] = 1.0
    mask[:, :4] = 0.5
    shares, area = shares_of(mask, {"layer": (4, 4)})
    assert area == 0.75
    assert float(shares["layer"].sum()) == pytest.approx(1)
    assert float(shares["layer"][0, 3] / shares["layer"][0, 0]) == pytest.approx(4)
