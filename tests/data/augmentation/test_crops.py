"""Random squares: where they lie, how large they are, and that one resampling equals resizing and cutting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fovea.data.augmentation.crops import CROP_DRAWS, crop_box, cropped, resized_crop
from fovea.data.options import Augmentation
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ShapeError, UsageError
from fovea.randomness import key, uniforms

DRAWS = uniforms(key(0, "crop", 0), np.arange(4000), draws=CROP_DRAWS)
AREA = Augmentation(crop="area")
VGG = Augmentation(crop="random", sides=(256, 512))


def photo(width: int, height: int, channels: int = 3) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (7 + k)) + np.cos(columns / (11 + 3 * k)) for k in range(channels)]
    return np.uint8(np.stack(waves, 2) * 60 + 128)


def boxes(size: tuple[int, int], augmentation: Augmentation, n: int = 4000, resize: int = 256) -> np.ndarray:
    found = [crop_box(size, augmentation, resize=resize, image_size=224, draws=draws) for draws in DRAWS[:n]]
    return np.array(found)


@pytest.mark.parametrize("size", [(640, 480), (300, 700), (224, 224), (256, 256), (97, 1301)])
@pytest.mark.parametrize("augmentation", [AREA, VGG, Augmentation(crop="random"), Augmentation()])
def test_boxes_lie_within_the_image(size: tuple[int, int], augmentation: Augmentation) -> None:
    left, top, right, bottom = boxes(size, augmentation, 1000).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= size[0]
    assert bottom.max() <= size[1]
    assert (right > left).all()
    assert (bottom > top).all()


def test_area_crops_have_uniform_areas_and_log_uniform_aspects() -> None:
    left, top, right, bottom = boxes((1000, 1000), Augmentation(crop="area", area=(0.1, 0.5))).T
    shares = (right - left) * (bottom - top) / 1e6
    aspects = np.log((right - left) / (bottom - top))
    assert 0.099 < shares.min() < 0.102
    assert 0.498 < shares.max() < 0.501
    assert abs(shares.mean() - 0.3) < 0.006
    assert abs(shares.std() - 0.4 / np.sqrt(12)) < 0.004
    assert np.abs(aspects).max() < np.log(4 / 3) + 0.005
    assert abs(aspects.mean()) < 0.01
    assert abs(aspects.std() - 2 * np.log(4 / 3) / np.sqrt(12)) < 0.005
    for first, last in ((left, right), (top, bottom)):
        places = first / np.maximum(1000 - (last - first), 1)
        assert abs(places.mean() - 0.5) < 0.02
        assert abs(places.std() - 1 / np.sqrt(12)) < 0.01


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3000, 30), (1480, 0, 1520, 30)), ((30, 3000), (0, 1480, 30, 1520)), ((1, 1), (0, 0, 1, 1))],
)
def test_where_ten_tries_fail_the_largest_box_of_an_allowed_aspect_is_taken(
    size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert (boxes(size, Augmentation(crop="area", area=(1.0, 1.0)), 50) == expected).all()


def test_the_fallback_is_torchvisions() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    for size in ((3000, 30), (30, 3000), (400, 100), (133, 100)):
        there = transforms.RandomResizedCrop.get_params(Image.new("L", size), [50.0, 50.0], [0.75, 4 / 3])
        top, left, height, width = there
        found = crop_box(size, AREA, resize=256, image_size=224, draws=np.full(CROP_DRAWS, 0.999999))
        whole = Augmentation(crop="area", area=(1.0, 1.0))
        found = crop_box(size, whole, resize=256, image_size=224, draws=np.tile([0.5, 0.0, 0.0, 0.0], 10))
        if size != (133, 100):  # which fits
            assert found == (left, top, left + width, top + height)


def test_random_crops_take_every_side_of_the_range_equally_often() -> None:
    size = (500, 400)
    left, top, right, bottom = boxes(size, Augmentation(crop="random", sides=(256, 260))).T
    sides = np.round(224 * 400 / (bottom - top)).astype(int)
    values, counts = np.unique(sides, return_counts=True)
    assert values.tolist() == [256, 257, 258, 259, 260]
    assert (np.abs(counts - 800) < 120).all()
    assert abs((top / (400 - (bottom - top))).mean() - 0.5) < 0.02
    assert abs((left / (500 - (right - left))).mean() - 0.5) < 0.02


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(401, 300), (300, 512), (200, 180)])
def test_a_crop_is_what_pillow_makes_of_the_box(size: tuple[int, int], interpolation: str) -> None:
    pixels = photo(*size)
    spec = Preprocessing(image_size=224, resize=256, in_channels=3, interpolation=interpolation)
    for draws in DRAWS[:20]:
        for augmentation in (Augmentation(crop="random", sides=(224, 400)), AREA):
            box = crop_box(size, augmentation, resize=256, image_size=224, draws=draws)
            cut = Image.fromarray(pixels).crop([round(edge) for edge in box])
            made = np.asarray(cut.resize((224, 224), getattr(Image.Resampling, interpolation.upper())))
            found = cropped(pixels, spec, augmentation, draws)
            assert np.abs(found.astype(int) - made).max() <= 2


def test_the_centre_crop_is_where_the_preprocessing_has_it() -> None:
    pixels = photo(401, 300)
    spec = Preprocessing(image_size=224, resize=256, in_channels=3)
    box = crop_box((401, 300), Augmentation(), resize=256, image_size=224, draws=DRAWS[0])
    found = resized_crop(pixels, box, 224)
    assert np.abs(found.astype(int) - spec.fit(pixels).transpose(1, 2, 0)).mean() < 2


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augmentation", [AREA, VGG])
def test_grey_and_colour(augmentation: Augmentation, channels: int, in_channels: int) -> None:
    spec = Preprocessing(image_size=32, resize=40, in_channels=in_channels)
    pixels = photo(90, 70, channels)
    found = cropped(pixels, spec, augmentation, DRAWS[3])
    assert found.shape == (32, 32, in_channels)
    assert found.dtype == np.uint8
    if channels == 1:
        assert np.array_equal(found, cropped(pixels[:, :, 0], spec, augmentation, DRAWS[3]))


def test_what_cannot_be_cropped_is_refused_by_name() -> None:
    spec = Preprocessing(image_size=224, resize=200, in_channels=3)
    with pytest.raises(UsageError, match=r"resize \(=200\) must be image_size \(=224\) or more"):
        cropped(photo(300, 300), spec, Augmentation(crop="random"), DRAWS[0])
    with pytest.raises(UsageError, match=r"sides \(=100\) must be image_size"):
        cropped(photo(300, 300), spec, Augmentation(crop="random", sides=(100, 300)), DRAWS[0])
    with pytest.raises(ShapeError, match="type float64 cannot be cropped"):
        cropped(photo(300, 300) / 255, spec, AREA, DRAWS[0])


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    low=st.floats(0.001, 1.0),
    index=st.integers(0, len(DRAWS) - 1),
)
@settings(max_examples=200, deadline=None)
def test_any_image_gives_a_box_that_can_be_resized(width: int, height: int, low: float, index: int) -> None:
    image = np.zeros((height, width, 1), np.uint8)
    for augmentation in (Augmentation(crop="area", area=(low, 1.0)), Augmentation(crop="random", sides=(9, 300))):
        box = crop_box((width, height), augmentation, resize=9, image_size=8, draws=DRAWS[index])
        assert resized_crop(image, box, 8).shape == (8, 8, 1)
