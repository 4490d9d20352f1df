"""MobileNet v1 and v2, MnasNet, EfficientNet: their tables, their scaling, their options, their start."""

import functools
import math

import pytest
import torch
from torch import nn

from fovea.architectures import efficientnet, mnasnet, mobilenet_v1, mobilenet_v2
from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.architectures.scaling import compound, make_divisible, scaled
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.errors import ShapeError, UsageError
from fovea.layers.depthwise_separable import DepthwiseSeparable
from fovea.layers.inverted_residual import InvertedResidual
from fovea.layers.same_padding import SamePadConv2d
from fovea.layers.stochastic_depth import StochasticDepth

NAMES = [name for pattern in ("mobilenet*", "mnasnet*", "efficientnet*") for name in list_architectures(pattern)]
BASES = ("mobilenet_v1", "mobilenet_v2", "mnasnet_a1", "mnasnet_b1", "efficientnet_b0")


@functools.cache
def weightless(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def of(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


def counted(rows, first, last):
    """Parameters by the table alone: weights, two numbers a channel for each normalisation, gates with biases."""

    def unit(inputs, outputs, kernel=1, groups=1):
        return inputs // groups * outputs * kernel**2 + 2 * outputs

    total, channels = unit(3, first, 3), first
    for row in rows:
        for _ in range(row.layers):
            inside = channels * row.expand
            total += unit(channels, inside) if row.expand > 1 else 0
            total += unit(inside, inside, row.kernel, inside) + unit(inside, row.channels)
            hidden = int(channels * row.squeeze)
            total += 2 * inside * hidden + inside + hidden if hidden else 0
            channels = row.channels
    return total + unit(channels, last) + (last + 1) * 1000


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("mobilenet_v2", mobilenet_v2.TABLE),
        ("mnasnet_a1", mnasnet.TABLES["a1"]),
        ("mnasnet_b1", mnasnet.TABLES["b1"]),
        ("efficientnet_b0", efficientnet.BASELINE),
    ],
)
def test_a_table_counted_by_hand_has_the_published_parameters(name, table):
    assert counted(table.rows, table.first, table.last) == facts(name).parameters


def test_mobilenet_v1s_table_is_the_papers():
    assert sum(row.layers for row in mobilenet_v1.ROWS) == 13
    assert len(of(weightless("mobilenet_v1"), DepthwiseSeparable)) == 13
    # Twenty-eight layers where depthwise and pointwise count by themselves, as the paper says in section 3.2.
    assert len(of(weightless("mobilenet_v1"), (nn.Conv2d, nn.Linear))) == 28


def test_mobilenet_v1_spends_95_percent_in_pointwise_convolutions():
    # Table 2 of the paper: of the multiply-adds 94.86 % in 1×1, 3.06 % in depthwise; of the parameters 74.59 % in 1×1.
    network = weightless("mobilenet_v1")
    shapes, spent = {}, {"pointwise": 0, "depthwise": 0}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: output.shape}))
    network.eval()(torch.empty(1, 3, 224, 224, device="meta"))
    for name, module in network.named_modules():
        if name.endswith((".pointwise.conv", ".depthwise.conv")):
            spent[name.split(".")[-2]] += module.weight.numel() * shapes[name][2] * shapes[name][3]
    total = facts("mobilenet_v1").macs
    assert spent["pointwise"] / total == pytest.approx(0.9486, abs=5e-4)
    assert spent["depthwise"] / total == pytest.approx(0.0306, abs=5e-4)


def test_mobilenet_v2_begins_without_expansion_and_has_17_blocks():
    blocks = of(weightless("mobilenet_v2"), InvertedResidual)
    assert len(blocks) == 17
    assert [hasattr(block.branch, "expand") for block in blocks] == [False] + [True] * 16
    assert [block.skip for block in blocks].count(True) == 10
    assert not any(hasattr(block.branch.project, "activation") for block in blocks)
    assert {type(m) for block in blocks for m in block.modules() if "ReLU" in type(m).__name__} == {nn.ReLU6}


@pytest.mark.parametrize(("width", "last"), [(0.35, 1280), (1.0, 1280), (1.4, 1792)])
def test_mobilenet_v2s_last_convolution_grows_but_never_shrinks(width, last):
    assert weightless("mobilenet_v2", width=width).num_features == last


