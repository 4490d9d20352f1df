"""DenseNet against torchvision's and timm's: with their weights carried over, the same logits, losses and gradients."""

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.transfer.keys import densenet, theirs

TABLES = {"torchvision": densenet.TORCHVISION, "timm": densenet.TIMM}
EACH = [(library, name) for library in TABLES for name in TABLES[library]]


def peer(library, name, **options):
    pytest.importorskip(library)
    if library == "timm":
        import timm

        return timm.create_model(densenet.PEERS[library][name], pretrained=False, **options)
    import torchvision

    return getattr(torchvision.models, densenet.PEERS[library][name])(weights=None, **options)


def carried(keys, library, name):
    """Our keys by theirs, without the counters of batches."""
    return {theirs(key, TABLES[library][name]): key for key in keys if "num_batches_tracked" not in key}


@pytest.mark.parametrize(("library", "name"), EACH)
def test_every_tensor_has_its_name_and_shape_there(library, name):
    with torch.device("meta"):
        ours, other = build(name).state_dict(), peer(library, name).state_dict()
    names = carried(ours, library, name)
    assert set(names) == {key for key in other if "num_batches_tracked" not in key}
    assert len(names) == len(set(names.values())) == sum("num_batches_tracked" not in key for key in ours)
    assert all(other[their].shape == ours[our].shape for their, our in names.items())


@pytest.mark.parametrize("library", TABLES)
def test_logits_losses_and_gradients_are_the_same(library):
    name = "densenet121"
    torch.manual_seed(0)
    other, ours = peer(library, name, num_classes=10), build(name, num_classes=10, image_size=64, seed=1)
    for tensor in other.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)  # normalisation, its statistics, the bias
    own = ours.state_dict()
    for their, our in carried(own, library, name).items():
        own[our].copy_(other.state_dict()[their])
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([3, 7, 0, 1])

    with torch.inference_mode():
        expected, found = other.eval()(images), ours.eval()(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    losses = [F.cross_entropy(network.train()(images), labels) for network in (other, ours)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    gradients = dict(other.named_parameters())
    for key, parameter in ours.named_parameters():
        expected = gradients[theirs(key, TABLES[library][name])].grad
        assert (parameter.grad - expected).abs().max() <= 1e-4 * expected.abs().max(), key
