"""A deeper VGG from a trained shallow one, as the paper starts it."""

from __future__ import annotations

import pytest
import torch

import fovea
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError, UsageError
from fovea.transfer.deepening import DEEPER, deepens

CLASSES = ("a", "b", "c")
FOUR = ("conv1.conv1", "conv2.conv1", "conv3.conv1", "conv3.conv2")


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    network = fovea.create("vgg11", num_classes=3, image_size=32, ratio=64, seed=1)
    spec = Preprocessing(image_size=32, resize=32, in_channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    made = Bundle(network=network, architecture=describe(network), classes=CLASSES, preprocessing=spec)
    return network.state_dict(), made.save(tmp_path_factory.mktemp("deepening") / "vgg11")


def test_its_first_four_convolutions_and_its_full_layers_are_taken_the_rest_is_drawn(shallow, caplog):
    given, folder = shallow
    made = fovea.create("vgg16", weights=folder, seed=2)
    fresh = fovea.create("vgg16", num_classes=3, image_size=32, ratio=64, seed=2).state_dict()
    taken = {f"features.{place}.{part}" for place in FOUR for part in ("weight", "bias")}
    taken |= {key for key in given if key.startswith("head.")}
    for key, tensor in made.state_dict().items():
        assert torch.equal(tensor, given[key] if key in taken else fresh[key]), key
    assert "vgg16 takes the first four convolutions and the full layers, 14 tensors; 18 are drawn" in caplog.text
    assert made.origin["network"] == "vgg11"


def test_other_classes_get_a_fresh_output_layer(shallow):
    given, folder = shallow
    made = fovea.create("vgg13", weights=folder, num_classes=5, seed=2).state_dict()
    assert made["head.output.weight"].shape[0] == 5
    assert torch.equal(made["head.fc7.0.weight"], given["head.fc7.0.weight"])


def test_no_other_pair_of_networks_is_meant(shallow):
    _, folder = shallow
    assert all(deepens("vgg11", name) for name in DEEPER)
    assert not deepens("vgg13", "vgg16")
    with pytest.raises(ModelError, match="holds vgg11, not vgg16_bn"):
        fovea.create("vgg16_bn", weights=folder)
    with pytest.raises(UsageError, match="knows its options; leave ratio away"):
        fovea.create("vgg16", weights=folder, ratio=2)
