"""Colours kept: by their mean and covariance, or by brightness alone."""

from __future__ import annotations

import numpy as np
import torch

from fovea.style.colours import grey, rebrightened, recoloured, with_colours_of
from fovea.style.sizing import LUMA, as_images
from tests.style.conftest import picture


def soft(seed):
    """A picture whose colours stay away from black and white, so that nothing is clipped."""
    return (96 + picture(seed, 64, 64) // 4).astype(np.uint8)


def moments(colours):
    flat = colours.reshape(-1, 3) / 255
    return flat.mean(0), np.cov(flat.T)


def test_a_style_gets_the_content_s_mean_and_covariance_of_colours():
    style, content = soft(1), soft(2)
    for found, wanted in zip(moments(recoloured(style, content)), moments(content), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-4)
    np.testing.assert_allclose(recoloured(content, content).astype(int), content, atol=1)


def test_one_colour_alone_becomes_the_content_s_mean():
    flat = np.full((8, 8, 3), 200, np.uint8)
    np.testing.assert_allclose(moments(recoloured(flat, soft(2)))[0], moments(soft(2))[0], atol=3e-3)


def test_brightness_gets_the_content_s_mean_and_deviation():
    found, content = rebrightened(soft(1), soft(2)), soft(2)
    assert (found == found[:, :, :1]).all()
    own, wanted = found[:, :, 0] / 255, content @ np.array(LUMA) / 255
    np.testing.assert_allclose([own.mean(), own.std()], [wanted.mean(), wanted.std()], atol=3e-3)


def test_brightness_of_one_picture_with_the_colours_of_another():
    bright, coloured = as_images(soft(1)), as_images(soft(2))
    found = with_colours_of(bright, coloured)
    weights = torch.tensor(LUMA)[:, None, None]
    torch.testing.assert_close((found * weights).sum(1), (bright * weights).sum(1), rtol=1e-5, atol=1e-5)
    apart = [each - (each * weights).sum(1, keepdim=True) for each in (found, coloured)]
    torch.testing.assert_close(*apart, rtol=1e-4, atol=1e-5)
    assert (grey(soft(2)) == grey(soft(2))[:, :, :1]).all()
