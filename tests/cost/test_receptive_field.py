"""Receptive fields of whole networks, against the pixels that the gradient of a unit in the middle reaches."""

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build, facts
from fovea.cost.receptive_field import (
    IMAGE,
    UNKNOWN,
    Axis,
    Field,
    Interpolation,
    Window,
    adaptive,
    contracted,
    moved,
    of_image,
    padded,
    resampled,
    reshaped,
    sliced,
    through,
    union,
    windowed,
)

# What the last stage's map sees: size, stride and start, alike along both axes.
FIELDS = {
    "lenet5_1998": (32, 4, 0),
    "lenet5": (16, 4, 0),
    "alexnet": (195, 32, -64),
    "zfnet": (171, 32, -49),
    "nin": (195, 32, -64),
    "cifar_nin": (27, 4, -10),
    "vgg11": (150, 32, -59),
    "vgg16": (212, 32, -90),
    "googlenet": (715, 32, -327),
    "bn_inception": (699, 32, -343),
    "inception_v3": (1311, 32, -618),
    "plain18": (435, 32, -217),
    "resnet18": (435, 32, -217),
    "resnet50": (483, 32, -239),
    "resnet50_v1_5": (427, 32, -213),
    "preact_resnet50": (427, 32, -213),
    "cifar_resnet20": (81, 4, -40),
    "densenet121": (2071, 32, -1021),
    "cifar_densenet_40_12": (174, 4, -85),
    "mobilenet_v1": (315, 32, -157),
    "mobilenet_v2": (491, 32, -245),
    "mnasnet_b1": (843, 32, -421),
    "nasnet_a_mobile": (2407, 32, -1174),
    "amoebanet_a_mobile": (3479, 32, -1710),
}
ACROSS = {"alexnet": 80, "zfnet": 80, "nin": 80, "inception_v3": 80}  # the smallest that they take; the others take 32


def dilated():
    """Two stages as in DeepLab: what strided is dilated, and a pyramid of dilations at the end."""

    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.rates = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=rate, dilation=rate) for rate in (1, 6, 12))

        def forward(self, maps):
            return torch.cat([rate(maps) for rate in self.rates], 1)

    def block(channels, stride, dilation):
        convolution = nn.Conv2d(channels, 8, 3, stride, padding=dilation, dilation=dilation, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU())

    return nn.Sequential(block(3, 2, 1), nn.MaxPool2d(3, 2, 1), block(8, 1, 2), block(8, 1, 4), Pyramid())


def compare(network, field, shape, axis, followed, measured):
    """What is followed in images of this very shape is what is measured, and lies inside of them."""
    found, sides = followed(network, shape)
    assert found.axes[axis - 2] == field.axes[axis - 2]
    size, stride, start = found.axes[axis - 2]
    first = start + (sides[axis] // 2) * stride
    assert first >= 0
    assert first + size <= shape[axis]
    assert measured(network, shape, axis) == (first, first + size - 1)


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_of_the_last_stage_is_what_its_gradient_reaches(name, clear, followed, measured):
    channels = facts(name).in_channels
    network = clear(build(name, seed=0).features)
    field, _ = followed(network, (1, channels, 512, 512))
    assert field.dims == (2, 3)
    assert field.axes == (Axis(*FIELDS[name]),) * 2
    size, stride, _ = FIELDS[name]
    for axis in (2, 3):  # images that are long along one axis: what is seen along it does not depend on the other
        shape = [1, channels, ACROSS.get(name, 32), ACROSS.get(name, 32)]
        shape[axis] = (size + 8 * stride) // 32 * 32 + 32
        compare(network, field, tuple(shape), axis, followed, measured)


def test_each_stage_has_its_field(clear, followed, measured):
    features = clear(build("inception_v3", seed=0).features)
    for last in ("mixed_5b", "mixed_6a", "mixed_6b"):
        names = [name for name, _ in features.named_children()]
        upto = features[: next(n for n, name in enumerate(names) if name.lower() == last.lower()) + 1]
        field, _ = followed(upto, (1, 3, 299, 299))
        for axis in (2, 3):
            shape = [1, 3, 75, 75]
            shape[axis] = int(field.axes[axis - 2].size) + 160
            compare(upto, field, tuple(shape), axis, followed, measured)


def test_dilated_convolutions_and_their_pyramid(clear, followed, measured):
    network = clear(dilated())
    field, _ = followed(network, (1, 3, 224, 224))
    assert field.axes == (Axis(7 + 2 * 8 + 4 * 8 + 2 * 12 * 4, 4, -3 - 8 - 16 - 48),) * 2
    for axis in (2, 3):
        shape = [1, 3, 33, 33]
        shape[axis] = 301
        compare(network, field, tuple(shape), axis, followed, measured)


@pytest.mark.parametrize("name", ["se_resnet50", "efficientnet_b0", "mnasnet_a1", "se_resnext50_32x4d"])
def test_squeeze_and_excitation_sees_the_image(name, clear, followed, measured):
    network = clear(build(name, seed=0).features)
    shape = (1, 3, 96, 64)
    assert followed(network, shape)[0].whole
    assert measured(network, shape, 2) == (0, 95)
    assert measured(network, shape, 3) == (0, 63)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "mobilenet_v2"])
