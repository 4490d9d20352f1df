"""VGG against torchvision's and timm's: with their weights carried over, the same logits, losses and gradients."""

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.transfer.keys import theirs, vgg

TABLES = {"torchvision": vgg.TORCHVISION, "timm": vgg.TIMM}
EACH = [(library, name) for library in TABLES for name in TABLES[library]]


def peer(library, name, **options):
    pytest.importorskip(library)
    if library == "timm":
        import timm

        return timm.create_model(vgg.PEERS[library][name], pretrained=False, **options)
    import torchvision

    return getattr(torchvision.models, vgg.PEERS[library][name])(weights=None, **options)


def carried(keys, library, name):
    """Our keys by theirs; every tensor accounted for both ways."""
    return {theirs(key, TABLES[library][name]): key for key in keys if "num_batches_tracked" not in key}


@pytest.mark.parametrize(("library", "name"), EACH)
def test_every_tensor_has_its_name_and_size_there(library, name):
    with torch.device("meta"):
        ours, other = build(name).state_dict(), peer(library, name).state_dict()
    names = carried(ours, library, name)
    assert set(names) == {key for key in other if "num_batches_tracked" not in key}
    assert len(names) == len(set(names.values())) == sum("num_batches_tracked" not in key for key in ours)
    assert all(other[their].numel() == ours[our].numel() for their, our in names.items())


@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "vgg11"), ("torchvision", "vgg11_bn"), ("timm", "vgg11_bn")]
)
def test_logits_losses_and_gradients_are_the_same(library, name):
    torch.manual_seed(0)
    with torch.device("meta"):  # 130 million weights are drawn once, and shared
        other, ours = peer(library, name, num_classes=10), build(name, num_classes=10)
    other.to_empty(device="cpu")
    for tensor in other.state_dict().values():
        if tensor.ndim > 1:
            tensor.normal_(std=(2 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)  # normalisation, its statistics, biases
        else:
            tensor.zero_()
    sizes, drawn = ours.state_dict(), other.state_dict()
    carrying = {our: drawn[their].reshape(sizes[our].shape) for their, our in carried(sizes, library, name).items()}
    statistics = {key: tensor.clone() for key, tensor in carrying.items() if ".running_" in key}
    counters = {key: torch.tensor(0) for key in sizes if key not in carrying}
    ours.load_state_dict(carrying | statistics | counters, assign=True)
    images, labels = torch.randn(2, 3, 224, 224), torch.tensor([3, 7])

    with torch.inference_mode():
        expected, found = other.eval()(images), ours.eval()(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    for module in (*other.modules(), *ours.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    losses = [F.cross_entropy(network.train()(images), labels) for network in (other, ours)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    gradients = dict(other.named_parameters())
    for key, parameter in ours.named_parameters():
        expected = gradients[theirs(key, TABLES[library][name])].grad.reshape(parameter.shape)
        scale = expected.abs().max()
        if name.endswith("_bn") and ".conv" in key and key.endswith("bias"):
            # A bias before a normalisation has no effect; its gradient is rounding alone, of the weights' size.
            scale = gradients[theirs(key.replace("bias", "weight"), TABLES[library][name])].grad.abs().max()
        assert (parameter.grad - expected).abs().max() <= 1e-4 * scale, key
