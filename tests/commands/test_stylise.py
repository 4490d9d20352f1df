"""The command stylise: pictures, their histories, folders, frames, a network taught a style, and what cannot be."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.style.conftest import picture, striped

QUICK = ("--size", 48, "--steps", 4, "--precision", "float32")


@pytest.fixture
def files(tmp_path):
    """A content and a style in the folder where the command runs."""
    Image.fromarray(picture(1)).save(tmp_path / "photo.png")
    Image.fromarray(striped()).save(tmp_path / "style.png")
    return tmp_path


def test_a_picture_its_history_and_a_line(fovea, digits_run, files):
    code, out, err = fovea("stylise", "photo.png", "style.png", "--weights", digits_run, *QUICK)
    assert code == 0
    assert out.startswith("stylised.png: 48×40 pixels by lenet5, 4 steps; the loss is ")
    assert err.splitlines()[1].startswith("48×40 pixels in one piece, 4 steps, 0.")
    written = Image.open(files / "stylised.png")
    assert written.size == (48, 40)
    assert json.loads(written.text["fovea stylise"])["steps"] == 4
    rows = list(csv.DictReader((files / "stylised.csv").open()))
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4]
    losses = [float(row["total"]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def test_twice_gives_the_same_bytes_and_json_is_for_machines(fovea, digits_run, files):
    asked = ("stylise", "photo.png", "style.png", "--weights", digits_run, *QUICK, "--start", "noise", "--json")
    told = [json.loads(fovea(*asked, "-o", f"{name}.png")[1]) for name in "ab"]
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()
    assert (files / "a.csv").read_bytes() == (files / "b.csv").read_bytes()
    assert told[0]["pictures"][0] == told[1]["pictures"][0] | {"picture": "a.png"}
    assert told[0]["pictures"][0]["finished"] is True


def test_a_dry_run_tells_and_writes_nothing(fovea, digits_run, files):
    before = sorted(files.iterdir())
    code, out, err = fovea("stylise", "photo.png", "style.png", "--weights", digits_run, "--dry-run")
    assert (code, err) == (0, "")
    assert "512×427 pixels in one piece, 200 steps" in out
    assert sorted(files.iterdir()) == before


def test_pictures_on_the_way_several_styles_masks_and_a_start(fovea, digits_run, files):
    left = np.zeros((40, 48, 3), np.uint8)
    left[:, :24] = 255
    Image.fromarray(left).save(files / "left.png")
    Image.fromarray(255 - left).save(files / "right.png")
    asked = ("stylise", "photo.png", "style.png", "photo.png", "--weights", digits_run, *QUICK)
    masks = ("--masks", "left.png", "right.png", "--start-from", "style.png", "--every", 2, "-o", "deep/out.jpg")
    code, _, err = fovea(*asked, *masks)
    assert code == 0, err
    assert Image.open(files / "deep/out.jpg").format == "JPEG"
    assert [each.name for each in sorted((files / "deep/out_steps").iterdir())] == ["0048_00002.jpg", "0048_00004.jpg"]


def test_a_folder_and_frames(fovea, digits_run, files):
    (files / "film/deep").mkdir(parents=True)
    for n, place in enumerate(("a.png", "b.png", "deep/c.png")):
        Image.fromarray(np.roll(picture(1), n, axis=1)).save(files / "film" / place)
    code, out, _ = fovea("stylise", "film", "style.png", "--weights", digits_run, *QUICK, "--frames", "-o", "painted")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "painted/a.png",
        "painted/b.png",
        "painted/deep/c.png",
    ]
    assert (files / "painted/deep/c.csv").is_file()
    first = next(csv.DictReader((files / "painted/b.csv").open()))
    assert float(first["content"]) > 1e-6  # it began at the last frame's result, not at its content


def test_a_folder_s_pictures_do_not_take_each_other_s_place_nor_their_own(fovea, digits_run, files):
    (files / "film").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.fromarray(picture(1)).save(files / "film" / name)
    asked = ("stylise", "film", "style.png", "--weights", digits_run)
    code, _, err = fovea(*asked, "-o", "painted")
    assert (code, (files / "painted").exists()) == (2, False)
    assert "film/a.jpg and film/a.png would both become painted/a.png" in err
    code, _, err = fovea(*asked, "-o", "film/painted")
    assert (code, "must be a folder outside of film" in err) == (2, True)


def test_a_network_is_taught_goes_on_and_stylises(fovea, digits_run, files):
    (files / "images").mkdir()
    for n in range(3):
        Image.fromarray(picture(n, 40, 50)).save(files / f"images/{n}.png")
    asked = ("stylise", "--train", "style.png", "--data", "images", "--out", "taught", "--weights", digits_run)
    quick = ("--train-size", 32, "--batch-size", 1)
    code, out, err = fovea(*asked, *quick, "--train-steps", 1)
    assert code == 0, err
    assert out.splitlines()[0] == "model: taught"
    code, out, _ = fovea(*asked, *quick, "--train-steps", 2)
    assert out.splitlines()[1].startswith("2 steps; of the last 1:")
    code, out, _ = fovea("stylise", "photo.png", "--model", "taught", "--size", 48, "-o", "own.png")
    assert (code, out) == (0, "own.png\n")
    assert Image.open(files / "own.png").size == (48, 40)
    fovea("stylise", "images", "--model", "taught", "-o", "all", "--size", 64)
    assert [Image.open(each).size for each in sorted((files / "all").iterdir())] == [(64, 51)] * 3
    code, _, err = fovea(*asked, *quick, "--strength", 0.8)
    assert code == 2
    assert "learns with strength 0.5, not 0.8" in err


@pytest.mark.usefixtures("files")
def test_vgg_without_weights_says_how_to_get_them_and_what_stands_in(fovea):
    code, _, err = fovea("stylise", "photo.png", "style.png")
    assert code == 4
    assert "fovea import torchvision:vgg19 --out vgg19" in err
    assert "--partial --preprocessing caffe" in err
    assert "--weights MODEL" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name a picture and a style, for example"),
        (("photo.png",), 2, "name a style beside photo.png"),
        (("nowhere.png", "style.png"), 3, "nowhere.png: there is no such file"),
        (("photo.png", "nowhere.png"), 3, "nowhere.png: there is no such file"),
        (("photo.png", "broken.png"), 3, "broken.png"),
        (("photo.png", "style.png", "-o", "photo.png"), 2, "would take the place of what it is made from"),
        (("photo.png", "style.png", "-o", "out.gif"), 2, "must end in .png, .jpg, .jpeg"),
        (("photo.png", "style.png", "-o", "."), 2, "must end in .png"),
        (("photo.png", "style.png", "--masks", "style.png"), 4, "style.png has 40×40 pixels, the content 48×40"),
        (("photo.png", "style.png", "--content-layer", "conv9"), 2, "no stage is called conv9"),
        (("photo.png", "style.png", "--size", "9000"), 2, "size"),
        (("photo.png", "style.png", "--memory", "0.001"), 5, "GiB even in small tiles"),
        (("photo.png", "style.png", "--frames"), 2, "--frames is for a folder"),
        (("photo.png", "style.png", "--train-steps", "9"), 2, "--train-steps is for --train"),
        (("photo.png", "style.png", "--data", "x"), 2, "--data is for --train"),
        (("photo.png", "style.png", "--model", "x"), 2, "knows one style already"),
        (("photo.png", "--model", "x", "--steps", "9"), 2, "--steps is for the search"),
        (("photo.png", "--model", "x", "--weights", "y"), 2, "--weights is for the search"),
        (("--train", "style.png", "--data", "nowhere", "--out", "x"), 3, "nowhere: there is no such file"),
        (("--train", "broken.png", "--data", ".", "--out", "x"), 3, "broken.png"),
        (("photo.png", "--model", "nowhere"), 4, "holds no network that was taught a style"),
        (("--train", "style.png"), 2, "name images to learn from and a folder"),
        (("photo.png", "--train", "style.png", "--data", ".", "--out", "x"), 2, "leave photo.png out"),
        (("--train", "style.png", "--data", ".", "--out", "x", "--colour", "luminance"), 2, "--colour is for single"),
        (("photo.png", "style.png", "--weights", "nowhere"), 2, "'nowhere' is neither a run folder"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_writes_nothing(fovea, digits_run, files, arguments, code, message):
    (files / "broken.png").write_bytes((files / "style.png").read_bytes()[:50])
    before = sorted(files.iterdir())
    given = () if {"--weights", "--model"} & set(arguments) else ("--weights", digits_run)
    found, out, err = fovea("stylise", *arguments, *given)
    assert (found, out) == (code, ""), err
    told = [line for line in err.splitlines() if line.startswith("fovea: ")]
    assert message in told[0]
    assert "Traceback" not in err
    assert sorted(files.iterdir()) == before
