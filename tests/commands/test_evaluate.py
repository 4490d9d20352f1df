"""fovea evaluate."""

from __future__ import annotations

import json
import shutil
from typing import get_args

import pytest

from fovea.commands.evaluate import Protocol
from fovea.evaluation.protocols import SAYS


def test_every_protocol_can_be_asked_for():
    assert set(get_args(Protocol)) == {*SAYS, "dense"}


def test_json_has_the_promised_keys_and_the_numbers_of_the_bundle(fovea, digits_run):
    code, out, err = fovea("evaluate", digits_run, "--json")
    (line,) = out.splitlines()
    scores = json.loads(line)
    told = json.loads((digits_run / "bundle/bundle.json").read_text())["metrics"]["test"]
    assert (code, err) == (0, "")
    assert scores == {"model": str(digits_run), "data": "digits", "split": "test"} | told
    assert {"images", "top1", "top1_interval", "top5", "negative_log_likelihood"} <= scores.keys()


def test_another_split_is_judged_where_it_is_asked_for(fovea, digits_run):
    told = json.loads((digits_run / "bundle/bundle.json").read_text())["metrics"]["validation"]
    scores = json.loads(fovea("evaluate", digits_run, "--split", "validation", "--json")[1])
    assert scores["split"] == "validation"
    assert scores["top1"] == told["top1"]
    assert json.loads(fovea("evaluate", digits_run, "--split", "train", "--json")[1])["images"] == 1079


def test_a_line_for_each_model_in_the_order_asked(fovea, digits_run):
    code, out, _ = fovea("evaluate", digits_run, digits_run / "bundle", "--data", "digits")
    assert code == 0
    assert [line.split(" on digits, test: ")[0] for line in out.splitlines()] == [
        str(digits_run),
        str(digits_run / "bundle"),
    ]


def test_without_a_model_it_says_what_to_type(fovea):
    code, out, err = fovea("evaluate")
    assert (code, out) == (2, "")
    assert "for example: fovea evaluate runs/latest" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--split", "tset"], 2, "digits has no split 'tset'; there are train, validation, test, and all"),
        (["--data", "minst"], 2, "Did you mean mnist"),
        (["--device", "warp"], 2, "warp"),
    ],
)
def test_what_is_not_there_is_refused(arguments, code, sentence, fovea, digits_run):
    found, out, err = fovea("evaluate", digits_run, *arguments)
    assert (found, out) == (code, "")
    assert sentence in err


def test_all_models_are_found_before_one_is_judged(fovea, digits_run):
    code, out, err = fovea("evaluate", digits_run, "runs/nowhere")
    assert (code, out) == (2, "")
    assert "'runs/nowhere' is neither a run folder" in err


@pytest.mark.parametrize("content", [None, "{}", '{"data": {"source": null}}', '{"data": []}'])
def test_a_bundle_that_does_not_know_its_data_asks_for_it(content, fovea, digits_run, tmp_path):
    shutil.copytree(digits_run / "bundle", tmp_path / "copy/bundle")
    if content is not None:
        (tmp_path / "copy/config.json").write_text(content)
    code, _, err = fovea("evaluate", "copy/bundle")
    assert code == 2
    assert "does not say where its data lies; name it with --data" in err


def test_a_damaged_bundle_is_4_and_named(fovea, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "copy")
    path = tmp_path / "copy/bundle/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = fovea("evaluate", "copy")
    assert (code, out) == (4, "")
    assert "weights.safetensors: its SHA-256 is" in err


def test_classes_the_model_does_not_know_are_3(fovea, digits_run, photos):
    code, out, err = fovea("evaluate", digits_run, "--data", photos)
    assert (code, out) == (3, "")
    assert "classes the model was not trained on: dark, light" in err


def test_data_cut_in_another_way_is_noted(fovea, digits_run):
    code, out, err = fovea("evaluate", digits_run, "--data", "digits", "--split-seed", "7")
    assert code == 0
    assert err.startswith("note: digits is not as it was when the model was trained")
    assert "test: top-1" in out