@pytest.mark.parametrize(
    ("model", "width", "expected"),
    [("b1", 0.5, 2_218_512), ("b1", 0.75, 3_170_208), ("b1", 1.3, 6_282_256), ("a1", 0.5, 2_082_006)],
)
def test_mnasnet_at_other_widths_has_the_parameters_measured_elsewhere(model, width, expected):
    assert parameters(weightless(f"mnasnet_{model}", width=width)) == expected


def test_squeeze_and_excitation_has_a_quarter_of_the_blocks_input():
    for name, activation in (("mnasnet_a1", nn.ReLU), ("efficientnet_b0", nn.SiLU)):
        gated = [block for block in of(weightless(name), InvertedResidual) if hasattr(block.branch, "squeeze")]
        for block in gated:
            inputs = block.branch.depthwise.conv.in_channels
            inputs = block.branch.expand.conv.in_channels if hasattr(block.branch, "expand") else inputs
            assert block.branch.squeeze.reduce.out_channels == inputs // 4
            assert isinstance(block.branch.squeeze.activation, activation)
        assert len(gated) == {"mnasnet_a1": 8, "efficientnet_b0": 16}[name]
    assert not any(hasattr(b.branch, "squeeze") for b in of(weightless("mnasnet_b1"), InvertedResidual))


# Scaling


def test_channels_become_multiples_of_8_and_lose_at_most_a_tenth():
    examples = {8.4: 8, 11.2: 16, 5.6: 8, 22.4: 24, 41.6: 40, 44.8: 48, 83: 80, 84: 88, 1: 8, 176: 176}
    assert {channels: make_divisible(channels) for channels in examples} == examples
    assert all(make_divisible(c) >= 0.9 * c and make_divisible(c) % 8 == 0 for c in range(1, 2000))


def test_any_table_is_scaled_in_both_directions():
    rows = scaled(mobilenet_v2.TABLE.rows, width=1.4, depth=1.2)
    assert [row.channels for row in rows] == [24, 32, 48, 88, 136, 224, 448]
    assert [row.layers for row in rows] == [2, 3, 4, 5, 4, 4, 2]
    assert [row.stride for row in rows] == [row.stride for row in mobilenet_v2.TABLE.rows]
    assert scaled(mobilenet_v2.TABLE.rows) == mobilenet_v2.TABLE.rows
    assert [row.channels for row in scaled(mobilenet_v1.ROWS, width=0.25)] == [16, 32, 64, 128, 256]
    deep = weightless("mobilenet_v2", width=1.4, depth=1.2)
    assert [len(stage) for stage in list(deep.features)[1:-1]] == [2, 3, 4, 5, 4, 4, 2]


def test_each_step_of_phi_doubles_the_cost():
    base = compound(0)
    assert base == (1, 1, 1)
    one = compound(1)
    assert one.depth * one.width**2 * one.resolution**2 == pytest.approx(2, rel=0.05)
    assert compound(2).depth == pytest.approx(1.44)
    assert 224 * compound(1).resolution == pytest.approx(260, abs=3)  # B2
    assert 224 * compound(2).resolution == pytest.approx(300, abs=5)  # B3


def test_efficientnet_takes_phi_or_its_own_factors():
    by_phi = weightless("efficientnet_b0", phi=1.0)
    assert parameters(by_phi) == parameters(weightless("efficientnet_b2")) == 9_109_994
    assert [len(stage) for stage in list(by_phi.features)[1:-1]] == [2, 3, 3, 4, 4, 5, 2]
    with pytest.raises(UsageError, match=r"phi \(=1.0\) is a width and a depth of its own"):
        weightless("efficientnet_b2", phi=1.0)


def test_efficientnets_survival_falls_to_the_published_one():
    found = [m.survival for m in of(weightless("efficientnet_b0"), StochasticDepth)]
    blocks = of(weightless("efficientnet_b0"), InvertedResidual)
    expected = [1 - 0.2 * i / 16 if block.skip else 1.0 for i, block in enumerate(blocks)]
    assert found == pytest.approx(expected)
    assert len(found) == 16


# Options


