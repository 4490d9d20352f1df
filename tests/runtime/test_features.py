"""Features of the fast path are those of the plain network, whatever is folded, asked for and pooled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import fovea
from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.runtime.features import features
from fovea.runtime.model import Model

NETWORKS = {"lenet5": 32, "cifar_resnet20": 32, "cifar_preact_resnet110": 32, "mobilenet_v2": 64, "densenet121": 64}
IMAGES = 70  # enough for folding


def pixels(size: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, channels), np.uint8)


def trained(name: str, size: int) -> ConvNet:
    """A network whose batch normalisation does something."""
    network = build(name, num_classes=4, in_channels=3, image_size=size, seed=0)
    random = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    assert isinstance(network, ConvNet)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_is_what_the_plain_network_gives(name: str) -> None:
    network, raw = trained(name, NETWORKS[name]), pixels(NETWORKS[name])
    stages = [stage for stage, _ in network.features.named_children()]
    images = torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = network.stage_outputs(images, stages)
    whole = features(network, raw, stages=stages, pooled=False)
    means = features(network, raw, stages=stages)
    assert list(whole) == list(means) == stages
    for stage in stages:
        scale = expected[stage].abs().max()
        assert (torch.from_numpy(whole[stage]) - expected[stage]).abs().max() < 1e-4 * scale
        wanted = expected[stage].mean((2, 3)) if expected[stage].ndim == 4 else expected[stage]
        assert (torch.from_numpy(means[stage]) - wanted).abs().max() < 1e-4 * scale


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_layer_makes_the_logits_of_the_head_s_features(name: str) -> None:
    network, raw = trained(name, NETWORKS[name]), pixels(NETWORKS[name])
    found = torch.from_numpy(features(network, raw)["head"])
    images = torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        logits = network(images)
        assert found.shape == (IMAGES, network.num_features)
        assert (network.head[-1](found) - logits).abs().max() < 1e-4 * logits.abs().max()


def test_a_path_names_any_module_and_stages_and_modules_mix() -> None:
    network, raw = trained("cifar_resnet20", 32), pixels(32)
    stage = [name for name, _ in network.features.named_children()][1]
    found = features(network, raw, stages=["head", f"features.{stage}.0", stage], pooled=False)
    assert list(found) == ["head", f"features.{stage}.0", stage]
    assert np.allclose(found[stage], features(network, raw, stages=[stage], pooled=False)[stage], atol=1e-4)


def test_a_module_that_is_none_of_ours_is_asked_by_paths() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(5 * 36, 2))
    found = features(network, pixels(8), stages=["0", "head"])
    assert found["0"].shape == (IMAGES, 5)
    assert found["0"].min() < 0  # what the convolution gave, before the next layer changed it in place
    assert found["head"].shape == (IMAGES, 180)


def test_the_network_is_as_before() -> None:
    network = trained("cifar_resnet20", 32).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features(network, pixels(32))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_an_unknown_stage_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no stage is called conv9.*conv1"):
        features(trained("cifar_resnet20", 32), pixels(32), stages=["conv9"])


def test_images_come_as_files_arrays_and_tensors(tmp_path: Path) -> None:
    raw = pixels(32)[:3]
    for place, image in enumerate(raw):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    network = trained("cifar_resnet20", 32)
    spec = Preprocessing(image_size=32, resize=32, in_channels=3)
    bundle = Bundle(network=network, architecture=describe(network), classes=("a", "b", "c", "d"), preprocessing=spec)
    expected = fovea.features(Model(bundle), raw)["head"]
    bundle.save(tmp_path / "bundle")
    places = sorted(tmp_path.glob("*.png"))
    for images in (places, torch.from_numpy(raw).permute(0, 3, 1, 2)):
        assert np.array_equal(fovea.features(tmp_path / "bundle", images)["head"], expected)
