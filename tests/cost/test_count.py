"""The one counter, against arithmetic by hand."""

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.errors import ShapeError


def test_convolutions_and_linear_layers_are_counted_without_biases():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1), nn.Flatten(), nn.Linear(8 * 16, 5))
    assert multiply_adds(network, in_channels=3, image_size=8) == 8 * 3 * 9 * 16 + 8 * 16 * 5


def test_grouped_convolutions_count_their_groups():
    network = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    assert multiply_adds(network, in_channels=8, image_size=4) == 8 * 9 * 16


def test_a_layer_that_counts_itself_is_believed():
    assert multiply_adds(build("lenet5_1998"), in_channels=1, image_size=32) == 325_680


def test_shared_parameters_count_once_and_frozen_ones_not():
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, shared, nn.Linear(4, 2))
    network[2].weight.requires_grad_(False)
    assert parameters(network) == 16 + 4 + 2


def test_shapes_of_any_module_are_those_of_its_children():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert stage_shapes(network, in_channels=3, image_size=8) == {"0": (8, 6, 6), "1": (8, 1, 1), "2": (8,)}


def test_counting_changes_nothing():
    network = build("lenet5", seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    stage_shapes(network, in_channels=1, image_size=32)
    assert multiply_adds(network, in_channels=1, image_size=32) == 416_520
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_an_input_that_does_not_fit_leaves_no_hooks_behind():
    network = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(ShapeError, match=r"0 \(Conv2d\) does not take what came in \(1×1×8×8\)"):
        stage_shapes(network, in_channels=1, image_size=8)
    assert not any(module._forward_hooks for module in network.modules())
