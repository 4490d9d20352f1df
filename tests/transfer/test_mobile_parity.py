"""The mobile networks against torchvision's and timm's: their weights carried over, the same logits and gradients."""

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.transfer.keys import efficientnet, mnasnet, mobilenet_v1, mobilenet_v2, theirs

FAMILIES = (mobilenet_v1, mobilenet_v2, mnasnet, efficientnet)
PLAIN = [(f, library, ours, name) for f in FAMILIES for library in f.PEERS for ours, name in f.PEERS[library].items()]
# The smallest and the largest of timm's networks that pad as TensorFlow does; their keys are the same.
SAME = [(efficientnet, "timm", name, f"tf_{name}") for name in ("efficientnet_b0", "efficientnet_b7")]
# One network for each distinct way through the code.
COMPARED = [
    each
    for each in PLAIN + SAME
    if each[3]
    in {
        "mobilenetv1_100",
        "mobilenet_v2",
        "mobilenetv2_035",
        "mnasnet1_0",
        "semnasnet_100",
        "efficientnet_b0",
        "tf_efficientnet_b0",
    }
]


def label(value):
    return value if isinstance(value, str) else value.__name__.rpartition(".")[-1]


def rules(family, library, ours):
    return (family.TORCHVISION if library == "torchvision" else family.TIMM)[ours]


def options(family, library, name):
    """What makes ours theirs, with every draw left out."""
    drawn = {"dropout": 0.0} | ({"survival": 1.0} if family is efficientnet else {})
    return family.OPTIONS[library][name] | drawn


def peer(library, name, classes=1000):
    pytest.importorskip(library)
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, num_classes=classes)
    import torchvision

    network = getattr(torchvision.models, name)(weights=None, num_classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torchvision.ops.StochasticDepth):
            module.p = 0.0
    return network


def counted(state):
    return [key for key in state if "num_batches_tracked" not in key]


@pytest.mark.parametrize(("family", "library", "ours", "name"), PLAIN + SAME, ids=label)
def test_every_tensor_has_its_name_and_shape_there(family, library, ours, name):
    with torch.device("meta"):
        own, other = build(ours, **family.OPTIONS[library][name]), peer(library, name)
    states = own.state_dict(), other.state_dict()
    carried = {key: theirs(key, rules(family, library, ours)) for key in states[0]}
    assert len(set(carried.values())) == len(carried)
    assert set(carried.values()) == set(states[1])
    assert all(states[1][carried[key]].shape == states[0][key].shape for key in states[0])
    # Normalisation's constants and the padding are theirs too.
    norms = [[m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)] for net in (own, other)]
    for ours_of, their in zip(*norms, strict=True):
        assert (ours_of.eps, ours_of.momentum) == pytest.approx((their.eps, their.momentum))
    same = [any("Same" in type(m).__name__ for m in n.modules()) for n in (own, other)]
    assert same[0] == same[1]


@pytest.mark.parametrize(("family", "library", "ours", "name"), COMPARED, ids=label)
def test_logits_losses_and_gradients_are_the_same(family, library, ours, name):
    torch.manual_seed(0)
    other = peer(library, name, classes=10)
    own = build(ours, num_classes=10, image_size=62, seed=1, **options(family, library, name))
    for key, tensor in other.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if not key.endswith("mean") else tensor.normal_(std=0.1)
    state = own.state_dict()
    for key in counted(state):
        state[key].copy_(other.state_dict()[theirs(key, rules(family, library, ours))])
    images, labels = torch.randn(4, 3, 62, 62), torch.tensor([3, 7, 0, 1])  # sides even, then odd

    with torch.inference_mode():
        expected, found = other.eval()(images), own.eval()(images)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    losses = [F.cross_entropy(network.train()(images), labels) for network in (other, own)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    gradients = {key: parameter.grad for key, parameter in other.named_parameters()}
    for key, parameter in own.named_parameters():
        expected = gradients[theirs(key, rules(family, library, ours))]
        assert (parameter.grad - expected).abs().max() <= 1e-4 * expected.abs().max(), key


def test_the_padding_is_what_tells_the_two_apart():
    settings = {"num_classes": 10, "image_size": 62, "seed": 1}
    symmetric, same = build("mobilenet_v2", **settings), build("mobilenet_v2", padding="same", **settings)
    images = torch.randn(1, 3, 62, 62, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(symmetric.eval()(images), same.eval()(images), rtol=1e-3)
