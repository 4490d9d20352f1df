"""AlexNet in one tower against torchvision's, with the weights carried over by the table of keys."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from fovea.architectures.catalogue import build
from fovea.transfer.keys import alexnet, theirs

CLASSES, SIZE = 10, 96


@pytest.fixture(scope="module")
def pair():
    """Ours and theirs with the same weights, and images; theirs are far from zero, so that a slip would show."""
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    peer = models.alexnet(weights=None, num_classes=CLASSES)
    ours = build("alexnet_one_tower", num_classes=CLASSES, image_size=SIZE, seed=1)
    rules, found = alexnet.TORCHVISION["alexnet_one_tower"], peer.state_dict()
    named = {key: theirs(key, rules) for key in ours.state_dict()}
    assert sorted(named.values()) == sorted(found)  # every tensor of theirs is used, each once
    ours.load_state_dict({key: found[name] for key, name in named.items()})
    return ours, peer, named, torch.randn(4, 3, SIZE, SIZE)


def test_the_table_of_keys_names_our_networks_and_theirs():
    assert alexnet.PEERS["torchvision"] == {"alexnet_one_tower": "alexnet"}
    assert set(alexnet.TORCHVISION) == set(alexnet.PEERS["torchvision"])
    assert set(alexnet.TIMM) == set(alexnet.PEERS["timm"]) == set()


def test_logits_are_equal(pair):
    ours, peer, _, images = pair
    with torch.inference_mode():
        mine, other = ours.eval()(images), peer.eval()(images)
    assert (mine - other).abs().max() <= 1e-5 * other.abs().max()


def test_loss_and_gradients_are_equal_in_training(pair):
    ours, peer, named, images = pair
    losses = []
    for network in pair[:2]:
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        loss = cross_entropy(network(images), torch.arange(4))
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    other = {name: parameter.grad for name, parameter in peer.named_parameters()}
    for key, parameter in ours.named_parameters():
        expected = other[named[key]]
        assert (parameter.grad - expected).abs().max() <= 1e-4 * expected.abs().max(), key
