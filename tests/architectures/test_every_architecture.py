"""One contract that every network of the catalogue keeps."""

import pickle

import pytest
import safetensors.torch
import torch

from fovea.architectures.catalogue import architecture_of, build, facts, list_architectures
from fovea.cost.recorder import Recorder
from fovea.cost.running import forward_on_meta, image_batch
from fovea.errors import ShapeError, UsageError
from fovea.layers.batch_norm import estimate_statistics

NAMES = list_architectures()
CLASSES = 10
LARGE = 40_000_000  # parameters before the head, above which only the slow tests allocate them
# Counted below: building all to know would take as long as many tests.
LARGE_NETWORKS = {
    *(f"{kind}resnet{depth}" for kind in ("", "se_", "preact_") for depth in (101, 152)),
    *("resnet101_v1_5", "resnet152_v1_5", "preact_resnet200", "efficientnet_b6", "efficientnet_b7"),
    *("nasnet_a_large", "amoebanet_a_f190", "amoebanet_a_f448"),
}
SMALLEST = {
    "lenet5_book": 28,
    "alexnet": 96,
    "alexnet_ungrouped": 96,
    "alexnet_one_tower": 64,
    "alexnet_book": 96,
    "zfnet": 64,
    "zfnet_wide": 64,
    "nin": 64,
    "inception_v3": 96,
    "cifar_airbench94": 16,
}  # pixels a side, of the networks that do not take 32, or 8 where they are for CIFAR


def small_size(name):
    """An image size that keeps these tests quick: about the smallest that the network takes."""
    return SMALLEST.get(name, 8 if name.startswith("cifar_") else 32)


def small(name, **sizes):
    return build(name, **{"num_classes": CLASSES, "image_size": small_size(name), "seed": 0} | sizes)


def by_weight(name):
    return pytest.param(name, marks=pytest.mark.slow) if name in LARGE_NETWORKS else name


def images_for(network, count=2):
    known = architecture_of(network)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, known.in_channels, known.image_size, known.image_size, generator=generator)


def with_statistics(network):
    """The network in evaluation mode, its normalisations having seen some images.

    With the mean 0 and variance 1 that they start from, each residual block doubles the variance: 1,202 layers
    overflow.
    """
    estimate_statistics(network, [images_for(network, 8)])
    return network.eval()


@pytest.mark.parametrize("name", [by_weight(name) for name in NAMES])
@torch.inference_mode()
def test_images_become_logits_through_named_stages_and_head_and_weights_carry_over(name):
    network = with_statistics(small(name))
    images = images_for(network)
    logits = network(images)
    assert logits.shape == (2, CLASSES)
    assert torch.isfinite(logits).all()
    assert network.num_classes == CLASSES
    assert network.num_features >= 1
    # The stages come by name, the head reads the last, and a second pass gives the same bits.
    names = list(facts(name).stages)
    outputs = network.stage_outputs(images, names)
    assert list(outputs) == names
    assert torch.equal(network.head(outputs[names[-1]]), logits)
    # Images do not mix: with another neighbour the second one's logits are the same bits.
    assert torch.equal(network(torch.stack([images[0].flip(-1), images[1]]))[1], logits[1])
    # Saved and loaded into a network that started elsewhere, the weights give the same bits.
    other = small(name, seed=1).eval()
    assert any(not torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(network.state_dict())))
    assert torch.equal(other(images), logits)


@pytest.mark.parametrize("name", [by_weight(name) for name in NAMES])
def test_a_gradient_reaches_every_parameter(name):
    network = small(name)
    torch.manual_seed(0)  # dropout, stochastic depth
    images, labels = images_for(network, 4), torch.tensor([0, 1, 2, 3])
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("name", NAMES)
def test_other_classes_and_channels_are_taken_and_it_pickles(name):
    with torch.device("meta"):
        network = small(name, num_classes=3, in_channels=2)
    images = image_batch(2, small_size(name), 2)
    assert forward_on_meta(network, images, Recorder()).shape == (2, 3)
    network.reset_head(6)
    assert forward_on_meta(network, images, Recorder()).shape == (2, 6)
    assert (sum(p.numel() for p in network.features.parameters()) > LARGE) == (name in LARGE_NETWORKS)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    again = pickle.loads(pickle.dumps(network))
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in network.named_parameters()]


@pytest.mark.parametrize("name", ["lenet5_1998", "alexnet_book", "cifar_resnet20", "mobilenet_v2_0_35", "cifar_nin"])
def test_a_seed_fixes_the_weights_and_leaves_the_generator_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = small(name, seed=7), small(name, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert all(torch.isfinite(t).all() for t in first.state_dict().values())


@pytest.mark.parametrize("argument", ["num_classes", "in_channels", "image_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_an_impossible_number_is_refused_with_its_value(argument, value):
    with pytest.raises(UsageError, match=rf"{argument} \(={value}\) must be a whole number, 1 or more"):
        build("lenet5", **{argument: value})


def test_an_unknown_name_offers_close_ones():
    with pytest.raises(UsageError, match=r"no network is called 'lenet-5'.*Did you mean lenet5"):
        build("lenet-5")


@pytest.mark.parametrize(("name", "size"), [("lenet5", 15), ("lenet5_book", 8), ("lenet5_1998", 28)])
def test_an_image_too_small_is_refused_with_the_size(name, size):
    with pytest.raises(ShapeError, match=rf"image_size \(={size}\)"):
        build(name, image_size=size)


def test_patterns_find_names():
    assert list_architectures("lenet5_*") == ["lenet5_book", "lenet5_1998"]
    assert list_architectures("nothing*") == []
