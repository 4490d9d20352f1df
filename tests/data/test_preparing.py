"""One preprocessing for all splits: its geometry from data and network, its moments from the training images."""

import dataclasses

import numpy as np
import pytest
import torch

from fovea.data import fitted as fitted_module
from fovea.data import preparing
from fovea.data.opening import open_data
from fovea.data.preparing import Wanted, geometry, prepare
from fovea.data.sets import Data
from fovea.errors import DataError, ShapeError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def data(pixels: np.ndarray = PIXELS, split: str = "0.5/0.25/0.25") -> Data:
    return open_data((pixels, LABELS), split=split)


def test_images_are_resized_to_the_network() -> None:
    found = geometry(data(), image_size=32, in_channels=3)
    assert (found.image_size, found.resize, found.in_channels, found.scale) == (32, 32, 3, 255.0)
    assert (found.mean, found.std) == ((0.0,), (1.0,))


@pytest.mark.parametrize(("image_size", "resize"), [(32, 28), (28, 28), (30, 28), (33, 33), (20, 20), (224, 224)])
def test_a_set_padded_by_custom_is_padded_up_to_its_limit_and_else_resized(image_size: int, resize: int) -> None:
    mnist = dataclasses.replace(data(PIXELS[..., 0]), image_size=28, padded_below=32)
    assert geometry(mnist, image_size=image_size, in_channels=1).resize == resize


@pytest.mark.parametrize(("channels", "in_channels"), [(1, 3), (3, 1), (2, 2)])
def test_channels_that_fit_are_taken(channels: int, in_channels: int) -> None:
    pets = dataclasses.replace(data(), channels=channels)
    assert geometry(pets, image_size=6, in_channels=in_channels).in_channels == in_channels


def test_channels_that_do_not_fit_are_refused_with_a_way_out() -> None:
    with pytest.raises(ShapeError) as caught:
        geometry(dataclasses.replace(data(), channels=4), image_size=6, in_channels=3)
    assert str(caught.value) == (
        "arrays has 4 channels, but the network takes in_channels=3; only 1 and 3 turn into each other: "
        "build the network with in_channels=4"
    )


def test_moments_are_measured_on_the_training_images_alone_and_shared() -> None:
    pets = data()
    fitted = prepare(pets, geometry(pets, image_size=6, in_channels=3))
    assert list(fitted) == ["train", "validation", "test"]
    train = np.stack([pets.split("train").images[i] for i in range(20)]) / 255
    for part in fitted.values():
        np.testing.assert_allclose(part.preprocessing.mean, train.mean((0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(part.preprocessing.std, train.std((0, 1, 2)), atol=1e-6)
    packed = fitted["train"].packed
    assert packed is not None
    numbers = fitted["train"].preprocessing.normalise(packed)
    torch.testing.assert_close(numbers.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(numbers.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_given_moments_are_taken_and_one_number_stands_for_all_channels() -> None:
    pets = data()
    spec = geometry(pets, image_size=6, in_channels=3)
    each = prepare(pets, spec, Wanted(moments=((0.1, 0.2, 0.3), (0.4,))))["test"].preprocessing
    assert (each.mean, each.std) == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))


def test_another_number_of_moments_than_channels_is_refused() -> None:
    pets = data()
    with pytest.raises(ShapeError) as caught:
        prepare(pets, geometry(pets, image_size=6, in_channels=3), Wanted(moments=((0.1, 0.2), (0.4,))))
    assert str(caught.value) == (
        "mean (0.1, 0.2) and std (0.4, 0.4, 0.4) must have 1 or 3 numbers, as the network's in_channels"
    )


def test_floats_are_not_divided_by_255() -> None:
    pets = data((PIXELS / 255).astype(np.float32))
    fitted = prepare(pets, geometry(pets, image_size=6, in_channels=3))
    assert {part.preprocessing.scale for part in fitted.values()} == {1.0}
    bytes_moments = prepare(data(), geometry(data(), image_size=6, in_channels=3))["train"].preprocessing.mean
    np.testing.assert_allclose(fitted["train"].preprocessing.mean, bytes_moments, atol=2e-6)


def test_without_validation_images_there_is_no_best_epoch() -> None:
    pets = data(split="1/0/0")
    with pytest.raises(DataError) as caught:
        prepare(pets, geometry(pets, image_size=6, in_channels=3))
    assert str(caught.value) == ("arrays: there are no validation images, which choose the best epoch; change --split")


def test_where_there_is_no_test_split_there_is_none_fitted() -> None:
    pets = data(split="0.5/0.5/0")
    assert list(prepare(pets, geometry(pets, image_size=6, in_channels=3))) == ["train", "validation"]


def test_of_a_split_too_large_for_memory_a_fixed_sample_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pets = data()
    spec = geometry(pets, image_size=6, in_channels=3)
    whole = prepare(pets, spec)["train"].preprocessing
    monkeypatch.setattr(fitted_module, "MEMORY_FOR_PIXELS", 10)
    fitted = prepare(pets, spec)
    assert fitted["train"].packed is None
    assert fitted["train"].preprocessing == whole  # 20 images are fewer than the sample
    monkeypatch.setattr(preparing, "IMAGES_TO_MEASURE", 7)
    sampled = prepare(pets, spec)["train"].preprocessing
    assert sampled != whole
    assert prepare(pets, spec)["train"].preprocessing == sampled


def test_workers_change_nothing() -> None:
    pets = data()
    spec = geometry(pets, image_size=9, in_channels=1)
    alone, helped = prepare(pets, spec), prepare(pets, spec, Wanted(workers=3))
    for name in alone:
        assert alone[name].preprocessing == helped[name].preprocessing
        first, second = alone[name].packed, helped[name].packed
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)
