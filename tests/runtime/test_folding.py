"""Folded networks give the same logits, are folded where they can be, and are as before afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fovea
from fovea.runtime.folding import foldable, folded

ALL_FOLD = [
    ("resnet18", 64),
    ("resnet50", 64),
    ("mobilenet_v2", 96),
    ("efficientnet_b0", 96),
    ("cifar_resnet20", 32),
    ("inception_v3", 96),
    ("vgg11_bn", 224),
]


def with_statistics(name, size):
    """A network whose batch normalisations scale and shift by something."""
    network = fovea.create(name, seed=0).eval()
    random = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=random) * (high - low) + low)
    return network, torch.rand(2, 3, size, size, generator=random)


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("name", "size"), ALL_FOLD)
def test_every_normalisation_behind_a_convolution_is_folded(name, size):
    network, images = with_statistics(name, size)
    with torch.inference_mode():
        expected = network(images)
        with folded(network, images[:1]) as count:
            assert count == norms(network)
            found = network(images)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert torch.equal(network(images), expected)


@pytest.mark.parametrize("name", ["preact_resnet50", "densenet121"])
def test_what_is_read_twice_stays(name):
    network, images = with_statistics(name, 64)
    with torch.inference_mode():
        expected = network(images)
        with folded(network, images[:1]) as count:
            assert 0 < count < norms(network)
            found = network(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.twice, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.last, self.batch = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        made = self.one(x)
        x = self.norm(made) + made.mean()
        x = self.other(self.twice(self.twice(x)))
        return self.batch(self.last(x)).mean(dim=(2, 3))


def test_nothing_is_folded_that_changes_the_function():
    assert foldable(Odd().eval(), torch.rand(2, 3, 4, 4)) == []


def test_state_modes_and_hooks_are_as_before():
    network, images = with_statistics("resnet18", 64)
    state = {name: (tensor, tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()}
    with pytest.raises(KeyError, match="within"), folded(network, images):
        raise KeyError("within")
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(state)
    assert all(after[name] is kept and torch.equal(kept, copy) for name, (kept, copy) in state.items())
    assert not any(module._forward_hooks or "forward" in module.__dict__ for module in network.modules())


def test_a_network_in_training_is_left_alone():
    network, images = with_statistics("resnet18", 64)
    with folded(network.train(), images) as count:
        assert count == 0
