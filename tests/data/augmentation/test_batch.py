"""Each image's changes are a function of (seed, epoch, index): not of its batch, not of its place in it."""

import numpy as np
import pytest
import torch

from fovea.data.augmentation.batch import augment
from fovea.data.options import Augmentation
from fovea.randomness import key

KEY = key(0, "augmentation", 0)
EVERYTHING = Augmentation(shift=2, rotate=15.0, zoom=0.2, flip=True)
OPTIONS = [Augmentation(shift=2, flip=True), Augmentation(rotate=10.0), Augmentation(zoom=0.3), EVERYTHING]


def noise(n: int = 40, side: int = 12, kind: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.randint(1, 256, (n, 2, side, side), generator=torch.Generator().manual_seed(0)).to(kind)


def test_no_options_change_nothing() -> None:
    pixels = noise()
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(), KEY), pixels)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_batch_around_an_image_does_not_matter(options: Augmentation, kind: torch.dtype) -> None:
    pixels = noise(kind=kind)
    whole = augment(pixels, np.arange(40), options, KEY)
    assert whole.dtype == kind
    assert whole.shape == pixels.shape
    assert not torch.equal(whole, pixels)
    for n in (1, 2, 3, 7, 8, 9, 16, 17, 33, 40):
        chosen = np.random.default_rng(n).permutation(40)[:n]
        part = augment(pixels[torch.from_numpy(chosen)], chosen, options, KEY)
        assert torch.equal(part, whole[torch.from_numpy(chosen)])


@pytest.mark.parametrize("options", OPTIONS)
def test_seed_epoch_and_index_each_matter(options: Augmentation) -> None:
    pixels = noise()
    first = augment(pixels, np.arange(40), options, KEY)
    for indices, draw_key in (
        (np.arange(40), key(0, "augmentation", 1)),
        (np.arange(40), key(1, "augmentation", 0)),
        (np.arange(1, 41), KEY),
    ):
        assert not torch.equal(augment(pixels, indices, options, draw_key), first)
    assert torch.equal(augment(pixels, np.arange(40), options, KEY), first)


def test_the_given_pixels_are_not_changed_in_place() -> None:
    pixels = noise()
    before = pixels.clone()
    for options in OPTIONS:
        augment(pixels, np.arange(40), options, KEY)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_a_shift_moves_by_whole_pixels_within_its_reach_and_zeros_come_in(reach: int) -> None:
    pixels = noise(400, 8)
    moved = augment(pixels, np.arange(400), Augmentation(shift=reach), KEY)
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    offsets = []
    for before, after in zip(padded, moved.numpy(), strict=True):
        fits = [
            (y, x)
            for y in range(2 * reach + 1)
            for x in range(2 * reach + 1)
            if (before[:, y : y + 8, x : x + 8] == after).all()
        ]
        assert len(fits) == 1
        offsets += fits
    assert len(set(offsets)) == (2 * reach + 1) ** 2  # every offset occurs
    assert abs(np.mean(offsets) - reach) < 0.2


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_others() -> None:
    pixels = noise(1000, 4)
    found = augment(pixels, np.arange(1000), Augmentation(flip=True), KEY)
    mirrored = (found == pixels.flip(-1)).flatten(1).all(1)
    kept = (found == pixels).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 440 < int(mirrored.sum()) < 560


def test_a_turn_by_next_to_nothing_changes_nothing() -> None:
    pixels = noise()
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(rotate=1e-6), KEY), pixels)
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(zoom=1e-8), KEY), pixels)


def blob(side: int = 33) -> torch.Tensor:
    """A bright bar from the centre to the right."""
    pixels = torch.zeros(300, 1, side, side)
    pixels[:, :, side // 2 - 1 : side // 2 + 2, side // 2 :] = 1.0
    return pixels


def test_rotations_stay_within_their_angle_and_go_both_ways() -> None:
    turned = augment(blob(), np.arange(300), Augmentation(rotate=20.0), KEY)
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = turned.sum((1, 2, 3))
    y, x = ((turned[:, 0] * places).sum((1, 2)) / mass for places in (rows, columns))
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.min() < -15
    assert angles.max() > 15
    assert angles.abs().max() < 21


def test_zooms_stay_within_their_factor_and_go_both_ways() -> None:
    square = torch.zeros(300, 1, 33, 33)
    square[:, :, 11:22, 11:22] = 1.0
    found = augment(square, np.arange(300), Augmentation(zoom=0.25), KEY).sum((1, 2, 3)).sqrt() / 11
    assert 1 / 1.27 < found.min() < 0.85
    assert 1.18 < found.max() < 1.27
    assert abs(found.log().mean()) < 0.02


def test_with_a_rotation_a_shift_still_stays_in_reach() -> None:
    point = torch.zeros(300, 1, 21, 21)
    point[:, :, 10, 10] = 1.0
    moved = augment(point, np.arange(300), Augmentation(shift=3, rotate=1e-6), KEY)
    rows, columns = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(21.0) - 10, indexing="ij")
    for places in (rows, columns):
        offsets = (moved[:, 0] * places).sum((1, 2)) / moved.sum((1, 2, 3))
        assert 2.5 < offsets.abs().max() < 3.001
        assert abs(offsets.mean()) < 0.4


def test_bytes_are_rounded_and_never_wrap_around() -> None:
    pixels = torch.full((50, 1, 9, 9), 255, dtype=torch.uint8)
    found = augment(pixels, np.arange(50), EVERYTHING, KEY)
    assert (found[:, :, 4, 4] == 255).all()
