"""The blocks of the mobile networks, each against an independent computation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.cost.count import multiply_adds, parameters
from fovea.errors import ShapeError, UsageError
from fovea.layers.depthwise_separable import DepthwiseSeparable
from fovea.layers.inverted_residual import InvertedResidual, Row, inverted_residuals
from fovea.layers.mobile_unit import Style, unit
from fovea.layers.same_padding import SamePadConv2d
from fovea.layers.stochastic_depth import StochasticDepth, linear_survival

GENERATOR = torch.Generator().manual_seed(0)


def spread(module):
    """Normalisation as after training, so that a forgotten one would be seen."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5, generator=GENERATOR)
    return module.eval()


def by_hand(maps, made, *, stride=1, padding=0, groups=1, activation=F.relu):
    """A unit from its tensors alone."""
    norm, maps = made.norm, F.conv2d(maps, made.conv.weight, None, stride, padding, 1, groups)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return activation((maps - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None])


@pytest.mark.parametrize("stride", [1, 2])
@torch.inference_mode()
def test_a_separable_convolution_is_space_then_channels(stride):
    block = spread(DepthwiseSeparable(6, 10, stride=stride, style=Style(nn.ReLU6, eps=1e-3)))
    maps = torch.randn(2, 6, 9, 9, generator=GENERATOR) * 4
    inside = by_hand(maps, block.depthwise, stride=stride, padding=1, groups=6, activation=F.relu6)
    assert torch.allclose(block(maps), by_hand(inside, block.pointwise, activation=F.relu6), atol=1e-5)


def test_a_separable_convolution_costs_the_published_share():
    block, full = DepthwiseSeparable(32, 64), nn.Conv2d(32, 64, 3, padding=1)
    costs = [multiply_adds(module, in_channels=32, image_size=14) for module in (block, full)]
    assert costs[0] / costs[1] == pytest.approx(1 / 64 + 1 / 9)


@pytest.mark.parametrize(
    ("in_channels", "row"),
    [
        (8, Row(expand=6, channels=8)),
        (8, Row(expand=3, channels=12, kernel=5, stride=2)),
        (8, Row(expand=1, channels=8)),
        (8, Row(expand=6, channels=8, squeeze=0.25)),
        (8, Row(expand=1, channels=12, squeeze=0.25)),
        (8, Row(expand=6, channels=8, skip=False)),
        (8, Row(expand=6, channels=8, stride=2)),
    ],
    ids=str,
)
@torch.inference_mode()
def test_an_inverted_residual_is_expand_filter_project_and_add(in_channels, row):
    block = spread(InvertedResidual(in_channels, row))
    maps = torch.randn(2, in_channels, 8, 8, generator=GENERATOR)
    inside = maps
    if row.expand > 1:
        inside = by_hand(inside, block.branch.expand)
    groups = in_channels * row.expand
    inside = by_hand(inside, block.branch.depthwise, stride=row.stride, padding=row.kernel // 2, groups=groups)
    if row.squeeze:
        gate = block.branch.squeeze
        assert gate.reduce.out_channels == int(in_channels * row.squeeze)
        hidden = F.relu(F.conv2d(inside.mean((2, 3), keepdim=True), gate.reduce.weight, gate.reduce.bias))
        inside = inside * F.conv2d(hidden, gate.expand.weight, gate.expand.bias).sigmoid()
    expected = by_hand(inside, block.branch.project, activation=lambda linear: linear)
    if row.skip and row.stride == 1 and in_channels == row.channels:
        expected = expected + maps
    assert torch.allclose(block(maps), expected, atol=1e-5)
    assert hasattr(block.branch, "expand") == (row.expand > 1)


def test_a_stage_strides_once_and_keeps_its_width():
    stage = inverted_residuals(16, Row(expand=6, channels=24, layers=3, stride=2), survivals=(1.0, 0.9, 0.8))
    assert [block.branch.depthwise.conv.stride for block in stage] == [(2, 2), (1, 1), (1, 1)]
    assert [block.branch.depthwise.conv.in_channels for block in stage] == [96, 144, 144]
    assert [block.skip for block in stage] == [False, True, True]
    assert [block.depth.survival for block in stage] == [1.0, 0.9, 0.8]
    assert stage(torch.zeros(1, 16, 9, 9)).shape == (1, 24, 5, 5)


def test_parameters_of_mobilenet_v2s_first_bottleneck():
    # Expansion 16·96, depthwise 9·96, projection 96·24, and two numbers a channel for each normalisation.
    assert parameters(InvertedResidual(16, Row(6, 24, 1, 2))) == 16 * 96 + 9 * 96 + 96 * 24 + 2 * (96 + 96 + 24)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Row(expand=0, channels=8), r"expand \(=0\)"),
        (Row(expand=6, channels=0), r"channels \(=0\)"),
        (Row(expand=6, channels=8, stride=0), r"stride \(=0\)"),
        (Row(expand=6, channels=8, squeeze=-0.1), r"squeeze \(=-0.1\) must be 0, or a share"),
    ],
)
def test_an_impossible_row_is_refused(row, sentence):
    with pytest.raises(ShapeError, match=sentence):
        InvertedResidual(8, row)


