"""Occlusion: the fall, place by place."""

import pytest
import torch
from torch import nn

from fovea.explain.occlusion import occlusion, windows
from fovea.explain.options import ExplainOptions
from fovea.explain.question import Question
from fovea.explain.untouched import untouched

TARGETS = torch.tensor([0, 3, 1])


def asked(network, images, aim=TARGETS, **options):
    with untouched(network):
        return occlusion(Question(network=network, images=images, aim=aim, options=ExplainOptions(**options)))


def test_windows_cover_each_pixel_as_often_as_they_are_wide_but_at_the_edge():
    found = windows(12, 12, 4, 1)
    assert found.shape == (16, 12, 12)
    assert (found.sum(0) == 1).all()
    wide = windows(12, 12, 4, 3)
    assert wide.sum(0)[6, 6] == 9
    assert wide.sum(0)[0, 0] == 4
    assert windows(5, 7, 14, 1).shape == (35, 5, 7)  # no finer than the pixels


def test_each_place_is_the_fall_with_the_window_there(small, images):
    found = asked(small, images, grid=12, window=3, batch_size=7).maps
    row, column, image = 4, 9, 1
    covered = images.clone()
    covered[image, :, row - 1 : row + 2, column - 1 : column + 2] = images[image].mean((1, 2))[:, None, None]
    fall = (small(images) - small(covered))[image, TARGETS[image]]
    torch.testing.assert_close(found[image, row, column], fall.detach(), rtol=1e-4, atol=1e-6)


def test_it_finds_the_one_place_that_the_network_looks_at():
    class Corner(nn.Module):
        def forward(self, images):
            return images[:, :, 8:, :4].sum((1, 2, 3))[:, None]

    images = torch.zeros(1, 1, 12, 12)
    images[0, 0, 9, 2] = 1
    found = asked(Corner(), images, aim=torch.tensor([0]), grid=6, window=1).maps[0]
    assert divmod(int(found.argmax()), 12)[0] in (8, 9)
    assert divmod(int(found.argmax()), 12)[1] in (2, 3)
    assert found[:6, 6:].abs().max() == 0


@pytest.mark.parametrize("size", [1, 5, 64])
def test_the_batch_changes_rounding_alone(small, images, size):
    torch.testing.assert_close(
        asked(small, images, grid=4, batch_size=size).maps, asked(small, images, grid=4).maps, rtol=1e-4, atol=1e-5
    )
