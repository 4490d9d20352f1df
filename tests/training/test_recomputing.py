"""Activation checkpointing: the same numbers to the bit, in less memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fovea
from fovea.training.recomputing import recomputing


def stepped(name, recomputed, **options):
    network = fovea.create(name, num_classes=3, image_size=32, seed=1, **options).train()
    torch.manual_seed(5)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    for _ in range(2):
        if recomputed:
            with recomputing(network):
                loss = F.cross_entropy(network(images), labels)
                loss.backward()
        else:
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
    return loss, network


@pytest.mark.parametrize(
    ("name", "options"),
    [("cifar_resnet20", {}), ("mobilenet_v2", {"dropout": 0.3}), ("efficientnet_b0", {})],
    ids=["batch norm", "dropout", "stochastic depth"],
)
def test_gradients_and_running_statistics_are_the_same_to_the_bit(name, options):
    plain, first = stepped(name, recomputed=False, **options)
    again, second = stepped(name, recomputed=True, **options)
    assert torch.equal(plain, again)
    for (key, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    for (key, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), key


def test_less_is_kept_for_the_backward_pass():
    def kept(recomputed):
        network, held = fovea.create("cifar_resnet20", seed=1).train(), []
        images = torch.randn(4, 3, 32, 32)
        pack = lambda tensor: held.append(tensor.nbytes) or tensor  # noqa: E731  # a hook
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            if recomputed:
                with recomputing(network):
                    network(images)
            else:
                network(images)
        return sum(held)

    assert kept(recomputed=True) < 0.3 * kept(recomputed=False)


def test_the_networks_own_forward_returns_afterwards():
    network = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    with recomputing(network):
        assert any("forward" in part.__dict__ for part in network.modules())
        network.eval()
        network(torch.zeros(1, 2))
    assert not any("forward" in part.__dict__ for part in network.modules())


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_recomputes_ends_in_the_same_weights(tmp_path, arrays, quick):
    def trained(where, **changes):
        network = fovea.create("cifar_resnet20", num_classes=3, in_channels=1, image_size=16, seed=2)
        fovea.train(
            network, arrays, quick.but(epochs=1, precision="float32", **changes), out=tmp_path / where, quiet=True
        )
        return (tmp_path / where / "bundle/weights.safetensors").read_bytes()

    assert trained("plain") == trained("again", recompute=True)
