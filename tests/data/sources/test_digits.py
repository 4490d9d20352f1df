"""The digits that come with scikit-learn."""

import numpy as np
from sklearn.datasets import load_digits

from fovea.data.opening import open_data
from fovea.data.sources import digits


def test_grey_levels_are_spread_over_eight_bits_and_can_be_taken_back() -> None:
    images, labels = digits.read()
    assert images.array.dtype == np.uint8
    assert images.array.shape == (1797, 8, 8)
    assert sorted(set(images.array.ravel().tolist())) == [round(n * 255 / 16) for n in range(17)]
    np.testing.assert_array_equal(np.rint(images.array * (16 / 255)), load_digits().images)
    assert labels.tolist() == load_digits().target.tolist()


def test_they_are_cut_into_the_promised_parts() -> None:
    data = open_data("digits")
    assert [len(data.split(s)) for s in ("train", "validation", "test")] == [1079, 359, 359]
    assert data.classes == tuple("0123456789")
    assert (data.channels, data.image_size, data.padded_below) == (1, 8, 0)
    for name in ("train", "validation", "test"):
        assert np.bincount(data.split(name).labels).min() >= 34


def test_they_open_again_from_their_source() -> None:
    data = open_data("digits", split="0.5/0.5/0", split_seed=3)
    assert data.source is not None
    assert open_data(**data.source).fingerprint() == data.fingerprint()
    assert open_data("digits").fingerprint() != data.fingerprint()