@pytest.mark.parametrize("size", [7, 8])
@torch.inference_mode()
def test_a_unit_pads_in_halves_or_as_tensorflow(size):
    symmetric, same = unit(4, 6, 3, stride=2), unit(4, 6, 3, stride=2, style=Style(padding="same"))
    same.load_state_dict(symmetric.state_dict())
    maps = torch.randn(1, 4, size, size, generator=GENERATOR)
    assert isinstance(same.conv, SamePadConv2d)
    assert symmetric(maps).shape == same(maps).shape
    assert torch.equal(symmetric(maps), same(maps)) == (size == 7)  # an even image needs one pixel, an odd one two


def test_a_units_style_reaches_its_normalisation():
    made = unit(4, 6, 3, style=Style(nn.SiLU, "same", eps=1e-3, momentum=0.01))
    assert (made.norm.eps, made.norm.momentum) == (1e-3, 0.01)
    assert isinstance(made.activation, nn.SiLU)
    assert made.conv.bias is None
    assert not hasattr(unit(4, 6, 1, style=Style().linear()), "activation")


def test_stochastic_depth_keeps_or_drops_whole_images():
    torch.manual_seed(0)
    layer = StochasticDepth(0.8)
    kept = layer(torch.ones(10_000, 2, 3, 1))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert torch.equal(kept.amax((1, 2, 3)), kept.amin((1, 2, 3)))
    # Of 10,000 images 8,000 remain, to five standard deviations of a binomial distribution.
    assert abs((kept[:, 0, 0, 0] > 0).sum().item() - 8000) < 5 * (10_000 * 0.8 * 0.2) ** 0.5


def test_stochastic_depth_does_nothing_in_evaluation_or_at_one():
    branch = torch.randn(4, 3, generator=GENERATOR)
    assert StochasticDepth(0.5).eval()(branch) is branch
    assert StochasticDepth(1.0)(branch) is branch
    assert repr(StochasticDepth(0.5)) == "StochasticDepth(survival=0.5)"


def test_a_dropped_branch_leaves_the_shortcut():
    torch.manual_seed(1)
    block = InvertedResidual(4, Row(expand=2, channels=4), survival=0.5)
    maps = torch.randn(64, 4, 5, 5)
    untouched = (block(maps) == maps).flatten(1).all(1).sum().item()
    assert 15 <= untouched <= 49


@pytest.mark.parametrize("survival", [0.0, -0.1, 1.1, float("nan")])
def test_an_impossible_survival_is_refused(survival):
    with pytest.raises(UsageError, match=r"survival .* above 0 and at most 1"):
        StochasticDepth(survival)


def test_survival_falls_linearly_from_one():
    assert linear_survival(4, 0.8) == pytest.approx([1.0, 0.95, 0.9, 0.85])
    assert linear_survival(3, 1.0) == [1.0, 1.0, 1.0]
