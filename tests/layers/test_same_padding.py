"""TensorFlow's SAME padding, against a kernel laid over the image by hand and against torch's own padding."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.errors import ShapeError
from fovea.layers.same_padding import SameAvgPool2d, SameMaxPool2d, SamePadConv2d, same_padding

SIZES = [(n, k, s, d) for n in (1, 5, 8, 13) for k in (1, 2, 3, 5) for s in (1, 2, 3, 4) for d in (1, 2)]


def windows(maps, kernel, stride):
    """The window of each output position as TensorFlow lays it, cut off where it leaves the image."""
    size = maps.shape[-1]
    count = math.ceil(size / stride)
    before = max((count - 1) * stride + kernel - size, 0) // 2
    starts = [i * stride - before for i in range(count)]
    return [[maps[..., max(y, 0) : y + kernel, max(x, 0) : x + kernel] for x in starts] for y in starts]


def pooled(maps, kernel, stride, reduce):
    return torch.stack([torch.stack([reduce(w) for w in row], -1) for row in windows(maps, kernel, stride)], -2)


@pytest.mark.parametrize(("size", "kernel", "stride", "dilation"), SIZES)
def test_the_output_is_the_size_over_the_stride_rounded_up(size, kernel, stride, dilation):
    layer = SamePadConv2d(2, 4, kernel, stride=stride, dilation=dilation, groups=2).to("meta")
    assert layer(torch.empty(1, 2, size, size + 1, device="meta")).shape == (
        1,
        4,
        math.ceil(size / stride),
        math.ceil((size + 1) / stride),
    )


def test_what_is_missing_goes_below_and_right_where_it_is_odd():
    assert same_padding(8, 3, stride=2) == (0, 1)
    assert same_padding(7, 3, stride=2) == (1, 1)
    assert same_padding(224, 7, stride=2) == (2, 3)
    assert same_padding(8, 1, stride=2) == (0, 0)
    assert same_padding(9, 3, dilation=2) == (2, 2)


def test_an_even_image_at_stride_2_is_seen_from_its_first_pixel():
    layer = SamePadConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    by_hand = [[0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11], [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 29]]
    assert layer(image)[0, 0].tolist() == by_hand
    assert not torch.equal(layer(image), F.conv2d(image, layer.weight, stride=2, padding=1))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"), [(8, 3, 1, 1), (7, 3, 2, 1), (13, 5, 3, 2), (9, 1, 2, 0)]
)
def test_symmetric_padding_is_torchs_own_bit_for_bit(size, kernel, stride, padding):
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    ours, theirs = SamePadConv2d(3, 5, kernel, stride=stride), nn.Conv2d(3, 5, kernel, stride, padding)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(images), theirs(images))
    expected = F.max_pool2d(images, kernel, stride, padding)
    assert torch.equal(SameMaxPool2d(kernel, stride=stride)(images), expected)
    expected = F.avg_pool2d(images, kernel, stride, padding, count_include_pad=False)
    assert torch.equal(SameAvgPool2d(kernel, stride=stride)(images), expected)


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pooling_sees_the_pixels_inside_the_image_alone(size, kernel, stride):
    maps = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)) - 5  # below the padding's zero
    largest = pooled(maps, kernel, stride, lambda window: window.amax((-2, -1)))
    assert torch.equal(SameMaxPool2d(kernel, stride=stride)(maps), largest)
    mean = pooled(maps, kernel, stride, lambda window: window.mean((-2, -1)))
    assert torch.allclose(SameAvgPool2d(kernel, stride=stride)(maps), mean, atol=1e-5)


def test_a_pools_stride_is_its_window_unless_given():
    assert SameMaxPool2d(3).stride == SameAvgPool2d(3).stride == 3


def test_a_kernel_may_be_oblong():
    layer = SamePadConv2d(2, 2, (1, 7))
    assert layer(torch.zeros(1, 2, 6, 6)).shape == (1, 2, 6, 6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"stride": 0}, r"stride \(=0\) must be 1 or more"),
        ({"dilation": 0}, r"dilation \(=0\) must be 1 or more"),
        ({"groups": 4}, r"in_channels \(=6\) must be divisible by groups \(=4\)"),
        ({"groups": 3}, r"out_channels \(=8\) must be divisible by groups \(=3\)"),
    ],
)
def test_impossible_numbers_are_refused(arguments, sentence):
    with pytest.raises(ShapeError, match=sentence):
        SamePadConv2d(6, 8, 3, **arguments)


def test_an_empty_window_is_refused():
    with pytest.raises(ShapeError, match=r"kernel_size \(=0\) must be 1 or more"):
        SameMaxPool2d(0)


def test_it_says_its_padding():
    assert "padding=same" in repr(SamePadConv2d(1, 1, 3))
    assert repr(SameAvgPool2d(3, stride=2)) == "SameAvgPool2d(kernel_size=3, stride=2, padding=same)"
