"""Corruptions: the same draws every time, worse with every severity, whatever the image's shape."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.errors import DataError, UsageError
from fovea.evaluation.corruptions import KINDS, SEVERITIES, STRENGTHS, corrupted

NOISES = ("gaussian_noise", "shot_noise")


def scene(side, channels=3):
    """Like a photograph: slow light, an object with a sharp edge, fine texture, colours that go together."""
    y, x = np.mgrid[:side, :side] / side
    light = 90 + 80 * x - 40 * y
    light = light + 60 * ((x - 0.45) ** 2 + (y - 0.5) ** 2 < 0.08) + 12 * np.sin(40 * x) * np.sin(31 * y)
    colours = np.stack([light, 0.8 * light + 25, 0.6 * light + 40 * y], axis=2)[:, :, :channels]
    return np.clip(colours, 0, 255).astype(np.uint8)


def distance(first, second):
    return float(np.square(first.astype(float) - second.astype(float)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_asking_changes_nothing(kind):
    image = scene(16)
    forwards = {index: corrupted(image, kind, 3, seed=1, index=index) for index in range(4)}
    backwards = {index: corrupted(image, kind, 3, seed=1, index=index) for index in reversed(range(4))}
    assert all(np.array_equal(forwards[index], backwards[index]) for index in range(4))


@pytest.mark.parametrize("kind", NOISES)
def test_noise_differs_with_seed_index_and_severity(kind):
    image = scene(16)
    asked = [(1, 0, 0), (1, 1, 0), (1, 0, 1), (2, 0, 0)]
    found = [corrupted(image, kind, severity, seed=seed, index=index).tobytes() for severity, seed, index in asked]
    assert len(set(found)) == len(asked)


def test_gaussian_noise_has_the_published_spread():
    grey = np.full((60, 60, 3), 128, np.uint8)
    spread = [(corrupted(grey, "gaussian_noise", s, seed=0, index=0) / 255).std() for s in range(1, 6)]
    assert spread == pytest.approx([0.04, 0.06, 0.08, 0.09, 0.10], rel=0.04)


def test_shot_noise_has_the_spread_of_counted_photons():
    grey = np.full((60, 60, 3), 51, np.uint8)  # a fifth of white
    found = corrupted(grey, "shot_noise", 1, seed=0, index=0) / 255
    assert found.mean() == pytest.approx(0.2, abs=0.002)
    assert found.std() == pytest.approx(np.sqrt(0.2 / 500), rel=0.04)


def test_blur_has_the_published_width_in_pixels_and_keeps_channels_apart():
    image = np.zeros((65, 65, 3), np.uint8)  # one pixel above the size of small images
    image[32, :, 0] = 255
    found = corrupted(image, "gaussian_blur", 2, seed=0, index=0)
    profile, offsets = found[:, 32, 0].astype(float), np.arange(65) - 32
    assert np.sqrt((profile * offsets**2).sum() / profile.sum()) == pytest.approx(2.0, rel=0.02)
    assert not found[:, :, 1:].any()


def test_contrast_keeps_each_channels_mean_and_shrinks_the_rest():
    image = scene(32)
    found = corrupted(image, "contrast", 2, seed=0, index=0).astype(float)
    assert found.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), abs=0.3)  # of rounding
    assert found.std(axis=(0, 1)) == pytest.approx(0.5 * image.std(axis=(0, 1)), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [32, 128])
def test_every_severity_is_farther_from_the_image_than_the_one_before(kind, side):
    image = scene(side)
    distances = [distance(image, corrupted(image, kind, s, seed=0, index=0)) for s in range(1, SEVERITIES + 1)]
    assert distances[0] > 0
    assert np.all(np.diff(distances) > 0), distances


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (12, 9), (12, 9, 1), (12, 9, 3), (12, 9, 4), (70, 20, 3)])
def test_shape_and_type_are_kept_and_the_given_image_is_not_touched(kind, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    before = image.copy()
    image.flags.writeable = False
    found = corrupted(image, kind, 5, seed=0, index=7)
    assert (found.shape, found.dtype, found.flags.writeable) == (shape, np.uint8, True)
    assert np.array_equal(image, before)


def test_every_kind_has_five_severities_in_both_sizes():
    assert all(len(strengths) == SEVERITIES for both in STRENGTHS.values() for strengths in both)


def test_an_unknown_kind_is_refused_with_the_close_one():
    with pytest.raises(UsageError, match=r"unknown corruption 'gausian_blur'.* Did you mean gaussian_blur"):
        corrupted(scene(8), "gausian_blur", 1, seed=0, index=0)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_outside_one_to_five_is_refused(severity):
    with pytest.raises(UsageError, match=rf"severity \(={severity}\) must be a whole number from 1 to 5"):
        corrupted(scene(8), "jpeg", severity, seed=0, index=0)


def test_images_that_are_not_bytes_are_refused():
    with pytest.raises(DataError, match=r"image 3 has shape \(8, 8, 3\) and type float64"):
        corrupted(scene(8) / 255, "contrast", 1, seed=0, index=3)
