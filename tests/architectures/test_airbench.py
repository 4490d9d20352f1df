"""The speed run's network: a start that passes maps on, shifts without gains, and a ninth before the last layer."""

import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.layers.batch_norm import ShiftBatchNorm2d


def test_convolutions_start_by_passing_their_maps_on():
    network = build("cifar_airbench94", seed=0)
    for name in ("group1", "group2", "group3"):
        for convolution in (m for m in network.features.get_submodule(name) if isinstance(m, nn.Conv2d)):
            maps = torch.randn(1, convolution.in_channels, 4, 4)
            assert torch.equal(convolution(maps)[:, : convolution.in_channels], maps)
    assert network.features.whiten[0].weight.shape == (24, 3, 2, 2)


def test_a_fresh_last_layer_finds_the_ninth_in_its_place():
    network = build("cifar_airbench94", num_classes=4, image_size=16, seed=0).eval()
    network.reset_head(6)
    assert network.head.fc.bias is None
    maps = network.features(torch.randn(2, 3, 16, 16))
    expected = maps.amax((2, 3)) @ network.head.fc.weight.T / 9
    torch.testing.assert_close(network.head(maps), expected)


def test_the_normalisation_has_no_gain_to_learn_or_to_keep():
    norm = ShiftBatchNorm2d(3, momentum=0.4)
    assert [name for name, _ in norm.named_parameters()] == ["bias"]
    assert "weight" not in norm.state_dict()
    maps = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(norm(maps), nn.BatchNorm2d(3)(maps))
    torch.testing.assert_close(norm.running_mean, 0.4 * maps.mean((0, 2, 3)))