def test_logits_see_the_image(name, followed):
    known = facts(name)
    with torch.device("meta"):
        network = build(name)
    assert followed(network, (1, known.in_channels, known.image_size, known.image_size))[0].whole


def test_windows_compose_as_in_the_literature():
    pixel = Axis(1, 1, 0)
    stem = through(pixel, Window(7, 2, 3))
    assert stem == Axis(7, 2, -3)
    assert stem.centre == 0
    assert through(stem, Window(3, 2, 1)) == Axis(11, 4, -5)


def test_a_field_follows_its_dimensions():
    field = of_image(4)
    assert field == Field((2, 3), (Axis(1, 1, 0), Axis(1, 1, 0)))
    assert moved(field, (0, 2, 3, 1)).dims == (1, 2)
    assert contracted(field, [1], 4, keep=False).dims == (1, 2)
    assert contracted(field, [1], 4, keep=True) == field
    assert contracted(field, [-1], 4, keep=True) == IMAGE
    assert windowed(field, [Window(3, 1, 1)], 4).axes == (Axis(1, 1, 0), Axis(3, 1, -1))
    assert windowed(IMAGE, [Window(3, 1, 1)] * 2, 4) == IMAGE
    assert sliced(field, 3, 5, 2).axes == (Axis(1, 1, 0), Axis(1, 2, 5))
    assert sliced(field, 1, 5, 2) == field
    assert padded(field, [3, 1, -2, 0], 4).axes == (Axis(1, 1, 2), Axis(1, 1, -3))


def test_a_flattened_map_is_known_by_its_one_dimension():
    field = of_image(4)
    tokens = reshaped(field, (1, 8, 5, 7), (1, 8, 35))
    assert (tokens.dims, tokens.flat, tokens.sides) == ((), (2,), (5, 7))
    assert reshaped(tokens, (1, 8, 35), (1, 8, 5, 7)) == field
    assert reshaped(tokens, (1, 8, 35), (1, 2, 4, 35)).flat == (3,)
    assert reshaped(tokens, (1, 8, 35), (1, 8, 7, 5)) == UNKNOWN
    turned = moved(tokens, (0, 2, 1))
    assert turned.flat == (1,)
    assert contracted(turned, [2], 3, keep=True) == turned
    assert contracted(turned, [1], 3, keep=True) == IMAGE
    assert windowed(tokens, [Window(3, 1, 1)], 3) == UNKNOWN
    assert windowed(tokens, [Window(1, 1, 0)], 3) == tokens
    assert reshaped(field, (1, 8, 5, 7), (1, 280)).flat == (1,)


def test_windows_of_attention_are_not_guessed():
    assert reshaped(of_image(4), (1, 8, 8, 3), (1, 2, 4, 2, 4, 3)) == UNKNOWN
    assert reshaped(UNKNOWN, (1, 8, 8, 3), (1, 64, 3)) == UNKNOWN


def test_the_union_reaches_from_the_first_to_the_last_pixel():
    small, large = (Field((2, 3), (axis,) * 2) for axis in (Axis(3, 2, 2), Axis(7, 2, -1)))
    assert union([small, large]) == large
    assert union([small, small._replace(axes=(Axis(3, 2, 0),) * 2)]).axes == (Axis(5, 2, 0),) * 2
    assert union([small, IMAGE, UNKNOWN]) == IMAGE
    assert union([small, UNKNOWN]) == UNKNOWN
    assert union([small, small._replace(axes=(Axis(3, 4, 2),) * 2)]) == UNKNOWN
    assert union([]) is None


def test_adaptive_pooling_has_the_largest_of_its_windows():
    assert adaptive(7, 1) is None
    assert adaptive(1, 1) == Window(1, 1, 0)
    assert adaptive(14, 7) == Window(2, 2, 0)
    assert adaptive(7, 3) == Window(3, 7 / 3, 0)


def test_interpolation_sees_the_units_that_it_blends():
    field = of_image(4)

    def along(before, after, how, scale=None):
        return resampled(field, (1, 1, 8, before), (1, 1, 8, after), how, (None, scale)).axes[1]

    nearest, linear = Interpolation(0, 0, centred=False), Interpolation(0, 1, centred=True)
    assert along(8, 8, linear) == Axis(1, 1, 0)
    assert along(8, 16, nearest) == Axis(1, 0.5, 0)
    assert along(8, 16, linear) == Axis(2, 0.5, -0.25)
    assert along(8, 16, linear, 2.0) == Axis(2, 0.5, -0.25)
    assert along(8, 16, Interpolation(-1, 2, centred=True)) == Axis(4, 0.5, -1.25)
    assert along(16, 8, linear) == Axis(2, 2, 0)  # between two
    assert along(15, 5, linear) == Axis(1, 3, 1)  # on the middle one of three
    assert along(5, 9, linear._replace(corners=True)) == Axis(2, 0.5, 0)
