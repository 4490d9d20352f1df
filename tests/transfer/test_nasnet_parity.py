"""NASNet-A against timm's, mended: with its weights carried over, the same logits, losses and gradients."""

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.architectures.nasnet import PLANS, cell_network
from fovea.layers.same_padding import SameAvgPool2d
from fovea.transfer.keys import nasnet, theirs

RULES = nasnet.TIMM["nasnet_a_large"]
FILTERS, STEM = 8, 12  # the large network's cells, narrow, but wide enough to differ from each other
SIZE = 96  # even at the reductions, where SAME padding is not symmetric


def carried(keys):
    """Our keys by theirs, without the counters of batches."""
    return {theirs(key, RULES): key for key in keys if "num_batches_tracked" not in key}


def test_every_tensor_has_its_name_and_shape_there():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours = build("nasnet_a_large").state_dict()
        other = timm.create_model("nasnetalarge", pretrained=False).state_dict()
    names = carried(ours)
    assert set(names) == {key for key in other if "num_batches_tracked" not in key}
    assert len(names) == len(set(names.values())) == sum("num_batches_tracked" not in key for key in ours)
    assert all(other[their].shape == ours[our].shape for their, our in names.items())


def mended(network):
    """Theirs, but with strided mean pooling over the pixels inside the image alone, as TensorFlow has it."""
    from timm.layers.pool2d_same import AvgPool2dSame

    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, AvgPool2dSame):
                setattr(module, name, SameAvgPool2d(child.kernel_size[0], stride=child.stride[0]))
    return network


def test_logits_losses_and_gradients_are_the_same_once_their_mean_pooling_is_mended():
    pytest.importorskip("timm")
    from timm.models.nasnet import NASNetALarge

    torch.manual_seed(0)
    other = NASNetALarge(num_classes=10, stem_size=STEM, num_features=24 * FILTERS)
    plan = PLANS["large"]._replace(filters=FILTERS, stem_channels=STEM, dropout=0.0)
    ours = cell_network(plan, num_classes=10, in_channels=3, image_size=SIZE, auxiliary=False)
    weights, own = other.state_dict(), ours.state_dict()
    for their, our in carried(own).items():
        if weights[their].ndim == 1:
            weights[their].uniform_(0.5, 1.5)  # normalisation, its statistics, the bias
        own[our].copy_(weights[their])
    images, labels = torch.randn(4, 3, SIZE, SIZE), torch.tensor([3, 7, 0, 1])

    with torch.inference_mode():
        unmended = other.eval()(images)
        expected, found = mended(other).eval()(images), ours.eval()(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - unmended).abs().max() > 1e-4 * expected.abs().max()  # the day this fails it is a peer

    losses = [F.cross_entropy(network.train()(images), labels) for network in (other, ours)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    gradients = dict(other.named_parameters())
    largest = max(parameter.grad.abs().max() for parameter in gradients.values())
    for key, parameter in ours.named_parameters():
        expected = gradients[theirs(key, RULES)].grad
        assert (parameter.grad - expected).abs().max() <= 1e-4 * max(expected.abs().max(), 1e-3 * largest), key
