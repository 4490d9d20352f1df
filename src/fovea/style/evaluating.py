"""What is read of pictures, and the loss of one with its gradient: in one piece, or the same tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fovea.style.aim import Aim, Grams, Terms, outer
from fovea.style.gram import gram
from fovea.style.perception import Perception, Reading
from fovea.style.tiles import Size, Tile

Evaluated = tuple[Terms, Float[Tensor, "1 3 h w"]]


def evaluate(perception: Perception, aim: Aim, images: Float[Tensor, "1 3 h w"], tiles: Sequence[Tile]) -> Evaluated:
    """The terms of the loss and the gradient of their sum.

    Of several tiles the memory of one is needed. Gram matrices are sums over places: a first pass adds them up, and
    tells what the loss gains by each of their numbers; a second one has each tile's share of that, and its own content,
    flow back to its pixels.
    """
    images = images.detach().requires_grad_()
    if len(tiles) == 1:
        reading = perception.read(images)
        content, style = _content(aim, reading, tiles[0]), aim.style_of(aim.grams_of(reading, tiles[0].places))
        terms = Terms(content, style, aim.variation_of(images))
        (gradient,) = torch.autograd.grad(terms.total, images)
    else:
        variation = aim.variation_of(images)
        gradient = torch.autograd.grad(variation, images)[0] if aim.weights.variation else torch.zeros_like(images)
        content, grams = _added_up(perception, aim, images, tiles)
        wanted = [own[name].requires_grad_() for own in grams for name in own]
        style = aim.style_of(grams)
        gains = torch.autograd.grad(style, wanted) if wanted else ()
        for tile in tiles:
            gradient[:, :, *tile.around] += _flown(perception, aim, images, tile, gains)
        terms = Terms(content, style, variation)
    return Terms(*(each.detach() for each in terms)), gradient


def content_maps(
    perception: Perception, images: Float[Tensor, "1 3 h w"], tiles: Sequence[Tile], size: Size
) -> Float[Tensor, "1 c i j"]:
    """What the content layer, whose maps have this size, gives for a picture."""
    name = perception.layers.content
    with torch.no_grad():
        if len(tiles) == 1:
            return perception.read(images)[name].clone()
        found = images.new_empty(1, perception.channels[name], *size)
        for tile in tiles:
            found[:, :, *tile.places[name]] = _inside(perception, images, tile)[name]
    return found


def style_grams(
    perception: Perception, images: Float[Tensor, "1 3 h w"], tiles: Sequence[Tile]
) -> dict[str, Float[Tensor, "c c"]]:
    """What a style picture is reduced to: by layer the mean product of filters' responses, the filters scaled."""
    found: dict[str, Tensor] = {}
    places = dict.fromkeys(perception.layers.style, 0)
    with torch.no_grad():
        for tile in tiles:
            for name, maps in _inside(perception, images, tile).items():
                if name in places:
                    found[name] = gram(maps) + found.get(name, 0)
                    places[name] += maps.shape[2] * maps.shape[3]
    return {name: each / places[name] / outer(perception.scales[name]) for name, each in found.items()}


def _flown(perception: Perception, aim: Aim, images: Tensor, tile: Tile, gains: Sequence[Tensor]) -> Tensor:
    """A tile's part of the gradient, the gain of the loss by each Gram matrix being known."""
    part = images.detach()[:, :, *tile.around].requires_grad_()
    reading = _inside(perception, part, tile, cut=True)
    own = [each for grams in aim.grams_of(reading, tile.places) for each in grams.values()]
    pulled = _content(aim, reading, tile)
    for gain, each in zip(gains, own, strict=True):
        pulled = pulled + (gain * each).sum()
    return torch.autograd.grad(pulled, part)[0]


def _added_up(perception: Perception, aim: Aim, images: Tensor, tiles: Sequence[Tile]) -> tuple[Tensor, Grams]:
    """Content and Gram matrices of all tiles together."""
    content, grams = images.new_zeros(()), Grams()
    with torch.no_grad():
        for tile in tiles:
            reading = _inside(perception, images, tile)
            content = content + _content(aim, reading, tile)
            own = aim.grams_of(reading, tile.places)
            for known, more in zip(grams, own, strict=False):
                for name, products in more.items():
                    known[name] += products
            grams = grams or own
    return content, grams


def _inside(perception: Perception, images: Tensor, tile: Tile, *, cut: bool = False) -> Reading:
    """What is read of a tile, of its inside alone; of the whole picture, or of what is cut out already."""
    reading = perception.read(images if cut else images[:, :, *tile.around])
    return {name: maps[:, :, *tile.inside[name]] for name, maps in reading.items()}


def _content(aim: Aim, reading: Reading, tile: Tile) -> Tensor:
    name = aim.layers.content
    return aim.content_of(reading[name], aim.content[:, :, *tile.places[name]])
