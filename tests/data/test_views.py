"""The crops of evaluation protocols, against their papers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fovea.data.preprocessing import Preprocessing
from fovea.data.views import PROTOCOLS, views
from fovea.errors import ShapeError, UsageError

SPEC = Preprocessing(image_size=224, resize=256, in_channels=3)
SMALL = Preprocessing(image_size=14, resize=16, in_channels=3)


def photo(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_as_many_views_as_the_protocol_has(protocol: str, interpolation: str, channels: int, in_channels: int) -> None:
    spec = Preprocessing(image_size=14, resize=16, in_channels=in_channels, interpolation=interpolation)
    found = views(photo(40, 23, channels), spec, protocol)
    assert found.shape == (PROTOCOLS[protocol], in_channels, 14, 14)
    assert found.dtype == np.uint8
    if channels == 1:
        assert np.array_equal(found, views(photo(40, 23, channels)[:, :, 0], spec, protocol))


@given(width=st.integers(1, 90), height=st.integers(1, 90), resize=st.integers(14, 40))
@settings(max_examples=60, deadline=None)
def test_the_centre_is_what_the_preprocessing_fits(width: int, height: int, resize: int) -> None:
    spec = Preprocessing(image_size=14, resize=resize, in_channels=3)
    image = photo(width, height)
    assert np.array_equal(views(image, spec, "centre")[0], spec.fit(image))
    assert np.array_equal(views(image, spec, "five")[4], spec.fit(image))
    assert np.array_equal(views(image, spec, "ten")[4], spec.fit(image))


def test_five_are_the_corners_and_the_centre() -> None:
    image = photo(300, 256)
    top_left, top_right, bottom_left, bottom_right, centre = views(image, SPEC, "five").transpose(0, 2, 3, 1)
    assert np.array_equal(top_left, image[:224, :224])
    assert np.array_equal(top_right, image[:224, 76:])
    assert np.array_equal(bottom_left, image[32:, :224])
    assert np.array_equal(bottom_right, image[32:, 76:])
    assert np.array_equal(centre, image[16:240, 38:262])


@pytest.mark.parametrize(("protocol", "half"), [("airbench_6", 3), ("ten", 5), ("googlenet_144", 72)])
def test_the_second_half_mirrors_the_first(protocol: str, half: int) -> None:
    found = views(photo(60, 40), SMALL, protocol)
    assert np.array_equal(found[half:], found[:half, :, :, ::-1])


def test_airbench_moves_the_square_by_a_pixel_and_reflects_its_border() -> None:
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    spec = Preprocessing(image_size=5, resize=5, in_channels=1)
    middle, down_right, up_left = views(image, spec, "airbench_6")[:3, 0]
    assert np.array_equal(middle, image)
    assert np.array_equal(down_right, image[[1, 0, 1, 2, 3]][:, [1, 0, 1, 2, 3]])
    assert np.array_equal(up_left, image[[1, 2, 3, 4, 3]][:, [1, 2, 3, 4, 3]])


def test_ten_begins_with_five() -> None:
    image = photo(60, 40)
    assert np.array_equal(views(image, SMALL, "ten")[:5], views(image, SMALL, "five"))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (352, 352)])
def test_googlenets_144_are_the_papers(width: int, height: int) -> None:
    image = Image.fromarray(photo(width, height))
    expected = []
    for side in (256, 288, 320, 352):
        factor = side / min(width, height)
        whole = image.resize((round(width * factor), round(height * factor)), Image.Resampling.BILINEAR)
        for share in (0.0, 0.5, 1.0):
            left, top = int((whole.width - side) * share), int((whole.height - side) * share)
            square = whole.crop((left, top, left + side, top + side))
            room = side - 224
            for x, y in ((0, 0), (room, 0), (0, room), (room, room), (room // 2, room // 2)):
                expected.append(np.asarray(square.crop((x, y, x + 224, y + 224))))
            expected.append(np.asarray(square.resize((224, 224), Image.Resampling.BILINEAR)))
    found = views(np.asarray(image), SPEC, "googlenet_144")
    assert np.array_equal(found[:72].transpose(0, 2, 3, 1), np.stack(expected))


def test_an_unknown_protocol_is_answered_with_a_close_one() -> None:
    with pytest.raises(UsageError, match=r"unknown protocol 'center'.*Did you mean centre"):
        views(photo(40, 40), SMALL, "center")


def test_corners_that_do_not_fill_the_square_are_refused() -> None:
    padded = Preprocessing(image_size=32, resize=28, in_channels=1)
    assert np.array_equal(views(photo(28, 28, 1), padded, "centre")[0], padded.fit(photo(28, 28, 1)))
    with pytest.raises(ShapeError, match="resized to 28 do not fill the network's 32 pixels"):
        views(photo(28, 28, 1), padded, "ten")


def test_floats_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="cannot be resized"):
        views(photo(60, 40) / 255, SMALL, "googlenet_144")
