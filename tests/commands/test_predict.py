"""fovea predict."""

from __future__ import annotations

import json
import os
import shutil

import pytest


@pytest.fixture
def samples(digits_run, tmp_path):
    """A copy of the held-out images, to be spoiled."""
    return shutil.copytree(digits_run / "held_out", tmp_path / "images")


def test_json_is_one_object_for_each_image(fovea, digits_run, samples):
    code, out, err = fovea("predict", digits_run, samples, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [answer["path"] for answer in answers] == [str(path) for path in sorted(samples.iterdir())]
    for answer in answers:
        assert list(answer) == ["path", "label", "probabilities"]
        assert list(answer["probabilities"]) == list("0123456789")
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["probabilities"][answer["label"]] == max(answer["probabilities"].values())


@pytest.mark.parametrize("top", [1, 2, 99])
def test_a_line_has_as_many_classes_as_asked_for(top, fovea, digits_run, samples):
    path = min(samples.iterdir())
    code, out, _ = fovea("predict", digits_run, path, "--top", top)
    assert code == 0
    assert out.startswith(f"{path}  ")
    assert out.count("%") == min(top, 10)


def test_a_folder_with_bad_files_goes_on_and_ends_with_8(fovea, digits_run, samples):
    (samples / "test_05_bad.png").write_bytes(b"")
    (samples / "zz.jpg").write_bytes(b"<svg></svg>")
    code, out, err = fovea("predict", digits_run, samples)
    assert code == 8
    assert len(out.splitlines()) == 10
    lines = err.splitlines()
    assert len(lines) == 3
    assert "test_05_bad.png" in lines[0]
    assert "zz.jpg" in lines[1]
    assert lines[2] == "fovea: 2 of 12 images could not be read"


def test_a_single_bad_image_is_3_and_named(fovea, digits_run, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image at all")
    code, out, err = fovea("predict", digits_run, "bad.png")
    assert (code, out) == (3, "")
    assert err.startswith("fovea: bad.png: ")
    assert len(err.splitlines()) == 1


def test_nothing_but_bad_images_still_ends_with_8(fovea, digits_run, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    code, out, _ = fovea("predict", digits_run, "a.png", "b.png")
    assert (code, out) == (8, "")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("nowhere.png", "nowhere.png: there is no such file or folder"), ("empty", "empty: holds no image (")],
)
def test_a_place_without_an_image_is_3(place, sentence, fovea, digits_run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = fovea("predict", digits_run, place)
    assert (code, out) == (3, "")
    assert err.startswith(f"fovea: {sentence}")


@pytest.mark.parametrize("arguments", [[], ["runs/latest"], ["runs/latest", "a.png", "--top", "0"]])
def test_what_is_missing_or_out_of_range_is_2(arguments, fovea):
    code, out, err = fovea("predict", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_a_mistyped_model_is_2_and_a_name_without_weights_4(fovea):
    assert fovea("predict", "lenet4", "a.png")[0] == 2
    code, _, err = fovea("predict", "lenet5", "a.png")
    assert (code, "is a network without weights" in err) == (4, True)


def test_a_file_name_of_any_bytes_is_predicted_and_printed_as_it_is(shell, digits_run, samples, tmp_path):
    name = b"caf\xe9 \xf0\x9f\x98\x80.png"
    shutil.copy(min(samples.iterdir()), os.fsencode(tmp_path) + b"/" + name)
    done = shell(f"$FOVEA predict {digits_run} *.png; $FOVEA predict {digits_run} *.png --json")
    assert done.returncode == 0, done.stderr
    plain, machine = done.stdout.splitlines()
    assert plain.startswith(name + b"  ")
    assert os.fsencode(json.loads(machine)["path"]) == name