@pytest.mark.parametrize("name", BASES)
def test_tensorflows_padding_changes_no_shape_and_no_cost(name):
    known = facts(name)
    same = weightless(name, padding="same")
    assert of(same, SamePadConv2d)
    assert (parameters(same), multiply_adds(same, in_channels=3, image_size=224)) == (known.parameters, known.macs)
    assert {k: list(v) for k, v in stage_shapes(same, in_channels=3, image_size=224).items() if k in known.stages} == (
        known.stages
    )


@pytest.mark.parametrize(
    ("name", "size"), [(name, 32) for name in NAMES] + [(name, size) for name in BASES for size in (28, 64)]
)
def test_the_small_stem_keeps_twice_the_resolution(name, size):
    network = weightless(name, stem="small", image_size=size, num_classes=10, in_channels=1)
    shapes = list(stage_shapes(network, in_channels=1, image_size=size).values())
    assert shapes[0][1:] == (size, size)
    assert shapes[len(network.features) - 1][1] == math.ceil(size / 16)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("stem", "least"), [("paper", 32), ("small", 16)])
def test_an_image_below_the_stride_is_refused(name, stem, least):
    assert weightless(name, stem=stem, image_size=least)
    with pytest.raises(ShapeError, match=rf"image_size \(={least - 1}\) is too small: {least} is the least"):
        weightless(name, stem=stem, image_size=least - 1)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("width", 0.0, r"width \(=0.0\) must be above 0"),
        ("width", float("nan"), r"width \(=nan\) must be above 0"),
        ("dropout", 1.0, r"dropout \(=1.0\) must be 0 or more and below 1"),
        ("padding", "valid", r"padding \(='valid'\) must be 'symmetric' or 'same'"),
        ("stem", "tiny", r"stem \(='tiny'\) must be 'paper' or 'small'"),
    ],
)
def test_an_option_that_makes_no_network_is_refused(name, option, value, sentence):
    with pytest.raises(UsageError, match=sentence):
        weightless(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "option", "value", "sentence"),
    [
        ("mobilenet_v1", "activation", "tanh", r"activation \(='tanh'\) must be 'relu' or 'relu6'"),
        ("mnasnet_a1", "model", "a2", r"model \(='a2'\) must be 'a1' or 'b1'"),
        ("efficientnet_b0", "survival", 0.0, r"survival \(=0.0\) must be above 0"),
        ("efficientnet_b0", "phi", 1e6, r"phi \(=1000000.0\) is too large"),
        ("mobilenet_v2", "depth", -1.0, r"depth \(=-1.0\) must be above 0"),
    ],
)
def test_so_is_one_of_a_single_family(name, option, value, sentence):
    with pytest.raises(UsageError, match=sentence):
        weightless(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "dropout"), [("mobilenet_v1", 0.001), ("mobilenet_v2", 0.2), ("efficientnet_b4", 0.4)]
)
def test_dropout_is_the_published_one_unless_asked(name, dropout):
    assert weightless(name).head.dropout.p == dropout
    assert weightless(name, dropout=0.3).head.dropout.p == 0.3


# Initialisation


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_mobilenets_start_truncated_at_two_deviations_of_009(name):
    network = build(name, seed=0)
    for module in of(network, (nn.Conv2d, nn.Linear)):
        assert module.weight.abs().max() <= 0.18
    # A normal distribution cut at two deviations has 0.8796 of its deviation.
    assert network.head.output.weight.std().item() == pytest.approx(0.09 * 0.8796, rel=0.01)
    assert network.head.output.bias.abs().max() == 0


@pytest.mark.parametrize("name", ["mnasnet_b1", "efficientnet_b0"])
def test_the_searched_networks_start_by_the_fan_out_of_a_group(name):
    network = build(name, seed=0)
    last = list(network.features)[-2][-1].branch
    inside = last.depthwise.conv.in_channels
    assert last.expand.conv.weight.std().item() == pytest.approx(math.sqrt(2 / inside), rel=0.02)
    assert last.depthwise.conv.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.03)
    assert network.head.output.weight.abs().max().item() == pytest.approx(1 / math.sqrt(1000), rel=1e-3)
    assert network.head.output.bias.abs().max() == 0
    assert all(module.bias.abs().max() == 0 for module in of(network, nn.Conv2d) if module.bias is not None)
