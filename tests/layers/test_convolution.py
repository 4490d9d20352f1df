"""The modes of convolution, each against sums written out, and the locally connected layer."""

import pytest
import torch
from torch.nn import functional as F

from fovea.cost.count import multiply_adds, parameters
from fovea.errors import ShapeError
from fovea.layers import convolution as mode
from fovea.layers.locally_connected import LocallyConnected2d


def maps(size=7, channels=4, count=2):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def summed(images, layer, *, before, after, stride=1, dilation=1, groups=1):
    """The layer's output, one product after another."""
    padded = F.pad(images, (before, after, before, after)).double()
    kernel, per_group = layer.weight.shape[-1], layer.weight.shape[1]
    side = (padded.shape[-1] - dilation * (kernel - 1) - 1) // stride + 1
    out = torch.zeros(len(images), len(layer.weight), side, side, dtype=torch.float64)
    for filter_, weights in enumerate(layer.weight.double()):
        first = filter_ // (len(layer.weight) // groups) * per_group
        seen = padded[:, first : first + per_group]
        for y in range(side):
            for x in range(side):
                rows = [y * stride + dilation * i for i in range(kernel)]
                columns = [x * stride + dilation * i for i in range(kernel)]
                window = seen[:, :, rows][:, :, :, columns]
                out[:, filter_, y, x] = (window * weights).sum(dim=(1, 2, 3))
    return out + (0 if layer.bias is None else layer.bias.double()[:, None, None])


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        (mode.valid(4, 6, 3), {"before": 0, "after": 0}),
        (mode.same(4, 6, 3), {"before": 1, "after": 1}),
        (mode.same(4, 6, 4), {"before": 1, "after": 2}),
        (mode.same(4, 6, 4, stride=2), {"before": 1, "after": 2, "stride": 2}),
        (mode.full(4, 6, 3), {"before": 2, "after": 2}),
        (mode.strided(4, 6, 3, stride=2, padding=1), {"before": 1, "after": 1, "stride": 2}),
        (mode.dilated(4, 6, 3, dilation=2, padding=1), {"before": 1, "after": 1, "dilation": 2}),
        (mode.grouped(4, 6, 3, groups=2), {"before": 0, "after": 0, "groups": 2}),
        (mode.depthwise(4, 3, multiplier=2, padding=1), {"before": 1, "after": 1, "groups": 4}),
        (mode.pointwise(4, 6, stride=2), {"before": 0, "after": 0, "stride": 2}),
    ],
)
def test_each_mode_is_its_sum(layer, layout):
    expected = summed(maps(), layer, **layout)
    assert layer(maps()).shape == expected.shape
    assert torch.allclose(layer(maps()).double(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [6, 7, 8, 11])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_sizes_are_those_of_the_lecture(size, kernel, stride):
    images = maps(size)
    assert mode.valid(4, 1, kernel)(images).shape[-1] == size - kernel + 1
    assert mode.full(4, 1, kernel)(images).shape[-1] == size + kernel - 1
    assert mode.same(4, 1, kernel, stride=stride)(images).shape[-1] == -(-size // stride)
    assert mode.strided(4, 1, kernel, stride=stride, padding=1)(images).shape[-1] == (size + 2 - kernel) // stride + 1
    reach = 2 * (kernel - 1) + 1
    assert mode.dilated(4, 1, kernel, dilation=2, padding=2)(images).shape[-1] == size + 4 - reach + 1
    assert mode.pointwise(4, 1, stride=stride)(images).shape[-1] == (size - 1) // stride + 1


def test_a_separable_convolution_is_depthwise_then_pointwise():
    layer = mode.separable(4, 6, 3, multiplier=2, stride=2, padding=1)
    assert list(dict(layer.named_children())) == ["depthwise", "pointwise"]
    assert torch.equal(layer(maps()), layer.pointwise(layer.depthwise(maps())))
    # ... and is a convolution whose filters are products of the two
    kernel = torch.einsum(
        "omij,cm->cmij", layer.depthwise.weight.permute(1, 0, 2, 3), layer.pointwise.weight[..., 0, 0]
    )
    kernel = kernel.reshape(6, 4, 2, 3, 3).sum(dim=2)
    assert torch.allclose(layer(maps()), F.conv2d(maps(), kernel, layer.pointwise.bias, 2, 1), atol=1e-5)


def test_what_the_modes_cost():
    def cost(layer):
        return parameters(layer), multiply_adds(layer, in_channels=8, image_size=10)

    assert cost(mode.valid(8, 16, 3, bias=False)) == (1152, 1152 * 64)
    assert cost(mode.grouped(8, 16, 3, groups=4, bias=False)) == (288, 288 * 64)
    assert cost(mode.depthwise(8, 3, bias=False)) == (72, 72 * 64)
    assert cost(mode.pointwise(8, 16, bias=False)) == (128, 128 * 100)
    assert cost(mode.separable(8, 16, 3)) == (72 + 128 + 16, (72 + 128) * 64)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mode.valid(0, 1, 3), r"in_channels \(=0\) must be 1 or more"),
        (lambda: mode.same(1, 1, 3, stride=0), r"stride \(=0\) must be 1 or more"),
        (lambda: mode.full(1, 1, 0), r"kernel_size \(=0\) must be 1 or more"),
        (lambda: mode.strided(1, 1, 3, stride=2, padding=-1), r"padding \(=-1\) must be 0 or more"),
        (lambda: mode.grouped(30, 4, 3, groups=4), r"in_channels \(=30\) must be divisible by groups \(=4\)"),
        (lambda: mode.grouped(4, 30, 3, groups=4), r"out_channels \(=30\) must be divisible by groups \(=4\)"),
        (lambda: mode.depthwise(4, 3, multiplier=0), r"multiplier \(=0\) must be 1 or more"),
        (lambda: LocallyConnected2d(3, 4, 5, image_size=4), r"kernel_size \(=5\) must be at most image_size"),
        (lambda: LocallyConnected2d(3, 0, 5, image_size=9), r"out_channels \(=0\) must be 1 or more"),
        (lambda: LocallyConnected2d(3, 4, 5, image_size=9)(maps(8, 3)), r"maps have the shape \(3, 8, 8\)"),
    ],
)
def test_impossible_sizes_are_refused_with_value_and_rule(make, sentence):
    with pytest.raises(ShapeError, match=sentence):
        make()


