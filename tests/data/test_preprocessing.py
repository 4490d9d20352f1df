"""From raw pixels to the network's numbers, exactly where nothing has to be resampled."""

import dataclasses
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.data.pixels import decode
from fovea.data.preprocessing import Preprocessing, measure
from fovea.errors import ShapeError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def spec(size: int, *, resize: int | None = None, channels: int = 1) -> Preprocessing:
    return Preprocessing(image_size=size, resize=resize or size, in_channels=channels)


@pytest.mark.parametrize("size", [8, 12, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_image_as_array_and_as_file_gives_the_same_bytes(size: int, channels: int) -> None:
    grey = noise(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    through_the_door = decode(buffer.getvalue(), name="x.png")
    assert through_the_door.shape == (8, 8, 3)
    preprocessing = spec(size, channels=channels)
    np.testing.assert_array_equal(preprocessing.fit(through_the_door), preprocessing.fit(grey))


def test_an_image_of_the_right_size_is_not_touched() -> None:
    grey, colour = noise(8, 8), noise(8, 8, 3)
    np.testing.assert_array_equal(spec(8).fit(grey), grey[None])
    np.testing.assert_array_equal(spec(8, channels=3).fit(colour), colour.transpose(2, 0, 1))
    np.testing.assert_array_equal(spec(8, channels=3).fit(grey), np.stack([grey] * 3))


def test_28_pixels_in_32_are_padded_with_exact_zeros() -> None:
    image = np.maximum(noise(28, 28), 1)
    fitted = spec(32, resize=28).fit(image)
    assert fitted.shape == (1, 32, 32)
    np.testing.assert_array_equal(fitted[0, 2:30, 2:30], image)
    assert (fitted == 0).sum() == 32 * 32 - 28 * 28


def test_a_larger_image_loses_its_border() -> None:
    image = noise(10, 10)
    np.testing.assert_array_equal(spec(8, resize=10).fit(image)[0], image[1:9, 1:9])


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (8, 9), (9, 8)])
def test_of_an_oblong_image_the_centre_is_kept(height: int, width: int) -> None:
    image = noise(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    fitted = spec(8, channels=3).fit(image)
    np.testing.assert_array_equal(fitted, image[top : top + 8, left : left + 8].transpose(2, 0, 1))


def test_an_oblong_image_is_padded_only_where_it_is_short() -> None:
    image = np.maximum(noise(4, 10), 1)
    fitted = spec(6, resize=4).fit(image)[0]
    np.testing.assert_array_equal(fitted[1:5], image[:, 2:8])
    assert not fitted[[0, 5]].any()


def test_the_shorter_side_is_resized_as_pillow_does() -> None:
    image = noise(30, 45, 3)
    resized = np.asarray(Image.fromarray(image).resize((24, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(spec(16, channels=3).fit(image), resized[:, 4:20].transpose(2, 0, 1))


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_flat_image_stays_flat_through_resizing(value: int) -> None:
    assert (spec(13).fit(np.full((37, 20), value, np.uint8)) == value).all()


@pytest.mark.parametrize(("height", "width"), [(1, 10_000), (10_000, 1), (2, 65_000)])
def test_a_picture_as_thin_as_a_hair_costs_no_more_than_another(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1] = 255
    start = time.process_time()
    fitted = spec(64, channels=3).fit(image)
    assert time.process_time() - start < 1
    assert fitted.shape == (3, 64, 64)
    assert fitted.max() == 255


def test_a_picture_up_to_twenty_times_as_long_is_resized_whole() -> None:
    image = noise(4, 80)
    resized = np.asarray(Image.fromarray(image).resize((160, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(spec(8).fit(image)[0], resized[:, 76:84])


def test_colour_becomes_grey_by_luma() -> None:
    colour = noise(8, 8, 3)
    fitted = spec(8).fit(colour)[0].astype(float)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fitted - luma).max() < 1


def test_floats_of_the_right_size_pass_unchanged() -> None:
    image = np.random.default_rng(0).normal(size=(8, 8, 5)).astype(np.float32)
    fitted = spec(8, channels=5).fit(image)
    assert fitted.dtype == np.float32
    np.testing.assert_array_equal(fitted, image.transpose(2, 0, 1))


@pytest.mark.parametrize(("found", "wanted"), [(2, 1), (3, 4), (4, 3), (1, 2)])
def test_channels_that_do_not_turn_into_each_other_are_refused(found: int, wanted: int) -> None:
    with pytest.raises(ShapeError) as caught:
        spec(8, channels=wanted).fit(noise(8, 8, found))
    assert str(caught.value) == (
        f"an image has {found} channels, but the network takes in_channels={wanted}; "
        "only 1 and 3 channels of 8 bits turn into each other"
    )
    assert caught.value.exit_code == 4


def test_colour_in_floats_does_not_become_grey() -> None:
    with pytest.raises(ShapeError, match="an image has 3 channels, but the network takes in_channels=1"):
        spec(8).fit(np.zeros((8, 8, 3), np.float32))


@pytest.mark.parametrize("image", [np.zeros((8, 9), np.float32), np.zeros((8, 9, 4), np.uint8)])
def test_what_cannot_be_resized_is_refused_with_its_size(image: np.ndarray) -> None:
    channels = image.shape[2] if image.ndim == 3 else 1
    with pytest.raises(ShapeError) as caught:
        spec(16, channels=channels).fit(image)
    assert str(caught.value) == (
        f"an image of 8×9 pixels, {channels} channels and type {image.dtype} cannot be resized to 16; "
        "give images of 8 bits with 1 or 3 channels, or of the size wanted"
    )


def test_normalising_is_scaling_subtracting_and_dividing() -> None:
    pixels = torch.from_numpy(noise(5, 3, 8, 8))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = dataclasses.replace(spec(8, channels=3), mean=mean, std=std).normalise(pixels)
    expected = (pixels.double().numpy() / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_gradients_flow_through_what_was_first_asked_for_without_them() -> None:
    spec = Preprocessing(image_size=2, resize=2, in_channels=1, mean=(0.5,), std=(0.25,))
    with torch.inference_mode():
        spec.normalise(torch.zeros(1, 1, 2, 2))
    pixels = torch.zeros(1, 1, 2, 2, requires_grad=True)
    spec.normalise(pixels).sum().backward()
    torch.testing.assert_close(pixels.grad, torch.full((1, 1, 2, 2), 4 / 255))


def test_nothing_is_subtracted_by_default() -> None:
    pixels = torch.tensor([[[[0, 255]]]], dtype=torch.uint8).expand(1, 1, 2, 2)
    assert spec(2).normalise(pixels)[0, 0, 0].tolist() == pytest.approx([0, 1], abs=1e-7)


def test_floats_may_have_a_scale_of_one() -> None:
    pixels = torch.rand(2, 1, 4, 4)
    found = dataclasses.replace(spec(4), scale=1.0, mean=(0.5,), std=(0.25,)).normalise(pixels)
    torch.testing.assert_close(found, (pixels - 0.5) * 4)


@pytest.mark.parametrize("n", [1, 7, 1024, 1500])
def test_moments_are_those_of_numpy(n: int) -> None:
    pixels = noise(n, 3, 5, 5)
    pixels[:, 1] //= 3
    mean, std = measure(torch.from_numpy(pixels), 255.0)
    scaled = pixels / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), atol=1e-6)


def test_a_constant_channel_has_the_deviation_one() -> None:
    pixels = np.stack([np.full((4, 4, 4), 51, np.uint8), noise(4, 4, 4)], axis=1)
    mean, std = measure(torch.from_numpy(pixels), 255.0)
    assert (mean[0], std[0]) == (0.2, 1.0)
    assert 0.2 < std[1] < 0.4
