"""The building blocks of residual networks, each against an independent computation."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.errors import ShapeError, UsageError
from fovea.layers.pre_activation import PreActivation, PreActivationBasicBlock, PreActivationBottleneck
from fovea.layers.residual import BasicBlock, Bottleneck, PlainBlock, ResNeXtBottleneck, zero_last_gammas
from fovea.layers.shortcut import PaddedIdentity, shortcut
from fovea.layers.squeeze_excitation import SqueezeExcitation
from fovea.layers.stage import Stage

MAPS = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))


def randomised(block):
    """A block in evaluation, with gains, shifts and statistics that all matter."""
    generator = torch.Generator().manual_seed(1)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return block.eval()


def normalised(maps, norm):
    mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
    return (maps - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def convolved(maps, unit, stride=1, groups=1):
    """Convolution and normalisation of a ConvNorm."""
    weight = unit.conv.weight
    maps = F.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    return normalised(maps, unit.norm)


def test_option_a_keeps_every_second_pixel_and_puts_zeros_behind():
    output = shortcut("A", 8, 12, stride=2)(MAPS)
    assert output.shape == (2, 12, 3, 3)
    assert all(torch.equal(output[:, :8, i, j], MAPS[:, :, 2 * i, 2 * j]) for i in range(3) for j in range(3))
    assert output[:, 8:].abs().sum() == 0
    assert not list(shortcut("A", 8, 12, stride=2).parameters())


def test_option_a_rounds_odd_sizes_up_as_the_branch_does():
    assert PaddedIdentity(8, 8, stride=2)(MAPS[:, :, :5, :5]).shape == (2, 8, 3, 3)


@pytest.mark.parametrize(
    ("option", "out_channels", "stride", "kind"),
    [
        ("A", 8, 1, "Identity"),
        ("B", 8, 1, "Identity"),
        ("C", 8, 1, "ConvNorm"),
        ("A", 8, 2, "PaddedIdentity"),
        ("B", 8, 2, "ConvNorm"),
        ("B", 16, 1, "ConvNorm"),
    ],
)
def test_options_differ_in_where_they_project(option, out_channels, stride, kind):
    assert type(shortcut(option, 8, out_channels, stride=stride)).__name__ == kind


def test_a_projection_without_normalisation_is_one_convolution():
    path = shortcut("B", 8, 16, stride=2, norm=False)
    assert torch.allclose(path(MAPS), F.conv2d(MAPS[:, :, ::2, ::2], path.weight), atol=1e-6)


def test_impossible_shortcuts_are_refused():
    with pytest.raises(UsageError, match=r"shortcut \(='D'\) must be one of A .*, B .*, C "):
        shortcut("D", 8, 8)
    with pytest.raises(ShapeError, match=r"out_channels \(=4\) must be in_channels \(=8\) or more"):
        shortcut("A", 8, 4)


@torch.no_grad()
def test_a_plain_block_is_two_rectified_convolutions():
    block = randomised(PlainBlock(8, 12, stride=2))
    expected = convolved(convolved(MAPS, block.conv1, stride=2).relu(), block.conv2).relu()
    assert torch.allclose(block(MAPS), expected, atol=1e-5)


@pytest.mark.parametrize(("width", "stride", "option"), [(8, 1, "B"), (12, 2, "A"), (12, 2, "B"), (8, 1, "C")])
@torch.no_grad()
def test_a_basic_block_adds_before_it_rectifies(width, stride, option):
    block = randomised(BasicBlock(8, width, stride=stride, shortcut=option))
    branch = convolved(convolved(MAPS, block.branch.conv1, stride).relu(), block.branch.conv2)
    expected = (branch + block.shortcut(MAPS)).relu()
    assert torch.allclose(block(MAPS), expected, atol=1e-5)
    if (option, stride) == ("B", 1):
        assert torch.allclose(block(MAPS), (branch + MAPS).relu(), atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_a_bottleneck_strides_where_it_is_told(first):
    block = randomised(Bottleneck(8, 4, stride=2, stride_in_first=first))
    branch = convolved(MAPS, block.branch.conv1, 2 if first else 1).relu()
    branch = convolved(branch, block.branch.conv2, 1 if first else 2).relu()
    expected = convolved(branch, block.branch.conv3) + convolved(MAPS, block.shortcut, 2)
    assert torch.allclose(block(MAPS), expected.relu(), atol=1e-5)
    assert block.out_channels == 16


@torch.no_grad()
def test_a_resnext_bottleneck_cuts_its_channels_into_groups():
    block = randomised(ResNeXtBottleneck(8, 8, groups=4))
    branch = convolved(convolved(MAPS, block.branch.conv1).relu(), block.branch.conv2, groups=4).relu()
    expected = convolved(branch, block.branch.conv3) + convolved(MAPS, block.shortcut)
    assert torch.allclose(block(MAPS), expected.relu(), atol=1e-5)
    with pytest.raises(ShapeError, match=r"must be divisible by groups \(=3\)"):
        ResNeXtBottleneck(8, 8, groups=3)


@pytest.mark.parametrize("active", ["branch", "both", "none"])
@torch.no_grad()
def test_a_pre_activation_block_leaves_its_sum_alone(active):
    block = randomised(PreActivationBasicBlock(8, 12, stride=2, active=active))
    start = MAPS if active == "none" else normalised(MAPS, block.before.norm).relu()
    middle = F.conv2d(start, block.branch.conv1.weight, stride=2, padding=1)
    middle = normalised(middle, block.branch.before2.norm).relu()
    kept = start if active == "both" else MAPS
    expected = F.conv2d(middle, block.branch.conv2.weight, padding=1) + F.conv2d(kept, block.shortcut.weight, stride=2)
    assert torch.allclose(block(MAPS), expected, atol=1e-4)
    assert block(MAPS).min() < 0


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_a_pre_activation_bottleneck_strides_where_it_is_told(first):
    block = randomised(PreActivationBottleneck(8, 4, stride=2, stride_in_first=first))
    maps = normalised(MAPS, block.before.norm).relu()
    maps = F.conv2d(maps, block.branch.conv1.weight, stride=2 if first else 1)
    maps = normalised(maps, block.branch.before2.norm).relu()
    maps = F.conv2d(maps, block.branch.conv2.weight, stride=1 if first else 2, padding=1)
    maps = F.conv2d(normalised(maps, block.branch.before3.norm).relu(), block.branch.conv3.weight)
    assert torch.allclose(block(MAPS), maps + block.shortcut(MAPS), atol=1e-4)
    assert block.out_channels == 16


def test_identities_add_up_through_pre_activation_blocks():
    blocks = Stage(PreActivationBottleneck, 8, 2, 5)
    with torch.no_grad():
        for block in blocks:
            block.branch.conv3.weight.zero_()
    assert torch.equal(blocks(MAPS), MAPS)


def test_an_unknown_place_of_the_activation_is_refused():
    with pytest.raises(UsageError, match=r"active \(='twice'\) must be one of branch, both, none"):
        PreActivation([nn.Conv2d(8, 8, 1)], nn.Identity(), 8, active="twice")


@pytest.mark.parametrize("block", [BasicBlock, partial(Bottleneck, stride_in_first=False)])
def test_a_block_whose_last_gain_is_zero_is_the_rectified_identity(block):
    stage = Stage(block, 8, 8 if block is BasicBlock else 2, 3)
    zero_last_gammas(stage)
    stage = stage.to_empty(device="cpu")
    for module in stage.modules():
        getattr(module, "reset_parameters", lambda: None)()
    assert torch.equal(stage.eval()(MAPS), MAPS.relu())
    assert [m.weight.sum().item() > 0 for m in stage[0].branch.modules() if isinstance(m, nn.BatchNorm2d)][-2:] == [
        True,
        False,
    ]


def test_a_stage_strides_once_and_threads_the_channels():
    stage = Stage(Bottleneck, 8, 4, 3, stride=2)
    assert stage(MAPS).shape == (2, 16, 3, 3)
    assert (len(stage), stage.out_channels) == (3, 16)
    assert [isinstance(block.shortcut, nn.Identity) for block in stage] == [False, True, True]
    other = Stage(PlainBlock, 8, 4, 2, first=BasicBlock)
    assert [type(block) for block in other] == [BasicBlock, PlainBlock]


def test_an_impossible_stage_is_refused():
    with pytest.raises(ShapeError, match=r"depth \(=0\) of a stage must be 1 or more"):
        Stage(PlainBlock, 8, 8, 0)
    with pytest.raises(ShapeError, match="Identity does not say how many channels leave it: give it out_channels"):
        Stage(lambda channels, width, *, stride=1: nn.Identity(), 8, 8, 1)  # noqa: ARG005


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_squeeze_and_excitation_scales_each_channel_by_a_gate_of_the_whole_image(bias):
    layer = SqueezeExcitation(8, 3, activation=nn.SiLU, gate=nn.Hardsigmoid, bias=bias)
    means = MAPS.mean(dim=(2, 3))
    hidden = F.silu(F.linear(means, layer.reduce.weight.flatten(1), layer.reduce.bias))
    scales = F.hardsigmoid(F.linear(hidden, layer.expand.weight.flatten(1), layer.expand.bias))
    assert torch.allclose(layer(MAPS), MAPS * scales[:, :, None, None], atol=1e-6)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 8 * 3 + (11 if bias else 0)


def test_an_excitation_without_units_is_refused():
    with pytest.raises(ShapeError, match=r"hidden \(=0\) of a squeeze-and-excitation must be 1 or more"):
        SqueezeExcitation(8, 0)
