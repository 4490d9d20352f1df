"""One contract that every network of the catalogue keeps."""

import io

import pytest
import safetensors.torch
import torch

from fovea.architectures.catalogue import architecture_of, build, facts, list_architectures
from fovea.errors import FoveaError, ShapeError, UsageError

NAMES = list_architectures()


def images_for(network, count=2):
    known = architecture_of(network)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, known.in_channels, known.image_size, known.image_size, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_images_become_logits_through_named_features_and_head(name):
    network = build(name, seed=0).eval()
    images = images_for(network)
    logits = network(images)
    assert logits.shape == (2, facts(name).num_classes)
    assert torch.equal(network.head(network.features(images)), logits)
    assert network.num_classes == facts(name).num_classes
    assert network.num_features >= 1


@pytest.mark.parametrize("name", NAMES)
def test_stage_outputs_are_those_of_the_features(name):
    network = build(name, seed=0).eval()
    images = images_for(network)
    names = list(facts(name).stages)
    outputs = network.stage_outputs(images, names)
    assert list(outputs) == names
    assert {n: list(o.shape[1:]) for n, o in outputs.items()} == facts(name).stages
    assert torch.equal(outputs[names[-1]], network.features(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_every_parameter(name):
    network = build(name, seed=0)
    loss = torch.nn.functional.cross_entropy(network(images_for(network, 4)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_images_do_not_mix(name):
    network = build(name, seed=0).eval()
    images = images_for(network, 3)
    first = network(images)
    assert torch.equal(first, network(images))
    assert torch.allclose(network(images[1:2]), first[1:2], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_other_classes_and_channels_are_taken(name):
    network = build(name, num_classes=3, in_channels=2, seed=0)
    assert network(images_for(network)).shape == (2, 3)
    network.reset_head(6)
    assert network(images_for(network)).shape == (2, 6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_saved_are_weights_loaded(name):
    first, second = build(name, seed=0), build(name, seed=1)
    images = images_for(first)
    assert not torch.equal(first(images), second(images))
    second.load_state_dict(safetensors.torch.load(safetensors.torch.save(first.state_dict())))
    assert torch.equal(first.eval()(images), second.eval()(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_the_weights_and_leaves_the_generator_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second, other = build(name, seed=7), build(name, seed=7), build(name, seed=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert any(
        not torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_on_meta_and_pickles(name):
    with torch.device("meta"):
        network = build(name)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    stored = io.BytesIO()
    torch.save(build(name, seed=0), stored)
    assert stored.tell() > 0


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


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_image_that_is_named_works(name):
    for size in range(1, facts(name).image_size + 1):
        try:
            network = build(name, image_size=size, seed=0)
        except FoveaError:
            continue
        assert network(images_for(network)).shape == (2, facts(name).num_classes)


def test_patterns_find_names():
    assert list_architectures("lenet5_*") == ["lenet5_book", "lenet5_1998"]
    assert list_architectures("nothing*") == []
