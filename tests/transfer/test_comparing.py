"""Ways are compared on the same images, choices are made on others, and the winner is a bundle that says the same."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import fovea
from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe, load
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Data
from fovea.errors import ModelError, Stopped, UsageError
from fovea.runtime.features import features
from fovea.training import train as module_of_train
from fovea.transfer import remembering, trying
from fovea.transfer.comparing import compare_ways
from fovea.transfer.options import TransferOptions
from fovea.transfer.outcome import Transferred, simplest_of_the_best

QUICK = TransferOptions(epochs=1, batch_size=16, precision="float32", workers=1)


def asked(ways: str, **changes: object) -> TransferOptions:
    return dataclasses.replace(QUICK, ways=ways, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _own_cache_and_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here looks at the pictures of a trained way, which take longer than its training."""
    monkeypatch.setattr(remembering, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(module_of_train, "draw", lambda *_: None)


@pytest.fixture
def fixed(colours: Data, source: Path, tmp_path: Path) -> Transferred:
    return compare_ways(colours, source, asked("knn,probe,svm"), out=tmp_path / "out", quiet=True)


def test_the_kept_bundle_says_what_the_table_says(fixed: Transferred, colours: Data, tmp_path: Path) -> None:
    model = fovea.load(tmp_path / "out")
    assert colours.test is not None
    scores = fovea.evaluate(model, colours.test)
    assert fixed.kept is not None
    assert np.array_equal(scores.right, fixed.kept.scores.right)
    assert torch.allclose(scores.logits, fixed.kept.scores.logits, atol=1e-3)
    assert model.classes == ("dark", "grey", "light")
    assert model.bundle.preprocessing.mean == (0.5, 0.4, 0.3)
    assert model.bundle.metrics["test"]["top1"] == fixed.kept.scores.top1
    assert model.bundle.provenance["weights"]["network"] == "cifar_resnet20"
    assert str(tmp_path) not in json.dumps(model.bundle.provenance)


def test_the_probe_tells_brightness_and_the_simplest_wins(fixed: Transferred) -> None:
    assert [str(each.way) for each in fixed.tried] == ["knn", "probe", "svm"]
    assert all(each.scores.top1 > 0.9 and each.left_out_images == 45 for each in fixed.tried)
    assert str(fixed.winner.way) == "probe"
    assert fixed.kept is fixed.winner


def test_the_table_names_ways_tests_and_the_lecture_s_advice(fixed: Transferred, tmp_path: Path) -> None:
    text = str(fixed)
    for words in (
        "judged on test: 27 images",
        "left out",
        "95 % interval",
        "winner   probe",
        "little data, similar",
        "MB",
    ):
        assert words in text
    assert "McNemar's p" in text
    told = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert [way["way"] for way in told["ways"]] == ["knn", "probe", "svm"]
    assert told["winner"] == "probe"


def test_features_are_extracted_once(
    fixed: Transferred, colours: Data, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("extracted again")

    monkeypatch.setattr(remembering, "stage_features", never)
    again = compare_ways(colours, source, asked("probe"), out=tmp_path / "again", quiet=True)
    assert torch.equal(again.winner.scores.logits, fixed.tried[1].scores.logits)


def test_a_damaged_cache_is_made_again(fixed: Transferred, colours: Data, source: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "cache" / "features").iterdir():
        path.write_bytes(b"nothing")
    again = compare_ways(colours, source, asked("probe"), out=tmp_path / "again", quiet=True)
    assert torch.equal(again.winner.scores.logits, fixed.tried[1].scores.logits)


def test_trained_ways_start_as_they_say(
    colours: Data, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[str, dict[str, torch.Tensor]] = {}
    told = {}
    train = trying.train

    def noted(network: torch.nn.Module, data: Data, options: fovea.TrainingOptions, *, out: Path, **rest: object):  # type: ignore[no-untyped-def]
        begun[out.name] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        told[out.name] = options
        assert data.validation is not None
        assert len(data.validation) == 18
        return train(network, data, options, out=out, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trying, "train", noted)
    ways = "scratch,lower:2,finetune,finetune:conv4_x,gradual,both"
    found = compare_ways(colours, source, asked(ways), out=tmp_path / "out", quiet=True)
    own = load(source).network.state_dict()
    kernel, last = "features.conv1.conv.weight", "features.conv4_x.0.branch.conv1.conv.weight"
    same = {way: [torch.equal(begun[way][key], own[key]) for key in (kernel, last)] for way in begun}
    assert same == {
        "scratch": [False, False],
        "lower_2": [True, False],
        "finetune": [True, True],
        "finetune_conv4_x": [True, True],
        "gradual": [True, True],
        "both": [True, True],
    }
    after = {way: fovea.load(tmp_path / "out" / way).network.state_dict() for way in begun}
    assert torch.equal(after["finetune_conv4_x"][kernel], own[kernel])
    assert not torch.equal(after["finetune"][kernel], own[kernel])
    assert told["gradual"].stages.thaw_epochs == 1
    assert told["scratch"].epochs == 2 * told["finetune"].epochs
    assert all(options.input.mean == (0.5, 0.4, 0.3) and options.input.resize == 36 for options in told.values())
    pixels = colours.train
    assert pixels is not None
    probed = features(source, pixels)["head"] @ begun["both"]["head.output.weight"].numpy().T
    probed += begun["both"]["head.output.bias"].numpy()
    assert (probed.argmax(1) == pixels.labels).mean() > 0.9
    assert all(each.bundle is not None for each in found.tried)
    assert found.tried[0].bundle.metrics["test"]["images"] == 27  # type: ignore[union-attr]


def test_what_is_finished_is_taken_and_what_was_stopped_goes_on(
    colours: Data, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare_ways(colours, source, asked("probe,finetune"), out=tmp_path / "whole", quiet=True)
    train = trying.train

    def stopped(*_: object, **__: object) -> None:
        raise Stopped("stopped", 2)

    monkeypatch.setattr(trying, "train", stopped)
    with pytest.raises(Stopped, match=r"within finetune; the same command with --out .*halted goes on"):
        compare_ways(colours, source, asked("probe,finetune"), out=tmp_path / "halted", quiet=True)
    monkeypatch.setattr(trying, "train", train)
    for _ in range(2):  # going on, and once more when all is done
        found = compare_ways(colours, source, asked("probe,finetune"), out=tmp_path / "halted", quiet=True)
        assert torch.equal(found.tried[1].scores.logits, whole.tried[1].scores.logits)
    monkeypatch.setattr(trying, "train", stopped)
    with pytest.raises(Stopped):
        compare_ways(colours, source, asked("probe,finetune"), out=tmp_path / "halted", quiet=True)
    assert "winner" in json.loads((tmp_path / "halted" / "transfer.json").read_text())  # what was there stays
    with pytest.raises(UsageError, match=r"was begun with options .* choose another --out"):
        compare_ways(colours, source, asked("probe", seed=3), out=tmp_path / "halted", quiet=True)


def test_where_validation_judges_a_trained_bundle_calls_it_so(colours: Data, source: Path, tmp_path: Path) -> None:
    data = dataclasses.replace(colours, validation=dataclasses.replace(colours.test, name="validation"), test=None)
    found = compare_ways(data, source, asked("finetune"), out=tmp_path / "out", quiet=True)
    bundle = fovea.load(tmp_path / "out").bundle
    assert found.winner.scores.split == "validation"
    assert bundle.metrics == {"validation": found.winner.scores.summary()}
    assert bundle.provenance["data"]["fingerprint"] == data.fingerprint()


def test_a_probe_that_fits_into_no_output_layer_is_refused_at_once(colours: Data, tmp_path: Path) -> None:
    network = build("cifar_nin", num_classes=10, seed=0)
    spec = Preprocessing(image_size=32, resize=32, in_channels=3)
    names = tuple(map(str, range(10)))
    bundle = Bundle(network=network, architecture=describe(network), classes=names, preprocessing=spec)
    with pytest.raises(UsageError, match="is not linear"):
        compare_ways(colours, bundle.save(tmp_path / "nin"), asked("both"), out=tmp_path / "out", quiet=True)


def test_a_way_that_no_network_holds_is_told_and_not_kept(colours: Data, source: Path, tmp_path: Path) -> None:
    found = compare_ways(colours, source, asked("knn,probe:conv3_x"), out=tmp_path / "out", quiet=True)
    assert found.kept is None
    assert "so nothing is kept" in str(found)
    assert not (tmp_path / "out" / "bundle").exists()


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ("probe:conv9", "no stage is called conv9"),
        ("lower:9", "lower:9 .=9. must be at most 4"),
        ("finetune:x", "no stage"),
    ],
)
def test_a_stage_that_there_is_not_is_refused_before_any_work(
    ways: str, said: str, colours: Data, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        compare_ways(colours, source, asked(ways), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_sources_that_are_none_say_what_would_do(colours: Data, tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"\n\x05hello")
    with pytest.raises(ModelError, match=r"Caffe's files are not read"):
        compare_ways(colours, tmp_path / "net.caffemodel", QUICK)
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="fovea import"):
        compare_ways(colours, tmp_path / "net.pth", QUICK)
    with pytest.raises(UsageError, match="neither a run folder"):
        compare_ways(colours, tmp_path / "nowhere", QUICK)
    with pytest.raises(UsageError, match="is a network without weights"):
        compare_ways(colours, "mobilenet_v2", QUICK)


def test_little_and_different_data_tries_a_lower_stage_too(source: Path, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pixels = (drawn.integers(0, 100, (60, 32, 32)) + 100 * labels[:, None, None]).astype(np.uint8)
    data = fovea.open_data((pixels, labels), split="0.5/0.2/0.3")
    told = asked("", epochs=1)
    found = compare_ways(data, source, told, out=tmp_path / "out", quiet=True)
    assert [str(each.way) for each in found.tried][-1].startswith("probe:conv")
    assert found.quadrant.name == "little data, different"


def test_of_those_within_a_standard_error_the_simplest_is_taken(fixed: Transferred) -> None:
    knn, probe, svm = fixed.tried
    better = dataclasses.replace(knn, left_out=0.99, left_out_images=1000)
    worse = dataclasses.replace(probe, left_out=0.95, left_out_images=1000)
    close = dataclasses.replace(svm, left_out=0.988, left_out_images=1000)
    assert simplest_of_the_best([better, worse, close]) is close
    assert simplest_of_the_best([better, worse]) is better
    few = dataclasses.replace(knn, left_out=1.0, left_out_images=20), dataclasses.replace(svm, left_out=0.95)
    assert simplest_of_the_best(few) is few[1]  # twenty right ones of twenty are no proof


def test_the_cache_keeps_within_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "LARGEST_CACHE", 100)
    for number in range(4):
        (tmp_path / f"{number}.safetensors").write_bytes(bytes(60))
    newest = tmp_path / "3.safetensors"
    remembering._prune(newest)
    assert newest.exists()
    assert len(list(tmp_path.glob("*.safetensors"))) <= 2
    shutil.rmtree(tmp_path, ignore_errors=True)
