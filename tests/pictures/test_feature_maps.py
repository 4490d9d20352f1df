"""Feature maps on a sheet."""

import numpy as np
import pytest

from fovea.errors import NumbersError, ShapeError
from fovea.pictures.feature_maps import draw, feature_maps

MAPS = np.random.default_rng(0).random((6, 5, 7)).astype(np.float32)


def numbers(figure):
    return [int(text.get_text()) for text in figure.axes[0].texts]


def test_the_strongest_come_first_each_with_its_number():
    maps = MAPS * np.array([1, 6, 3, 2, 5, 4])[:, None, None]
    assert numbers(draw(maps, title="t")) == [1, 4, 5, 2, 3, 0]


def test_of_many_the_strongest_are_shown_and_the_title_says_so():
    maps = np.arange(1.0, 101)[:, None, None] * np.ones((1, 3, 3))
    figure = draw(maps, title="conv")
    assert numbers(figure) == list(range(99, 35, -1))
    assert "64 of 100 maps" in figure.get_suptitle()


def test_values_on_both_sides_of_0_have_a_scale_that_is_centred_on_it():
    image = draw(MAPS - 0.5, title="t").axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax
    assert draw(MAPS, title="t").axes[0].images[0].norm.vmin == 0
    assert draw(np.zeros((2, 3, 3)), title="t").axes[0].images[0].norm.vmax == 1


def test_it_is_the_same_png_each_time():
    assert feature_maps(MAPS, title="t").startswith(b"\x89PNG")
    assert feature_maps(MAPS, title="t") == feature_maps(MAPS, title="t")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ShapeError, match=r"maps \(shape \(5, 7\)\) must be \(channels, height, width\)"):
        feature_maps(MAPS[0], title="t")
    with pytest.raises(NumbersError, match="feature maps with NaN"):
        feature_maps(MAPS * np.nan, title="t")