def test_every_position_of_a_locally_connected_layer_has_its_own_weights():
    layer = LocallyConnected2d(4, 3, 3, image_size=7, stride=2, padding=1)
    padded = F.pad(maps(), (1, 1, 1, 1))
    expected = torch.empty(2, 3, 4, 4)
    for y in range(4):
        for x in range(4):
            window = padded[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].flatten(1)
            expected[:, :, y, x] = window @ layer.weight[4 * y + x].T + layer.bias[:, y, x]
    assert torch.allclose(layer(maps()), expected, atol=1e-5)


def test_with_equal_weights_everywhere_it_is_a_convolution():
    layer, convolution = LocallyConnected2d(4, 3, 3, image_size=7), mode.valid(4, 3, 3)
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.flatten(1).expand_as(layer.weight))
        layer.bias.copy_(convolution.bias[:, None, None].expand_as(layer.bias))
    assert torch.allclose(layer(maps()), convolution(maps()), atol=1e-5)


def test_a_locally_connected_layer_costs_outputs_times_kernel():
    layer = LocallyConnected2d(4, 3, 3, image_size=7, stride=2)
    outputs, kernel = 3 * 3 * 3, 4 * 3 * 3
    assert parameters(layer) == outputs * kernel + outputs
    network = torch.nn.Sequential(layer)
    assert multiply_adds(network, in_channels=4, image_size=7) == outputs * kernel
    assert layer.multiply_adds(layer(maps())) == outputs * kernel
    convolution = mode.strided(4, 3, 3, stride=2)
    assert multiply_adds(convolution, in_channels=4, image_size=7) == outputs * kernel
    assert parameters(convolution) == 3 * kernel + 3


def test_a_locally_connected_layer_starts_within_its_bound_and_learns_everywhere():
    layer = LocallyConnected2d(4, 3, 3, image_size=7)
    bound = 1 / 6  # of 4 · 3 · 3 inputs
    assert 0.9 * bound < layer.weight.abs().max() <= bound
    layer(maps()).square().sum().backward()
    assert (layer.weight.grad.abs().amax(dim=(1, 2)) > 0).all()
    assert layer(torch.zeros(0, 4, 7, 7)).shape == (0, 3, 5, 5)
