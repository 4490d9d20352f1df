"""Files that lack the upper layers, and licences that a file does not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import fovea
from fovea.errors import ModelError
from fovea.transfer.importing import import_weights

SHARED = Path(__file__).parents[3] / "shared/data/weights/vgg19_to_conv5_1.uint8.safetensors"
THREE = ["ant", "bee", "wasp"]
LOWER = ("features.conv1.0.weight", "features.conv1.0.bias")


def saved(tmp_path, keys=None, without=()):
    network = fovea.create("lenet5", seed=3, num_classes=3)
    tensors = {key: tensor for key, tensor in network.state_dict().items() if keys is None or key in keys}
    path = tmp_path / "some.safetensors"
    safetensors.torch.save_file({key: tensor for key, tensor in tensors.items() if key not in without}, path)
    return network, path


def test_lower_layers_are_taken_and_the_upper_ones_drawn(tmp_path):
    network, path = saved(tmp_path, LOWER)
    found = import_weights(path, "lenet5", preprocessing="unit", classes=THREE, partial=True)
    own, fresh = found.bundle.network.state_dict(), fovea.create("lenet5", seed=0, num_classes=3).state_dict()
    for key, tensor in own.items():
        assert torch.equal(tensor, network.state_dict()[key] if key in LOWER else fresh[key]), key
    count = len(own) - len(LOWER)
    said = f"from {list(own)[2].rpartition('.')[0]} on {count} tensors were drawn afresh with seed 0"
    assert found.bundle.provenance["imported"]["partial"] == said
    assert any(note.startswith(said) for note in found.notes)
    loaded = fovea.load(found.bundle.save(tmp_path / "bundle"))
    assert loaded.bundle.provenance["imported"]["partial"] == said


def test_a_partial_file_is_refused_without_the_option_and_the_option_is_named(tmp_path):
    _, path = saved(tmp_path, LOWER)
    with pytest.raises(
        ModelError, match="It lacks the upper layers alone: --partial takes the rest, and draws those from"
    ):
        import_weights(path, "lenet5", preprocessing="unit", classes=THREE)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {key: tensor for key, tensor in tensors.items() if key != LOWER[0]},  # a hole
        lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in LOWER},  # the lower part
        lambda tensors: {LOWER[0]: tensors[LOWER[0]], "more.weight": torch.ones(2)},  # left over
        lambda _: {LOWER[0]: torch.ones(2, 2)},  # another shape
    ],
)
def test_what_lacks_other_than_the_upper_layers_is_refused_with_the_option_too(change, tmp_path):
    _, path = saved(tmp_path)
    safetensors.torch.save_file(change(safetensors.torch.load_file(path)), path)
    with pytest.raises(ModelError, match="may lack upper layers alone, and nothing may be left over"):
        import_weights(path, "lenet5", preprocessing="unit", classes=THREE, partial=True)


def test_a_whole_file_with_the_option_is_whole(tmp_path):
    network, path = saved(tmp_path)
    found = import_weights(path, "lenet5", preprocessing="unit", classes=THREE, partial=True)
    assert "partial" not in found.bundle.provenance["imported"]
    assert found.mapped.fresh == ()
    for key, tensor in found.bundle.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[key])


def test_a_licence_is_kept_and_its_lack_is_told(tmp_path):
    _, path = saved(tmp_path)
    found = import_weights(path, "lenet5", preprocessing="unit", classes=THREE)
    assert "licence unknown: give it with --licence" in found.notes
    assert found.bundle.provenance["imported"]["licence"] == ""
    found = import_weights(path, "lenet5", preprocessing="unit", classes=THREE, licence="CC BY 4.0")
    assert not any("licence" in note for note in found.notes)
    assert found.bundle.provenance["imported"]["licence"] == "CC BY 4.0"


def test_the_command_has_both(tmp_path, monkeypatch, capsys):
    from fovea.commands.main import main

    monkeypatch.chdir(tmp_path)
    _, path = saved(tmp_path, LOWER)
    (tmp_path / "classes.txt").write_text("\n".join(THREE))
    asked = ["import", str(path), "--as", "lenet5", "--preprocessing", "unit", "--classes", "classes.txt"]
    assert main(asked) == 4
    assert "--partial" in capsys.readouterr().err
    assert not (tmp_path / "imported").exists()
    assert main([*asked, "--partial", "--licence", "CC0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["origin"]["licence"] == "CC0"
    assert told["origin"]["partial"].endswith("drawn afresh with seed 0")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the shared weights are not here")
def test_the_shared_vgg_fills_its_lower_stages():
    found = import_weights(
        SHARED, "vgg19", preprocessing="caffe", partial=True, licence="CC BY 4.0", classes=["a", "b"]
    )
    assert found.mapped.fresh[0] == "features.conv5.conv2.weight"
    assert len(found.mapped.placed) == 26
    assert found.bundle.provenance["imported"]["partial"].startswith("from features.conv5.conv2 on 12 tensors")
    first = safetensors.torch.load_file(SHARED)
    kernels = first["features.0.weight"] * first["features.0.weight_scale"] + first["features.0.weight_min"]
    assert torch.equal(found.bundle.network.features.conv1.conv1.weight, kernels.flip(1))
