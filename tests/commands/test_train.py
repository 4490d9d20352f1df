"""fovea train: what it leaves, what it repeats, what it refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("no_pictures")
PHOTOS = ["--image-size", "16", "--epochs", "1", "-b", "4"]


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_leaves_pictures_history_samples_and_a_bundle(digits_run):
    there = {path.name for path in digits_run.iterdir()}
    assert there >= {"config.json", "history.csv", "bundle", "held_out", "learning_curves.png", "mistakes.png"}
    assert {path.name for path in (digits_run / "bundle").iterdir()} == {
        "README.md", "bundle.json", "weights.safetensors",
    }  # fmt: skip
    assert len(list((digits_run / "held_out").iterdir())) == 10


def test_the_result_goes_to_stdout_and_progress_to_stderr(fovea, quick):
    code, out, err = fovea("train", *quick, "--out", "run")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["validation", "test", "run folder"]
    assert err.startswith("lenet5 on digits: 1,079 train, 359 validation, 359 test images\n")
    assert "epoch 1/1" in err


def test_json_is_one_object_with_the_scores_of_each_split(fovea, quick):
    code, out, _ = fovea("train", *quick, "--out", "run", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["run"] == "run"
    for split in ("validation", "test"):
        assert result[split]["images"] == 359
        low, high = result[split]["top1_interval"]
        assert low < result[split]["top1"] < high


def test_config_repeats_a_run_to_the_same_bundle(fovea, digits_run):
    code, _, _ = fovea("train", "--config", digits_run / "config.json", "--out", "again")
    assert code == 0
    assert files_of(Path("again/bundle")) == files_of(digits_run / "bundle")


def test_whole_numbers_typed_or_in_a_recipe_are_the_same_run(fovea, digits_run, quick):
    arguments = ["train", *quick[:-1], "0.0", "--lr", "0.05", "--weight-decay", "1e-3", "--rotate", "12", "--out", "r"]
    assert fovea(*arguments)[0] == 0
    assert files_of(Path("r/bundle")) == files_of(digits_run / "bundle")


def test_without_out_the_run_lies_in_runs_and_latest_finds_it(fovea, quick):
    assert fovea("train", *quick)[0] == 0
    code, out, _ = fovea("evaluate", "runs/latest")
    assert code == 0
    assert out.startswith("runs/latest on digits, test: top-1 accuracy ")


def test_an_existing_run_is_refused_with_the_way_to_go_on(fovea, digits_run):
    before = files_of(digits_run)
    code, out, err = fovea("train", "--epochs", "1", "--out", digits_run)
    assert (code, out) == (2, "")
    assert err.endswith(f"go on with it: fovea train --resume {digits_run}\n")
    assert files_of(digits_run) == before


def test_a_folder_with_other_things_is_refused(fovea, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    code, _, err = fovea("train", "--out", "mine")
    assert (code, err) == (2, "fovea: mine: exists and holds other things; choose another --out\n")


def test_resuming_a_finished_run_ends_with_the_same_scores(fovea, digits_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(digits_run, copy)
    code, out, err = fovea("train", "--resume", copy, "--json")
    assert code == 0
    assert "epoch 1/1" not in err
    told = json.loads((digits_run / "bundle/bundle.json").read_text())["metrics"]
    assert {name: json.loads(out)[name] for name in told} == told
    assert files_of(copy / "bundle") == files_of(digits_run / "bundle")


def test_resuming_with_a_changed_option_is_4_with_old_and_new(fovea, digits_run):
    code, _, err = fovea("train", "--resume", digits_run, "--lr", "0.5")
    assert code == 4
    assert err.startswith(f"fovea: {digits_run}: cannot go on, training update.lr was 0.05 and is 0.5 now; go on with")


def test_resuming_nothing_is_4(fovea):
    assert fovea("train", "--resume", "nowhere") == (4, "", "fovea: nowhere: holds no run (no config.json)\n")
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lenet6", "digits"), "no network is called 'lenet6'"),
        (("lenet5", "minst"), "'minst' is neither a folder nor a known data set"),
        (("minst",), "'minst' is neither a network, nor a data set, nor a folder"),
        (("./nowhere",), "'./nowhere' is neither a folder nor a known data set"),
        (("--split", "0.5/0.5"), "split (=0.5/0.5) must be three fractions"),
    ],
)
def test_unknown_names_are_2_with_close_matches_and_leave_nothing(arguments, sentence, fovea):
    code, out, err = fovea("train", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"fovea: {sentence}")
    assert os.listdir() == []


def test_a_folder_of_photographs_trains_evaluates_and_predicts(fovea, photos):
    code, out, _ = fovea("train", photos, *PHOTOS, "--out", "run", "--json")
    assert code == 0
    assert set(json.loads(out)) == {"run", "validation", "test"}
    assert json.loads((Path("run") / "config.json").read_text())["network"]["in_channels"] == 3
    assert fovea("evaluate", "run", "--split", "validation")[0] == 0
    code, out, _ = fovea("predict", "run", photos / "dark/0.png", "--json")
    assert set(json.loads(out)["probabilities"]) == {"dark", "light"}


@pytest.mark.parametrize("layout", ["empty", "one class", "class without images"])
def test_a_folder_that_cannot_be_learned_from_is_3_and_leaves_no_run(layout, fovea, photos):
    if layout == "empty":
        shutil.rmtree(photos / "dark")
        shutil.rmtree(photos / "light")
        sentence = "holds no class folders"
    elif layout == "one class":
        shutil.rmtree(photos / "light")
        sentence = "there is one class (dark) only"
    else:
        for path in (photos / "light").iterdir():
            path.unlink()
        sentence = "no training image for light"
    code, out, err = fovea("train", photos, *PHOTOS, "--out", "run")
    assert (code, out) == (3, "")
    assert sentence in err
    assert not Path("run").exists()


@pytest.mark.parametrize("content", [b"", b"<html>no image</html>", b"\x89PNG\r\n\x1a\ncut"])
def test_an_unreadable_training_image_is_3_named_and_leaves_no_run(content, fovea, photos):
    bad = photos / "light/9.png"
    bad.write_bytes(content)
    code, out, err = fovea("train", photos, *PHOTOS, "--out", "run")
    assert (code, out) == (3, "")
    assert str(bad) in err
    assert not Path("run").exists()


def test_fewer_images_than_a_batch_is_3_with_counts_and_leaves_no_run(fovea, photos):
    code, _, err = fovea("train", photos, *PHOTOS[:-1], "500", "--out", "run")
    assert code == 3
    assert "there are 16 training images, fewer than one batch of 500; choose --batch-size 16 or less" in err
    assert not Path("run").exists()


def test_an_image_size_the_network_does_not_take_is_4(fovea):
    code, _, err = fovea("train", "lenet5", "digits", "--image-size", "8", "--out", "run")
    assert (code, "image_size (=8)" in err) == (4, True)
    assert not Path("run").exists()


def test_an_exploding_run_is_6_and_keeps_a_finite_checkpoint(fovea, quick):
    from fovea.architectures.catalogue import build
    from fovea.training import checkpoints
    from fovea.training.checkpoints import State

    code, out, err = fovea("train", *quick, "--lr", "1e12", "--out", "run")
    assert (code, out) == (6, "")
    assert "is not finite: " in err
    network = build("lenet5", image_size=16)
    checkpoints.load(Path("run/last.safetensors"), State(network))
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_a_run_folder_that_cannot_be_made_is_5(fovea, quick):
    Path("file").write_text("")
    code, _, err = fovea("train", *quick, "--out", "file/run")
    assert code == 5
    assert err.splitlines()[-1].startswith("fovea: file/run: cannot be written (")


@pytest.mark.parametrize(("number", "reason"), [(errno.EROFS, "choose another"), (errno.ENOSPC, "the disk is full")])
def test_a_disk_that_refuses_is_5(number, reason, fovea, quick, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = fovea("train", *quick, "--out", "run")
    assert code == 5
    assert reason in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_5_and_leaves_no_run(fovea, quick):
    code, _, err = fovea("train", *quick, "--device", "cuda", "--out", "run")
    assert code == 5
    assert "device (=cuda) is not available here" in err
    assert not Path("run").exists()


def test_a_file_size_limit_is_5_before_the_first_step_and_leaves_nothing_half(shell, quick, tmp_path):
    done = shell(f"ulimit -f 100; $FOVEA train {' '.join(quick)} --out run")
    assert done.returncode == 5, done.stderr
    assert b"run/last.safetensors: cannot be written (File too large)" in done.stderr
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json", "progress.html", "run.lock"]


def test_options_of_the_network_are_taken_recorded_and_kept_by_a_repeat(fovea, photos):
    options = ["--option", "zero_last_gamma=true", "shortcut=B"]
    code, _, err = fovea("train", "cifar_resnet20", photos, *PHOTOS, *options, "--out", "run")
    assert code == 0, err
    told = json.loads(Path("run/config.json").read_text())["network"]["options"]
    assert told == {"zero_last_gamma": True, "shortcut": "B"}
    code, _, err = fovea("train", "--config", "run/config.json", "--out", "again")
    assert code == 0, err
    assert files_of(Path("run/bundle")) == files_of(Path("again/bundle"))


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [("stem", "must be name=value"), ("=1", "must be name=value"), ("stam=small", "lenet5 takes no stam; it takes")],
)
def test_an_option_that_is_none_is_refused(fovea, pair, sentence):
    code, _, err = fovea("train", "lenet5", "digits", "--option", pair)
    assert code == 2
    assert sentence in err
    assert not Path("runs").exists()


def test_weights_are_taken_with_their_preprocessing_and_their_origin(fovea, photos):
    code, _, err = fovea("train", "lenet5", str(photos), *PHOTOS, "--image-size", "32", "--out", "first", "-j", "1")
    assert code == 0, err
    arguments = ("lenet5", str(photos), "--weights", "first", "--epochs", "1", "-b", "4", "--lr", "1e-9", "-j", "1")
    code, _, err = fovea("train", *arguments, "--crop", "centre", "--freeze", "1", "--out", "second")
    assert code == 0, err
    first, second = (json.loads(Path(run, "bundle", "bundle.json").read_text()) for run in ("first", "second"))
    assert second["preprocessing"] == first["preprocessing"]
    origin = second["provenance"]["weights"]
    assert origin == {"network": "lenet5", "sha256": first["weights"]["sha256"], "imported": None}
    assert json.loads(Path("second/config.json").read_text())["weights"]["source"] == str(Path("first").absolute())
    lowest = [weights_of(run)["features.conv1.0.weight"] for run in ("first", "second")]
    assert torch.equal(*lowest)

    shutil.copytree("second", "third")
    shutil.rmtree("third/bundle")
    shutil.rmtree("first")  # a run that goes on has its weights in the checkpoint
    code, _, err = fovea("train", "--resume", "third")
    assert code == 0, err
    assert files_of(Path("third/bundle")) == files_of(Path("second/bundle"))
    code, _, err = fovea("train", "--resume", "third", "--weights", "second")
    assert code == 2
    assert "leave NET, DATA and --out away" in err


def weights_of(run):
    return load_file(Path(run, "bundle", "weights.safetensors"))
