"""Predictions equal what evaluation sees, in the order asked for, and name what they cannot read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import fovea
from fovea.commands.main import main
from fovea.data.opening import open_data
from fovea.errors import DataError, UnreadableImage
from fovea.runtime import predict as module
from fovea.runtime.predict import Prediction, find_images, predict, predict_files


@pytest.fixture
def samples(run):
    return sorted((run.folder / "held_out").iterdir())


@pytest.fixture(scope="module")
def test_split():
    return open_data("digits").test


def write_image(path, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 128 if mode == "L" else (10, 200, 30)).save(path, "PNG")
    return path


def test_the_command_on_held_out_files_says_what_evaluation_sees_of_the_same_images(run, samples, test_split, capsys):
    assert main(["predict", str(run.folder), *map(str, samples), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = torch.softmax(run.model.logits(test_split.images).double(), dim=1)
    assert [answer["path"] for answer in answers] == [str(path) for path in samples]
    assert len(answers) == 10
    for i, answer in enumerate(answers):
        assert list(answer["probabilities"].values()) == pytest.approx(expected[i].tolist(), abs=1e-5)
        assert answer["label"] == run.model.classes[int(expected[i].argmax())]


def test_held_out_files_carry_the_true_class_in_their_name(samples, test_split):
    assert [path.stem for path in samples] == [f"test_{i:02}_{test_split.labels[i]}" for i in range(10)]
    for i, path in enumerate(samples):
        assert np.array_equal(np.asarray(Image.open(path)), test_split.images[i])


def test_probabilities_are_of_every_class_and_sum_to_1(run, samples):
    for prediction in predict(run.model, samples):
        assert list(prediction.probabilities) == list(run.model.classes)
        assert math.isclose(sum(prediction.probabilities.values()), 1, abs_tol=1e-12)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


def test_one_file_a_list_a_folder_and_an_array_agree(run, samples, test_split):
    listed = predict(run.folder, samples)
    assert predict(run.folder, samples[0].parent) == listed
    (alone,) = predict(str(run.folder), str(samples[3]))
    assert alone.label == listed[3].label
    arrays = predict(run.model, np.stack([test_split.images[i] for i in range(10)]))
    assert [(p.label, p.path) for p in arrays] == [(p.label, f"image/{i}") for i, p in enumerate(listed)]


def test_colour_and_other_sizes_go_through_the_bundles_preprocessing(run, tmp_path):
    grey, colour = write_image(tmp_path / "grey.png", (40, 24)), write_image(tmp_path / "colour.png", (5, 9), "RGB")
    assert [p.path for p in predict(run.model, [grey, colour])] == [str(grey), str(colour)]


def test_files_are_found_once_each_sorted_within_a_folder_and_hidden_ones_passed_over(tmp_path):
    for name in ("b.png", "a/z.JPG", "a/.hidden.png", "notes.txt", "c d\n😀.png"):
        write_image(tmp_path / name)
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path, tmp_path / "b.png"])]
    assert found == ["a/z.JPG", "b.png", "c d\n😀.png"]
    assert find_images([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]


def test_a_place_that_is_not_there_or_holds_no_image_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"holds no image \(\.bmp, "):
        find_images([tmp_path])
    with pytest.raises(DataError, match="there is no image to predict"):
        find_images([])


def test_a_bad_file_among_good_ones_is_answered_in_its_place(run, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    answers = list(predict_files(run.model, [samples[0], bad, samples[1], samples[2]]))
    assert [type(answer) for answer in answers] == [Prediction, UnreadableImage, Prediction, Prediction]
    assert str(bad) in str(answers[1])
    with pytest.raises(UnreadableImage, match=r"bad\.png"):
        predict(run.model, [samples[0], bad])


def test_a_line_names_the_likeliest_classes_in_order():
    prediction = Prediction("a.png", "b", {"a": 0.2, "b": 0.7, "c": 0.1})
    assert prediction.line(2) == "a.png  b 70.0%  a 20.0%"
    assert str(prediction) == "a.png  b 70.0%  a 20.0%  c 10.0%"


def test_predicting_by_name_of_the_package(run, samples):
    assert fovea.predict(run.folder, samples[0])[0].label in run.model.classes
