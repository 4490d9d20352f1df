"""Bundles: the same logits after a round trip, equal bytes for equal content, and no damage that goes unnoticed."""

from __future__ import annotations

import dataclasses
import getpass
import json
import re
import socket
from pathlib import Path

import pytest
import torch
from torch import nn

from fovea import bundle as bundles
from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, card, describe, fill, tensors_of
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError

CLASSES = ("ant", "bee", "größe")
SPEC = Preprocessing(image_size=16, resize=16, in_channels=1, mean=(0.25,), std=(0.5,))
SCORES = {"images": 10, "top1": 0.9, "top1_interval": [0.5958, 0.9821], "top3": 1.0, "negative_log_likelihood": 0.3}
FILES = {"README.md", "bundle.json", "weights.safetensors"}


def small(seed=1, **changes):
    return build("lenet5", **({"num_classes": 3, "in_channels": 1, "image_size": 16} | changes), seed=seed)


def bundle_of(network=None, **changes):
    network = network or small()
    content = {
        "network": network,
        "architecture": describe(network),
        "classes": CLASSES,
        "preprocessing": SPEC,
        "provenance": {"data": {"name": "insects", "fingerprint": "ab"}, "best_epoch": 2},
        "metrics": {"validation": SCORES},
    }
    return Bundle(**content | changes)


@pytest.fixture
def saved(tmp_path):
    return bundle_of().save(tmp_path / "bundle")


def change(folder, edit):
    """Rewrite bundle.json after `edit` had its way with the object in it."""
    path = folder / "bundle.json"
    meaning = json.loads(path.read_text(encoding="utf-8"))
    edit(meaning)
    path.write_text(json.dumps(meaning), encoding="utf-8")


def test_a_saved_bundle_loads_with_equal_logits_and_equal_meaning(saved):
    original, loaded = bundle_of(), bundles.load(saved)
    images = torch.randn(7, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        loaded.network.eval()(images), original.network.eval()(images), rtol=0, atol=0, msg="logits differ"
    )
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == SPEC
    assert loaded.architecture == original.architecture
    assert (loaded.provenance, loaded.metrics) == (original.provenance, original.metrics)


def test_two_saves_give_the_same_bytes_and_no_other_files(saved, tmp_path):
    again = bundle_of().save(tmp_path / "again")
    assert {p.name for p in saved.iterdir()} == FILES
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


def test_a_loaded_bundle_saves_to_the_bytes_it_came_from(saved, tmp_path):
    again = bundles.load(saved).save(tmp_path / "again")
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


def test_no_file_of_a_bundle_names_path_host_user_or_time(saved):
    text = b"".join(p.read_bytes() for p in saved.iterdir()).decode("latin-1")
    for told in (str(saved), str(Path.home()) + "/", socket.gethostname()):
        assert told not in text
    assert not re.search(rf"\b{getpass.getuser()}\b", text)
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", text)


def test_changed_weights_are_refused_by_their_hash(saved):
    path = saved / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.safetensors: its SHA-256 is .*copy the bundle again"):
        bundles.load(saved)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
def test_a_cut_file_is_refused_and_named(saved, name, share):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=re.escape(name)):
        bundles.load(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
def test_a_missing_file_is_refused_and_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelError, match=rf"{re.escape(name)}: cannot be read \(No such file"):
        bundles.load(saved)


def test_the_card_is_for_people_and_may_be_missing(saved):
    (saved / "README.md").unlink()
    assert bundles.load(saved).classes == CLASSES


def test_a_folder_without_meaning_is_no_bundle_since_the_meaning_is_written_last(tmp_path, monkeypatch):
    written = []
    real = bundles.write_durably
    monkeypatch.setattr(bundles, "write_durably", lambda path, data: written.append(path.name) or real(path, data))
    monkeypatch.setattr(bundles, "write_json", lambda path, _: written.append(path.name))
    bundle_of().save(tmp_path / "bundle")
    assert written == ["weights.safetensors", "README.md", "bundle.json"]


def test_another_version_is_refused_with_both_numbers(saved):
    change(saved, lambda meaning: meaning.update(version=3))
    with pytest.raises(ModelError, match=r"version 3; this fovea reads fovea-bundle 1 and 2"):
        bundles.load(saved)


