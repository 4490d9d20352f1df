"""The perceptual hash: nearly the same for the same picture, far for another, nothing for none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from fovea.data.looks import BITS, look

NEAR = 8
SEEDS = range(12)


def scene(seed: int, size: tuple[int, int] = (240, 160)) -> Image.Image:
    """Something with the smooth spectrum of a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).resize(size, Image.Resampling.BICUBIC)


def apart(one: Image.Image, other: Image.Image) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(look(one), look(other), strict=True))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    into = io.BytesIO()
    image.save(into, "JPEG", quality=quality)
    return Image.open(io.BytesIO(into.getvalue()))


CHANGES = {
    "JPEG at 90": lambda image: compressed(image, 90),
    "JPEG at 40": lambda image: compressed(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "another shape": lambda image: image.resize((200, 200)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_stays_near(change: str) -> None:
    distances = [apart(scene(seed), CHANGES[change](scene(seed))) for seed in SEEDS]
    assert max(distances) <= NEAR, distances


def test_another_image_lies_far() -> None:
    distances = [apart(scene(one), scene(other)) for one in SEEDS for other in SEEDS if one < other]
    assert min(distances) > 3 * NEAR
    assert 0.4 * BITS < np.mean(distances) < 0.6 * BITS


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (28, 28), (500, 375), (3000, 2000)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_tone_of_any_size_is_zero(size: tuple[int, int], mode: str) -> None:
    assert look(Image.new(mode, size, "orange" if mode == "RGB" else 120)) == (0, 0)


def test_the_first_number_is_of_rows_and_the_second_of_columns() -> None:
    rising = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (50, 1))
    assert look(Image.fromarray(rising)) == (2**64 - 1, 0)
    assert look(Image.fromarray(np.ascontiguousarray(rising.T))) == (0, 2**64 - 1)
    assert look(Image.fromarray(np.ascontiguousarray(rising[:, ::-1]))) == (0, 0)


def test_the_last_pixels_of_a_side_that_does_not_divide_evenly_count_as_what_they_are() -> None:
    image = scene(1, (385, 257))
    assert apart(image, image.resize((384, 256))) <= 3
