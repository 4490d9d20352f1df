"""Receptive fields through torch's operations, one by one and in random nets, against the gradient."""

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fovea.cost.receptive_field import Axis, of_image
from fovea.cost.recorder import FIELD, Recorder
from fovea.errors import ShapeError

SIDE = 144
MARGIN = 16  # pixels: more than borders take away by cropping
PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
ALONG = st.tuples(st.integers(1, 3), st.integers(1, 3))


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, maps):
        return self.function(maps)


class Joined(nn.Module):
    """Branches whose maps meet, cropped to the smallest."""

    def __init__(self, branches, how):
        super().__init__()
        self.branches, self.how = nn.ModuleList(branches), how

    def forward(self, maps):
        found = [branch(maps) for branch in self.branches]
        height, width = (min(each.shape[dim] for each in found) for dim in (2, 3))
        cropped = [each[:, :, :height, :width] for each in found]
        if self.how == "cat":
            return torch.cat(cropped, 1).mean(1, keepdim=True)
        return torch.stack(cropped, -1).sum(-1) if self.how == "stack" else sum(cropped)


class GrowsDense(nn.Module):
    """As in a dense block: a map behind all before it."""

    def __init__(self, kernel):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, kernel, padding=kernel // 2)

    def forward(self, maps):
        return torch.cat([maps, self.layer(maps)[:, :, : maps.shape[2], : maps.shape[3]]], 1).sum(1, keepdim=True)


def convolution(draw, *, stride=None):
    kernel, dilation = draw(st.tuples(st.integers(1, 5), st.integers(1, 5))), draw(ALONG)
    return nn.Conv2d(1, 1, kernel, stride or draw(ALONG), draw(ALONG.map(lambda p: (p[0] - 1, p[1] - 1))), dilation)


def pooling(draw, *, stride=None):
    kernel = draw(st.integers(2, 4))
    kind = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
    return kind(kernel, stride or draw(ALONG), draw(st.integers(0, kernel // 2)), ceil_mode=draw(st.booleans()))


def padding(draw):
    pads = draw(st.lists(st.integers(-2, 3), min_size=4, max_size=4))
    return Does(lambda maps: F.pad(maps, pads))


def cropping(draw):
    top, left, bottom = draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 2)))
    step = draw(st.integers(1, 2))
    return Does(lambda maps: maps[:, :, top:-bottom:step, -(maps.shape[3] - left) :])


def turning(draw):
    """Ways about which change nothing: other places of the dimensions, flattening and back, views."""
    return draw(
        st.sampled_from(
            [
                Does(lambda maps: maps.permute(0, 2, 3, 1).softmax(3).permute(0, 3, 1, 2) * maps),
                Does(lambda maps: maps.flatten(2).transpose(1, 2).clone().transpose(1, 2).view(maps.shape)),
                Does(lambda maps: maps.flatten(2).unflatten(2, maps.shape[2:]).squeeze(1).unsqueeze(1)),
                Does(lambda maps: torch.stack([maps, maps], 2).unbind(2)[1].expand(2, -1, -1, -1)[:1]),
            ]
        )
    )


def branches(draw):
    stride = draw(ALONG)
    makers = st.lists(st.sampled_from([convolution, pooling]), min_size=2, max_size=3)
    made = [nn.Sequential(make(draw, stride=stride), nn.ReLU()) for make in draw(makers)]
    return Joined(made, draw(st.sampled_from(["cat", "add", "stack"])))


@st.composite
def chains(draw, longest=5, makers=(convolution, convolution, pooling, padding, cropping, turning, branches)):
    made = [make(draw) for make in draw(st.lists(st.sampled_from(makers), min_size=1, max_size=longest))]
    return nn.Sequential(*made, *([GrowsDense(3)] if draw(st.booleans()) else []))


def expected(axis, unit):
    first = axis.start + unit * axis.stride
    return first, first + axis.size - 1


def in_the_image(first, last, stride=0):
    """Whether borders are far: what cropping takes, and the rest that strides leave, less than all of them together."""
    return first >= MARGIN + stride and last < SIDE - MARGIN - stride


def followed_or_nothing(network, followed):
    """Not where nothing is left of the maps."""
    try:
        field, sides = followed(network, (1, 1, SIDE, SIDE))
    except ShapeError:
        sides = (0,)
    assume(0 not in sides)
    return field, sides


