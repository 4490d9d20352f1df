"""GoogLeNet and Inception v3 with a peer's weights give the peer's numbers."""

import warnings

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.transfer.keys import googlenet, inception_v3, theirs


def torchvision_network(name):
    peers = pytest.importorskip("torchvision.models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what its weights will start from
        return getattr(peers, name)(weights=None, aux_logits=True, init_weights=False)


def timm_network(name):
    return pytest.importorskip("timm").create_model(
        name, pretrained=False
    )  # its auxiliary classifier runs in evaluation too


CASES = [
    ("googlenet_torchvision", 64, torchvision_network, "googlenet", googlenet.TORCHVISION),
    ("inception_v3", 299, torchvision_network, "inception_v3", inception_v3.TORCHVISION),
    ("inception_v3", 299, timm_network, "inception_v3", inception_v3.TIMM),
]
IDS = ["googlenet of torchvision", "inception_v3 of torchvision", "inception_v3 of timm"]


def randomised(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.dim() > 1:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
            elif name.endswith(("running_var", "bn.weight")):
                tensor.uniform_(0.7, 1.3, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.1, generator=generator)
    return network


def pair(name, make, their_name, tables):
    peer = randomised(make(their_name))
    foreign = peer.state_dict()
    ours = build(name, auxiliary=any(key.lower().startswith("aux") for key in foreign), seed=0)
    keys = {key: theirs(key, tables[name]) for key in ours.state_dict()}
    assert sorted(keys.values()) == sorted(foreign), "every tensor of theirs is one of ours, and no other"
    ours.load_state_dict({key: foreign[their_key] for key, their_key in keys.items()})
    return ours, peer, keys


def images_of(size, count):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def apart(first, second):
    return ((first - second).abs().max() / second.abs().max()).item()


@pytest.mark.parametrize(("name", "size", "make", "their_name", "tables"), CASES, ids=IDS)
def test_their_weights_give_their_logits(name, size, make, their_name, tables):
    ours, peer, _ = pair(name, make, their_name, tables)
    images = images_of(min(size, 128), 2)
    with torch.no_grad():
        expected = peer.eval()(images)
        assert apart(ours.eval()(images), expected[0] if isinstance(expected, tuple) else expected) <= 1e-5


@pytest.mark.parametrize(("name", "size", "make", "their_name", "tables"), CASES[:2], ids=IDS[:2])
def test_training_gives_their_loss_and_gradients_with_the_auxiliary_classifiers(name, size, make, their_name, tables):
    ours, peer, keys = pair(name, make, their_name, tables)
    for network in (ours, peer):
        network.double().train()  # so that what differs is the network, not the order of sums
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    images, labels = images_of(size, 2).double(), torch.tensor([3, 5])
    logits, auxiliary = ours.forward_with_auxiliary(images)
    expected = peer(images)
    their_logits = [expected[0], *reversed(expected[1:])]
    losses = []
    for outputs in ([logits, *auxiliary.values()], their_logits):
        loss = sum(weight * F.cross_entropy(each, labels) for weight, each in zip((1, 0.3, 0.3), outputs, strict=False))
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    foreign = dict(peer.named_parameters())
    assert max(apart(p.grad, foreign[keys[key]].grad) for key, p in ours.named_parameters()) <= 1e-4
