"""fovea evaluate with protocols, several models at once, slices, changed images and reports."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pytest

from fovea.architectures.catalogue import architecture_of


def test_ten_crops_say_what_they_cost(fovea, digits_run):
    code, out, err = fovea("evaluate", digits_run, "--protocol", "ten")
    assert (code, err) == (0, "")
    assert "by ten (four corners and the centre, and these mirrored" in out
    assert "10 forward passes an image, probabilities averaged" in out


def test_the_papers_figure_stands_beside_ours_with_the_data_it_is_of(fovea, tmp_path):
    import fovea as library

    network = library.create("cifar_resnet20", num_classes=10, in_channels=1, image_size=32, seed=0)
    spec = library.Preprocessing(image_size=32, resize=32, in_channels=1)
    made = library.Bundle(
        network=network,
        architecture=architecture_of(network),
        classes=tuple("0123456789"),
        preprocessing=spec,
    )
    made.save(tmp_path / "bundle")
    asked = ["evaluate", tmp_path / "bundle", "--data", "digits", "--protocol", "flip"]
    code, out, _ = fovea(*asked)
    assert code == 0
    assert "published: error 8.75 % top-1, – top-5 on CIFAR-10 test, single view 32x32" in out
    assert "on digits test" in out
    assert json.loads(fovea(*asked, "--json")[1])["published"][0]["top1"] == 8.75


def test_a_temperature_is_fitted_kept_and_used(fovea, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "run")
    before = json.loads(fovea("evaluate", digits_run, "--json")[1])
    code, out, err = fovea("evaluate", tmp_path / "run", "--calibrate", "--json")
    kept = json.loads((tmp_path / "run/bundle/bundle.json").read_text())
    calibrated = json.loads(out)
    assert code == 0
    assert "fitted on 359 validation images" in err
    assert (kept["version"], kept["temperature"] != 1) == (2, True)
    assert calibrated["top1"] == before["top1"]
    assert calibrated["negative_log_likelihood"] != before["negative_log_likelihood"]
    assert json.loads(fovea("evaluate", tmp_path / "run", "--json")[1]) == calibrated
    again = json.loads(fovea("evaluate", tmp_path / "run", "--calibrate", "--json")[1])
    assert again["negative_log_likelihood"] == pytest.approx(calibrated["negative_log_likelihood"], abs=1e-6)


@pytest.mark.parametrize("value", [0, "warm", None])
def test_a_damaged_temperature_is_refused(value, fovea, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "run")
    file = tmp_path / "run/bundle/bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2, "temperature": value}))
    code, out, err = fovea("evaluate", tmp_path / "run")
    assert (code, out) == (4, "")
    assert f"temperature (={value}) must be above 0" in err


def test_a_model_against_itself_cannot_be_told_apart(fovea, digits_run):
    code, out, _ = fovea("evaluate", digits_run, digits_run / "bundle", "--data", "digits", "--compare")
    assert code == 0
    assert "cannot be told apart on these 359 images: difference +0.00%" in out.splitlines()[-1]


def test_an_ensemble_of_equals_scores_as_each(fovea, digits_run):
    code, out, _ = fovea(
        "evaluate", digits_run, digits_run / "bundle", "--data", "digits", "--ensemble", "--members", "fitted", "--json"
    )
    first, _, whole = map(json.loads, out.splitlines())
    assert code == 0
    assert whole["top1"] == first["top1"]
    assert whole["negative_log_likelihood"] == pytest.approx(first["negative_log_likelihood"], abs=1e-5)
    assert sum(whole["weights"]) == pytest.approx(1)
    assert whole["top1_without"] == [first["top1"]] * 2


def test_slices_by_pattern_count_their_images(fovea, digits_run):
    code, out, _ = fovea("evaluate", digits_run, "--slices", "digits/*1", "digits/*", "--json")
    odd, every = json.loads(out)["slices"]
    assert code == 0
    assert every["images"] == 359
    assert 0 < odd["images"] < 359


def test_slices_by_a_column_of_a_table(fovea, digits_run, tmp_path):
    lines = [f"digits/{i},{'even' if i % 2 == 0 else 'odd'}" for i in range(1797)]
    (tmp_path / "table.csv").write_text("\n".join(["path,kind", *lines]))
    code, out, _ = fovea("evaluate", digits_run, "--slices", "kind", "--slice-table", tmp_path / "table.csv", "--json")
    found = json.loads(out)
    assert code == 0
    assert [each["slice"] for each in found["slices"]] == ["kind=even", "kind=odd"]
    assert sum(each["images"] for each in found["slices"]) == found["images"]


def test_the_further_digits_are_shifted_the_fewer_keep_their_answer(fovea, digits_run):
    code, out, _ = fovea("evaluate", digits_run, "--robustness", "shift", "--json")
    (found,) = json.loads(out)["robustness"]
    assert code == 0
    assert found["values"][0] == 0
    assert found["agreement"][0] == 1
    assert found["agreement"][-1] < 0.9
    assert len(found["top1"]) == len(found["intervals"]) == len(found["values"]) > 2


def test_a_report_stands_alone_and_lists_every_image(fovea, digits_run, tmp_path):
    code, out, err = fovea("evaluate", digits_run, "--report", tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text()
    numbers = json.loads((tmp_path / "report/report.json").read_text())
    rows = list(csv.DictReader((tmp_path / "report/predictions.csv").open(encoding="utf-8")))
    assert (code, err) == (0, "")
    assert str(tmp_path / "report/report.html") in out
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(rows) == numbers["images"] == 359
    assert sum(int(row["right"]) for row in rows) == round(numbers["top1"] * 359)
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == {
        "confusion_matrix.png",
        "mistakes.png",
        "reliability.png",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--compare"], "--compare wants two models or more"),
        (["--ensemble"], "--ensemble wants two models or more"),
        (["--members", "greedy"], "belongs to --ensemble"),
        (["--slice-table", "t.csv"], "wants --slices"),
        (["--views", "0", "--protocol", "random"], "views (=0)"),
        (["--protocol", "eleven"], "eleven"),
        (["--robustness", "jpg"], "jpeg"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, sentence, fovea, digits_run):
    code, out, err = fovea("evaluate", digits_run, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err


def test_weights_are_not_fitted_on_the_split_that_is_judged(fovea, digits_run):
    code, _, err = fovea(
        "evaluate", digits_run, digits_run, "--ensemble", "--split", "validation", "--members", "fitted"
    )
    assert code == 2
    assert "a validation split that is not the one judged" in err


@pytest.mark.parametrize("protocol", ["centre", "ten"])
def test_two_processes_print_what_one_does(protocol, digits_run):
    asked = ["-m", "fovea", "evaluate", str(digits_run), "--split", "train", "--protocol", protocol, "--json"]
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    said = [
        subprocess.run([sys.executable, *way, *asked], capture_output=True, text=True, timeout=300, check=False)
        for way in ([], launched)
    ]
    assert [each.returncode for each in said] == [0, 0], said[1].stderr[-2000:]
    one, two = (each.stdout.splitlines() for each in said)
    assert one == two
    assert json.loads(one[0])["images"] == 1079
