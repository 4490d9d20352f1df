"""Networks with weights that are there already."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

import fovea
from fovea.bundle import load
from fovea.errors import ModelError, UsageError
from fovea.files import write_json
from fovea.transfer.creating import started


@pytest.fixture
def network():
    return fovea.create("lenet5", num_classes=4, seed=1).eval()


@pytest.fixture
def bundle(network, tmp_path):
    spec = fovea.Preprocessing(image_size=32, resize=32, in_channels=1)
    made = fovea.Bundle(network=network, architecture=network.architecture, classes=tuple("abcd"), preprocessing=spec)
    return made.save(tmp_path / "bundle")


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({key: t.contiguous() for key, t in network.state_dict().items()}, path)
    return path


def same(one, other, keys=None):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[key], second[key]) for key in keys or first)


def test_without_weights_it_is_the_catalogue_s_network():
    assert same(fovea.create("lenet5", seed=5), fovea.create("lenet5", seed=5))
    assert fovea.create("lenet5", num_classes=3).num_classes == 3


@pytest.mark.parametrize("source", ["bundle", "file"])
def test_weights_come_with_their_classes_and_channels(source, network, request):
    made = fovea.create("lenet5", weights=request.getfixturevalue(source))
    assert made.num_classes == 4
    assert same(made, network)


@pytest.mark.parametrize("source", ["bundle", "file"])
def test_other_classes_get_a_fresh_output_and_that_is_told(source, network, request, caplog):
    made = fovea.create("lenet5", weights=request.getfixturevalue(source), num_classes=7, seed=3)
    kept = [key for key in network.state_dict() if not key.startswith("head.output")]
    assert len(kept) == len(network.state_dict()) - 2
    assert same(made, network, kept)
    assert made.num_classes == 7
    assert "num_classes 4 became 7: a fresh output layer" in caplog.text
    again = fovea.create("lenet5", weights=request.getfixturevalue(source), num_classes=7, seed=3)
    assert same(made, again)


def test_other_channels_add_the_first_kernels_up_or_repeat_them(file, network, caplog):
    made = fovea.create("lenet5", weights=file, in_channels=3).eval()
    grey = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(made(grey.expand(-1, 3, -1, -1)), network(grey), rtol=1e-4, atol=1e-5)
    assert "in_channels 1 became 3: first kernels added up or repeated" in caplog.text


def test_a_checkpoint_of_a_run_is_taken_too(network, tmp_path):
    from fovea.runtime import checkpoint

    other = {f"network.{key}": torch.ones(t.shape) for key, t in network.state_dict().items()}
    (tmp_path / "last.safetensors").write_bytes(checkpoint.packed(other, "{}"))
    made = fovea.create("lenet5", weights=tmp_path / "last.safetensors")
    assert all(torch.equal(t, torch.ones(t.shape)) for t in made.state_dict().values())


def test_another_size_is_taken_where_the_network_takes_it(tmp_path):
    small = fovea.create("cifar_resnet20", seed=0)
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file({key: t.contiguous() for key, t in small.state_dict().items()}, path)
    made = fovea.create("cifar_resnet20", weights=path, image_size=64)
    assert same(made, small)
    assert made.architecture.image_size == 64


def test_a_head_of_convolutions_is_replaced_too(tmp_path):
    nin = fovea.create("cifar_nin", num_classes=5, seed=0)
    path = tmp_path / "nin.safetensors"
    safetensors.torch.save_file({key: t.contiguous() for key, t in nin.state_dict().items()}, path)
    assert same(fovea.create("cifar_nin", weights=path), nin)
    other = fovea.create("cifar_nin", weights=path, num_classes=3, seed=1)
    kept = [key for key, t in nin.state_dict().items() if t.shape == other.state_dict()[key].shape]
    assert len(kept) == len(nin.state_dict()) - 2
    assert same(other, nin, kept)


def test_a_network_of_one_s_own_takes_its_own_weights(tmp_path):
    layers = "nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, num_classes)"
    code = f"from torch import nn\ndef net(num_classes=10):\n    return nn.Sequential({layers})\n"
    (tmp_path / "mine.py").write_text(code)
    name, path = f"{tmp_path}/mine.py:net", tmp_path / "mine.safetensors"
    mine = fovea.create(name, num_classes=4)
    safetensors.torch.save_file({key: t.contiguous() for key, t in mine.state_dict().items()}, path)
    assert same(fovea.create(name, weights=path), mine)
    assert fovea.create(name, weights=path, num_classes=3)[2].out_features == 3


def test_a_file_beside_somebody_else_s_configuration_is_no_run_of_ours(file, network):
    write_json(file.parent / "config.json", {"architectures": ["LeNet"]})
    assert same(fovea.create("lenet5", weights=file), network)


def test_what_does_not_fit_is_refused(bundle, file):
    with pytest.raises(ModelError, match="holds lenet5, not alexnet"):
        fovea.create("alexnet", weights=bundle)
    with pytest.raises(UsageError, match="knows its options; leave dropout away"):
        fovea.create("lenet5", weights=bundle, dropout=0.5)
    with pytest.raises(ModelError, match="does not fit resnet18"):
        fovea.create("resnet18", weights=file)
    with pytest.raises(ModelError, match=r"lenet5 for .* would have another shape|does not fit lenet5"):
        fovea.create("lenet5", weights=bundle, image_size=44)


def test_as_many_other_classes_get_a_fresh_head_and_the_weights_stay_as_they_were(source):
    names = tuple(f"class {number}" for number in range(10))
    sizes = {"num_classes": 10}
    kept = started("cifar_resnet20", source, sizes=sizes, classes=names, seed=1)
    fresh = started("cifar_resnet20", source, sizes=sizes, classes=names[::-1], seed=1)
    own, same, other = (each.state_dict() for each in (load(source).network, kept.network, fresh.network))
    assert torch.equal(same["head.output.weight"], own["head.output.weight"])
    assert not torch.equal(other["head.output.weight"], own["head.output.weight"])
    assert torch.equal(other["features.conv1.conv.weight"], own["features.conv1.conv.weight"])
