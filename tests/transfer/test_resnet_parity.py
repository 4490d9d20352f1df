"""Residual networks against torchvision's and timm's, with the same weights in both."""

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.errors import ModelError
from fovea.transfer.keys import theirs
from fovea.transfer.keys.resnet import PEERS, TIMM, TORCHVISION

RULES = {"torchvision": TORCHVISION, "timm": TIMM}
ALL = [(library, name) for library, peers in PEERS.items() for name in peers]
RUN = [
    ("torchvision", "resnet18"),
    ("torchvision", "resnet50_v1_5"),
    ("timm", "resnet34"),
    ("timm", "se_resnet50"),
    ("timm", "se_resnext50_32x4d"),
]


def peer(library, name):
    if library == "torchvision":
        return pytest.importorskip("torchvision").models.get_model(PEERS[library][name], weights=None, num_classes=10)
    timm = pytest.importorskip("timm")  # whose legacy networks drop features, unless told not to
    return timm.create_model(PEERS[library][name], pretrained=False, num_classes=10, drop_rate=0.0)


def carried_over(library, name, state):
    """Their tensors under our keys; every tensor is used once."""
    with torch.device("meta"):
        keys = list(build(name, num_classes=10).state_dict())
    names = {key: theirs(key, RULES[library][name]) for key in keys}
    assert sorted(names.values()) == sorted(state)
    return {key: state[name] for key, name in names.items()}


def pair(library, name):
    """Ours and theirs with equal random weights and statistics."""
    torch.manual_seed(0)
    other = peer(library, name)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(std=0.1)
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    ours = build(name, num_classes=10, image_size=64, seed=0)
    ours.load_state_dict(carried_over(library, name, other.state_dict()))
    return ours, other


def relative(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


@pytest.mark.parametrize(("library", "name"), ALL)
def test_every_tensor_has_its_counterpart_of_the_same_shape(library, name):
    with torch.device("meta"):
        other, ours = peer(library, name).state_dict(), build(name, num_classes=10).state_dict()
    carried = carried_over(library, name, other)
    assert {key: tensor.shape for key, tensor in carried.items()} == {key: t.shape for key, t in ours.items()}


@pytest.mark.parametrize(("library", "name"), RUN)
def test_logits_and_gradients_are_theirs(library, name):
    ours, other = pair(library, name)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert relative(ours.eval()(images), other.eval()(images)) <= 1e-5
    losses = []
    for network in (ours.train(), other.train()):
        losses.append(nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])))
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    gradients = carried_over(library, name, {key: t.grad for key, t in other.state_dict(keep_vars=True).items()})
    for key, parameter in ours.named_parameters():
        assert relative(parameter.grad, gradients[key]) <= 1e-4, key


def test_a_key_without_a_rule_is_named():
    with pytest.raises(ModelError, match=r"no rule gives features\.conv9_x\.0"):
        theirs("features.conv9_x.0.branch.conv1.conv.weight", TORCHVISION["resnet18"])