@given(network=chains())
@PROPERTY
def test_any_chain_of_windows_sees_what_its_gradient_reaches(network, clear, followed, measured):
    network = clear(network)
    field, sides = followed_or_nothing(network, followed)
    assert field.dims == (2, 3)
    for dim, axis in zip(field.dims, field.axes, strict=True):
        first, last = expected(axis, sides[dim] // 2)
        if in_the_image(first, last, axis.stride):
            assert measured(network, (1, 1, SIDE, SIDE), dim) == (first, last)


def enlarging(draw):
    """Each with the number of times that it enlarges."""
    stride = draw(st.integers(2, 3))
    kernel = draw(st.integers(stride, 5))
    return draw(
        st.sampled_from(
            [
                nn.ConvTranspose2d(1, 1, kernel, stride, draw(st.integers(0, kernel - 1))),
                nn.ConvTranspose2d(1, 1, kernel, stride, output_padding=stride - 1),
                nn.Upsample(scale_factor=stride),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.Upsample(scale_factor=2, mode="bicubic"),
                nn.Upsample(scale_factor=2, mode="nearest-exact"),
            ]
        )
    )


WINDOWS = (convolution, pooling, padding, turning)


@given(before=chains(2, WINDOWS), larger=st.composite(enlarging)(), after=chains(2, WINDOWS))
@PROPERTY
def test_behind_an_enlargement_places_are_rounded_down_to_the_smaller_map(
    before, larger, after, clear, followed, measured
):
    network = clear(nn.Sequential(before, larger, after))
    small, _ = followed_or_nothing(before, followed)
    field, sides = followed_or_nothing(network, followed)
    for dim, grid, axis in zip(field.dims, small.axes, field.axes, strict=True):
        for unit in (sides[dim] // 2, sides[dim] // 2 + 1):
            first, last = expected(axis, unit)
            ends = [(first, grid.start), (last, grid.start + grid.size - 1)]
            rounded = tuple(
                origin + math.floor((end - origin) / grid.stride + 1e-9) * grid.stride for end, origin in ends
            )
            if unit < sides[dim] and in_the_image(*rounded):
                assert measured(network, (1, 1, SIDE, SIDE), dim, unit) == rounded


def layers(function, channels=4):
    """A convolution, and something behind it."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3), Does(function))


ONE = (Axis(3, 1, 0),) * 2
CHANNELS = 4
KEEPING = {
    "an activation in place": lambda maps: maps.relu_(),
    "a product of channels": lambda maps: F.linear(maps.permute(0, 2, 3, 1), maps.new_ones(4, 4)).permute(0, 3, 1, 2),
    "an einsum over channels": lambda maps: torch.einsum("nchw,kc->nkhw", maps, maps.new_ones(4, 4)),
    "a layer norm of channels": lambda maps: F.layer_norm(maps.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
    "zeros that take its shape": lambda maps: maps + torch.zeros_like(maps) + maps.new_zeros(maps.shape),
    "channels in another order": lambda maps: maps[:, [2, 0, 1, 3]].roll(1, 1).flip(1),
    "channels repeated": lambda maps: maps.repeat(1, 2, 1, 1),
    "a shuffle of channels": lambda maps: F.channel_shuffle(maps, 2),
    "half of it written over": lambda maps: halves(maps),
    "copied into an empty one": lambda maps: torch.empty_like(maps).copy_(maps),
    "pieces of the channels": lambda maps: torch.cat([maps.chunk(2, 1)[1], maps.split([1, 3], 1)[0]], 1),
    "chosen by a mask": lambda maps: torch.where(maps > 0, maps, maps.new_zeros(())).masked_fill(maps < 0, 0),
    "a gate of channels": lambda maps: maps * maps.sigmoid().mean(1, keepdim=True),
}
WHOLE = {
    "global pooling": lambda maps: maps.mean((2, 3)),
    "pooling as a layer": lambda maps: F.adaptive_avg_pool2d(maps, 1),
    "squeeze and excitation": lambda maps: maps * maps.amax((2, 3), keepdim=True).sigmoid(),
    "a softmax over places": lambda maps: maps.flatten(2).softmax(2),
    "a product over places": lambda maps: maps.flatten(2) @ maps.new_ones(maps[0, 0].numel(), 3),
    "a linear layer": lambda maps: maps.flatten(1) @ maps.new_ones(maps[0].numel(), 3),
    "tokens mixed": lambda maps: F.linear(maps.flatten(2), maps.new_ones(9, maps[0, 0].numel())),
    "attention": lambda maps: F.scaled_dot_product_attention(*[maps.flatten(2).transpose(1, 2)] * 3),
    "self-similarity": lambda maps: maps.flatten(2).transpose(1, 2) @ maps.flatten(2) @ maps.flatten(2).transpose(1, 2),
    "a group norm": lambda maps: F.group_norm(maps, 2),
    "an instance norm": lambda maps: F.instance_norm(maps),
    "a response norm over places": lambda maps: maps / torch.linalg.vector_norm(maps, dim=(2, 3), keepdim=True),
}
UNFOLLOWED = {
    "a roll of places": lambda maps: maps.roll(1, 2),
    "a flip of places": lambda maps: maps.flip(3),
    "places by their numbers": lambda maps: maps[:, :, [3, 1, 2]],
    "places repeated": lambda maps: maps.repeat(1, 1, 2, 1),
    "side by side in space": lambda maps: torch.cat([maps, maps], 2),
    "windows of attention": lambda maps: maps.unflatten(2, (2, -1)).unflatten(4, (2, -1)),
    "a window written over": lambda maps: window_written(maps),
    "an unfolding": lambda maps: F.unfold(maps, 3),
    "a spectrum": lambda maps: torch.fft.rfft2(maps).abs(),
    "a convolution of tokens": lambda maps: F.conv1d(maps.flatten(2), maps.new_ones(4, 4, 3)),
    "a transposed convolution with gaps": lambda maps: F.conv_transpose2d(maps, maps.new_ones(4, 4, 2, 2), stride=3),
    "a transposed and dilated one": lambda maps: F.conv_transpose2d(maps, maps.new_ones(4, 4, 2, 2), dilation=2),
    "products inside of windows": lambda maps: maps.unflatten(3, (2, -1)) @ maps.new_ones(9, 9),
}


def halves(maps):
    maps = maps.clone()
    maps[:, :2] += F.avg_pool2d(maps[:, 2:], 1)
    return maps


def window_written(maps):
    found = torch.zeros_like(maps)
    found[:, :, 1:5, 1:5] = maps[:, :, 5:9, 5:9]
    return found


@pytest.mark.parametrize("what", KEEPING)
def test_what_keeps_places_apart_keeps_the_field(what, followed):
    field, _ = followed(layers(KEEPING[what]), (1, CHANNELS, 20, 20))
    assert field.axes == ONE
    assert field.dims == (2, 3)


@pytest.mark.parametrize("what", WHOLE)
def test_what_joins_all_places_sees_the_image(what, followed):
    assert followed(layers(WHOLE[what]), (1, CHANNELS, 20, 20))[0].whole


@pytest.mark.parametrize("what", UNFOLLOWED)
def test_what_cannot_be_followed_is_unknown(what, followed):
    field, _ = followed(layers(UNFOLLOWED[what]), (1, CHANNELS, 20, 20))
    assert not field.known
    assert field.axes == ()


def test_what_does_not_depend_on_the_image_has_no_field(followed):
    assert followed(Does(lambda maps: torch.ones_like(maps) + 1), (1, 3, 8, 8))[0] is None
    assert followed(Does(lambda maps: maps.clone().zero_()), (1, 3, 8, 8))[0] is None


def test_written_over_it_depends_on_what_is_written_alone(followed):
    field, _ = followed(Does(lambda maps: F.avg_pool2d(maps, 5, 1, 2).copy_(maps)), (1, 3, 8, 8))
    assert field.axes == (Axis(1, 1, 0),) * 2


def test_shuffled_pixels_and_back(followed):
    larger, _ = followed(Does(lambda maps: F.pixel_shuffle(maps, 2)), (1, 4, 8, 8))
    smaller, _ = followed(Does(lambda maps: F.pixel_unshuffle(maps, 2)), (1, 4, 8, 8))
    assert larger.axes == (Axis(1, 0.5, 0),) * 2
    assert smaller.axes == (Axis(2, 2, 0),) * 2


def test_a_layer_that_says_what_its_window_is_is_believed_where_its_output_fits(followed):
    class Local(nn.Module):
        kernel_size, stride, padding = 3, 2, 1

        def __init__(self, step):
            super().__init__()
            self.step = step

        def forward(self, maps):
            patches = F.unfold(maps, 3, padding=1, stride=self.step)
            side = math.isqrt(patches.shape[-1])
            return patches.view(1, -1, 9, side, side).sum(2)

    assert followed(Local(2), (1, 3, 16, 16))[0].axes == (Axis(3, 2, -1),) * 2
    assert not followed(Local(1), (1, 3, 16, 16))[0].known
    assert not followed(nn.Unfold(3), (1, 3, 16, 16))[0].known


def test_statistics_of_the_batch_see_the_image():
    network = nn.BatchNorm2d(3).to("meta").train()
    images = torch.empty(2, 3, 8, 8, device="meta")
    setattr(images, FIELD, of_image(4))
    with torch.no_grad(), Recorder(fields=True).watching(network):
        assert getattr(network(images), FIELD).whole
