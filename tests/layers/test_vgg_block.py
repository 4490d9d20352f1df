"""VGG's stacks of small convolutions, against torch's functions and by what a pixel sees."""

import pytest
import torch
from torch.nn import functional as F

from fovea.errors import ShapeError
from fovea.layers.vgg_block import VGGBlock


def maps(channels, size=8):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_each_convolution_is_followed_by_a_relu():
    block, images = VGGBlock(3, 5, (3, 1)), maps(3)
    first = F.relu(F.conv2d(images, block.conv1.weight, block.conv1.bias, padding=1))
    expected = F.relu(F.conv2d(first, block.conv2.weight, block.conv2.bias))
    assert torch.equal(block(images), expected)


def test_normalisation_stands_between_convolution_and_relu():
    block, images = VGGBlock(3, 5, (3,), normalised=True), maps(3)
    convolved = F.conv2d(images, block.conv1.weight, block.conv1.bias, padding=1)
    expected = F.relu(F.batch_norm(convolved, None, None, block.norm1.weight, block.norm1.bias, training=True))
    assert torch.allclose(block(images), expected, atol=1e-6)


@pytest.mark.parametrize(("count", "seen"), [(1, 3), (2, 5), (3, 7)])
def test_stacked_3x3_see_what_one_larger_kernel_sees(count, seen):
    block = VGGBlock(1, 2, (3,) * count)
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 0.1)  # positive, so that no ReLU hides a pixel
    image = torch.ones(1, 1, 15, 15, requires_grad=True)
    block(image)[0, 0, 7, 7].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (seen, seen)


@pytest.mark.parametrize("kernels", [(), (2,), (3, 0), (3, -1)])
def test_kernels_that_cannot_keep_the_size_are_refused(kernels):
    with pytest.raises(ShapeError, match="one or more odd numbers"):
        VGGBlock(3, 4, kernels)