@pytest.mark.parametrize(
    "field", ["architecture", "classes", "preprocessing", "provenance", "metrics", "weights", "format"]
)
def test_a_missing_field_is_refused_and_named(saved, field):
    change(saved, lambda meaning: meaning.pop(field))
    with pytest.raises(ModelError, match=field):
        bundles.load(saved)


def test_a_field_of_the_wrong_kind_is_refused(saved):
    change(saved, lambda meaning: meaning.update(preprocessing=3))
    with pytest.raises(ModelError, match="damaged"):
        bundles.load(saved)


def test_a_network_this_version_does_not_know_is_a_model_error_and_named(saved):
    change(saved, lambda meaning: meaning["architecture"].update(name="lenet9"))
    with pytest.raises(ModelError, match=r"lenet9"):
        bundles.load(saved)


def test_another_number_of_classes_than_logits_is_refused_with_both(saved):
    change(saved, lambda meaning: meaning.update(classes=["ant", "bee"]))
    with pytest.raises(ModelError, match=r"names 2 classes, but its network gives 3 logits"):
        bundles.load(saved)


def test_weights_of_another_architecture_are_refused_with_the_first_differences(saved):
    change(saved, lambda meaning: meaning["architecture"].update(name="lenet5_1998", image_size=32))
    with pytest.raises(ModelError, match=r"do not fit the network") as refused:
        bundles.load(saved)
    said = str(refused.value)
    assert "features.c1.0.weight is missing" in said
    assert re.search(r" and \d+ more$", said)
    assert said.count(" is ") == 10


def test_another_shape_is_refused_with_both_shapes():
    tensors = tensors_of(small(num_classes=4))
    with pytest.raises(ModelError, match=r"head\.output\.weight is \(4, 84\), the network has \(3, 84\)"):
        fill(small(), tensors, "here")


def test_refused_weights_leave_the_network_as_it_was():
    network = small()
    before = tensors_of(network)
    tensors = tensors_of(small(seed=2)) | {"more": torch.zeros(1)}
    with pytest.raises(ModelError, match="more is not in the network"):
        fill(network, tensors, "here")
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors_of(network).items())


def test_a_module_of_somebody_else_needs_network_to_load(tmp_path):
    def make():
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 3))

    network = make()
    folder = bundle_of(network).save(tmp_path / "bundle")
    with pytest.raises(ModelError, match=r"\(Sequential\).* load\(folder, network="):
        bundles.load(folder)
    loaded = bundles.load(folder, network=make())
    assert torch.equal(loaded.network[1].weight, network[1].weight)
    assert loaded.architecture is None


def test_a_replaced_head_is_described_as_it_is_now(tmp_path):
    network = small()
    network.reset_head(5)
    bundle = bundle_of(network, classes=tuple("abcde"))
    assert bundle.architecture.num_classes == 5
    assert bundles.load(bundle.save(tmp_path / "bundle")).network.num_classes == 5


def test_tensors_that_share_memory_are_each_written_out(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 3))
    network[2].weight = network[1].weight
    folder = bundle_of(network).save(tmp_path / "bundle")
    twin = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 3))
    loaded = bundles.load(folder, network=twin).network
    assert torch.equal(loaded[1].weight, network[1].weight)
    assert torch.equal(loaded[2].weight, network[1].weight)


def test_the_card_says_what_the_model_is_takes_and_reaches():
    text = card(bundle_of())
    assert text.startswith("# lenet5 on insects\n\nA convolutional network for 3 classes: ant, bee, größe\n")
    assert "fovea predict THIS_FOLDER IMAGE" in text
    assert "Shorter side to 16 pixels, centre 16×16, 1 channel, pixels / 255, minus [0.25], divided by [0.5]." in text
    assert "| validation | 10 | 90.00% | 59.58% to 98.21% |" in text
    assert '"best_epoch": 2' in text


def test_the_card_names_twenty_of_many_classes():
    many = tuple(f"c{n}" for n in range(21))
    text = card(dataclasses.replace(bundle_of(), classes=many))
    assert "for 21 classes: c0, c1," in text
    assert "c19, …\n" in text
    assert "c20" not in text
