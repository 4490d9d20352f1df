"""Networks go back to the names of other libraries, or are refused with a reason."""

from __future__ import annotations

import dataclasses

import pytest
import safetensors
import torch

import fovea
from fovea.errors import ModelError, UsageError
from fovea.transfer.exporting import export_weights, foreign_names
from fovea.transfer.importing import import_weights

THREE = ["ant", "bee", "wasp"]


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_bundle_goes_out_and_comes_in_again_bit_for_bit(library, tmp_path):
    network = fovea.create("resnet18", num_classes=3, seed=0)
    path = export_weights(network, tmp_path / "out.safetensors", library=library)
    found = import_weights(path, "resnet18", preprocessing="imagenet", classes=THREE, licence="CC0")
    for key, tensor in network.state_dict().items():
        assert torch.equal(found.bundle.network.state_dict()[key], tensor), key

    again = export_weights(found.bundle, tmp_path / "again.safetensors", library=library)
    with safetensors.safe_open(again, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "names": f"{library}:resnet18", "licence": "CC0"}
    last = import_weights(again, "resnet18", preprocessing="imagenet", classes=THREE)
    assert last.bundle.provenance["imported"]["licence"] == "CC0"
    assert not any("licence" in note for note in last.notes)


def test_torchvision_s_mnasnet_is_given_the_version_that_it_asks_for(tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = fovea.create("mnasnet_b1", num_classes=3, eps=1e-5, seed=0)
    theirs = models.mnasnet1_0(weights=None, num_classes=3)
    theirs.load_state_dict(foreign_names(network, "torchvision"), strict=True)
    path = export_weights(network, tmp_path / "out.safetensors", library="torchvision")
    found = import_weights(path, "mnasnet_b1", preprocessing="imagenet", classes=THREE)
    assert any("logits differ from torchvision's by" in note for note in found.notes)


def test_shapes_are_the_library_s_though_it_is_not_asked():
    with torch.device("meta"):
        network = fovea.create("vgg11", num_classes=3)
    names = foreign_names(network, "timm")
    assert names["pre_logits.fc1.weight"].shape == (4096, 512, 7, 7)
    assert names["pre_logits.fc2.weight"].shape == (4096, 4096, 1, 1)
    assert foreign_names(network, "torchvision")["classifier.0.weight"].shape == (4096, 25088)


def test_what_would_be_another_network_there_is_refused(tmp_path):
    path = tmp_path / "out.safetensors"
    for name, library, options, sentence in (
        ("resnet50", "torchvision", {}, "torchvision has no network that is exactly resnet50; nor has another library"),
        ("alexnet_one_tower", "timm", {}, "timm has no network .* torchvision has"),
        ("resnet18", "caffe", {}, "library .='caffe'. must be torchvision or timm"),
        ("resnet18", "torchvision", {"stem": "small"}, "built with stem='small', .* is it with stem='paper'"),
        ("mobilenet_v2", "torchvision", {}, "built with eps=0.001, .* is it with eps=1e-05"),
    ):
        with pytest.raises(UsageError, match=sentence):
            export_weights(fovea.create(name, **options), path, library=library)
    assert not path.exists()
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        export_weights(fovea.create("resnet18"), tmp_path / "out.pth", library="timm")
    with pytest.raises(ModelError, match="Linear is no network of the catalogue"):
        foreign_names(torch.nn.Linear(2, 2), "timm")


def test_options_that_act_in_training_alone_are_no_hindrance():
    network = fovea.create("mobilenet_v2", num_classes=3, eps=1e-5, dropout=0.5, momentum=0.01)
    assert len(foreign_names(network, "torchvision")) == len(network.state_dict())
    assert dataclasses.asdict(network.architecture)["options"]["dropout"] == 0.5
