"""Every network that torchvision or timm has exactly as ours: their weights carried over, the same numbers."""

import importlib
import pkgutil
import warnings

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.transfer import keys
from fovea.transfer.exporting import LIBRARIES, foreign_names
from fovea.transfer.keys import theirs
from fovea.transfer.mapping import mapped

FAMILIES = [importlib.import_module(f"fovea.transfer.keys.{m.name}") for m in pkgutil.iter_modules(keys.__path__)]
CASES = [
    pytest.param(family, library, ours, name, id=f"{library} {name}")
    for family in FAMILIES
    for library, networks in getattr(family, "PEERS", {}).items()
    if library in LIBRARIES  # Keras's are held against Keras in test_keras.py
    for ours, name in networks.items()
]
# Fully connected layers in front of the last one fix the size; elsewhere a small one is as good.
SIZES = {"vgg": 224, "alexnet": 224, "inception_v3": 299}


def family_name(family):
    return family.__name__.rpartition(".")[-1]


def peer(library, name):
    pytest.importorskip(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns of what its weights will start from
        if library == "timm":
            import timm

            return timm.create_model(name, pretrained=False, num_classes=10, drop_rate=0.0)
        import torchvision

        settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return getattr(torchvision.models, name)(weights=None, num_classes=10, **settings)


def pair(family, library, ours, name):
    """Theirs with drawn weights and statistics, ours with the same."""
    other = peer(library, name)
    state = other.state_dict()
    options = dict(getattr(family, "OPTIONS", {}).get(library, {}).get(name, {}))
    if family_name(family) == "efficientnet":
        options |= {"survival": 1.0}
    if any(key.lower().startswith("aux") for key in state):
        options |= {"auxiliary": True}
    size = SIZES.get(family_name(family), 64)
    own = build(ours, num_classes=10, image_size=size, seed=0, **options)
    drawn(state)
    rules = getattr(family, library.upper())[ours]
    carried = {key: theirs(key, rules) for key in own.state_dict() if "num_batches_tracked" not in key}
    assert set(carried.values()) == {key for key in state if "num_batches_tracked" not in key}
    for key, tensor in own.state_dict().items():
        if key in carried:
            tensor.copy_(state[carried[key]].reshape(tensor.shape))
    for module in (*own.modules(), *other.modules()):
        if type(module).__name__ in ("Dropout", "StochasticDepth") and hasattr(module, "p"):
            module.p = 0.0
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    return own, other, carried, images


def drawn(state):
    """Fill a state dict with numbers of a sensible size, the counts of training steps too."""
    generator = torch.Generator().manual_seed(0)
    for key, tensor in state.items():
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif key.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif tensor.is_floating_point():
            tensor.uniform_(0.7, 1.3, generator=generator)
        else:
            tensor.fill_(7)


def main_logits(output):
    return output if isinstance(output, torch.Tensor) else output[0]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "library", "ours", "name"), CASES)
def test_logits_losses_and_gradients_are_the_same(family, library, ours, name):
    own, other, carried, images = pair(family, library, ours, name)
    with torch.inference_mode():
        expected, found = main_logits(other.eval()(images)), own.eval()(images)
    assert torch.isfinite(expected).all()
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    # In double precision, so that what differs is the network and not the order of sums in normalisation.
    losses = [
        F.cross_entropy(main_logits(network.double().train()(images.double())), torch.tensor([3, 7]))
        for network in (other, own)
    ]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    gradients = {key: parameter.grad for key, parameter in other.named_parameters()}
    largest = max(gradient.abs().max().item() for gradient in gradients.values() if gradient is not None)
    for key, parameter in own.named_parameters():
        if key.startswith("auxiliary"):  # not part of this loss; test_inception_parity.py trains them too
            assert parameter.grad is gradients[carried[key]] is None
            continue
        expected = gradients[carried[key]].reshape(parameter.shape)
        # A bias in front of a normalisation has no gradient but rounding: hence the floor.
        assert (parameter.grad - expected).abs().max() <= max(1e-4 * expected.abs().max(), 1e-9 * largest), key


@pytest.mark.slow
@pytest.mark.parametrize(("family", "library", "ours", "name"), CASES)
def test_weights_come_in_give_the_same_logits_and_go_back_bit_for_bit(family, library, ours, name, record_property):
    other = peer(library, name).eval()
    state = other.state_dict()
    drawn(state)
    size = SIZES.get(family_name(family), 64)
    found = mapped(ours, state, sizes={"image_size": size}, options={}, source=name)
    own = found.network.eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, logits = main_logits(other(images)), own(images)
    difference = float((logits - expected).abs().max() / expected.abs().max())
    record_property("difference", difference)
    assert difference <= 1e-5

    back = foreign_names(own, library)
    fresh = peer(library, name)
    fresh.load_state_dict(back, strict=True)
    loaded = fresh.state_dict()
    assert list(loaded) == list(state)
    for key, tensor in state.items():
        assert back[key].shape == tensor.shape, key
        assert torch.equal(loaded[key], tensor), key


def test_the_table_of_peers_is_not_empty():
    assert len(CASES) > 50
