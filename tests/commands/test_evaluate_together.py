"""fovea evaluate with protocols, several models at once, slices, changed images and reports."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

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
    assert kept["metrics"]["test"]["negative_log_likelihood"] == calibrated["negative_log_likelihood"]
    assert f"a temperature of {kept['temperature']:.4g}" in (tmp_path / "run/bundle/README.md").read_text()
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
        (["--views", "3"], "--views belongs to --protocol random; --protocol is centre"),
        (["--average", "logits"], "--average belongs to a --protocol of several views"),
        (["--scales", "40", "--protocol", "ten"], "--scales belongs to --protocol dense; --protocol is ten"),
        (["--batch-size", "0"], "batch_size (=0) must be 1 or more"),
        (["--calibrate", "--split", "all"], "a validation split that is not the one judged"),
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


@pytest.fixture(scope="session")
def seeds_run(tmp_path_factory):
    """The runs of two seeds."""
    import fovea as library
    from fovea.experiments.seeds import train_seeds
    from fovea.training import train
    from fovea.training.recipes import recipe

    out = tmp_path_factory.mktemp("seeds") / "runs"
    data = library.open_data("digits")
    options = recipe("digits").but(epochs=1, warmup_epochs=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw", lambda *_: None)  # the pictures take longer than the runs
        train_seeds(lambda seed: library.create("lenet5", seed=seed), data, options, seeds=2, out=out)
    return out


def test_a_folder_of_seeds_is_judged_run_by_run_and_together(fovea, seeds_run, tmp_path):
    code, out, err = fovea("evaluate", seeds_run, "--ensemble", "--compare", "--report", tmp_path / "report", "--json")
    first, second, over, whole, *pairs = map(json.loads, out.splitlines())
    assert code == 0
    assert [Path(each["model"]).name for each in (first, second)] == [Path(each).name for each in over["seeds"]]
    assert over["values"] == [first["top1"], second["top1"]]
    assert over["mean"] == pytest.approx((first["top1"] + second["top1"]) / 2)
    assert over["half"] == pytest.approx(12.7062 * over["deviation"] / 2**0.5, rel=1e-4)
    assert [each["compare"][1] for each in pairs] == [second["model"], "the ensemble", "the ensemble"]
    assert pairs[2]["difference"] == pytest.approx(whole["top1"] - second["top1"])
    numbers = json.loads((tmp_path / "report/report.json").read_text())
    assert numbers["together"] == [over, whole, *pairs]
    assert numbers["models"] == [first, second]
    page = (tmp_path / "report/report.html").read_text()
    assert f"{first['top1']:.2%}" in page
    assert str(tmp_path / "report/report.html") in err
    assert (tmp_path / "report/model_2/predictions.csv").is_file()


def test_runs_of_other_recipes_or_the_same_seed_are_no_group(fovea, seeds_run, digits_run):
    run = seeds_run / sorted(path.name for path in seeds_run.glob("seed_*"))[0]
    for other in (digits_run, run):
        code, out, _ = fovea("evaluate", run, other)
        assert code == 0
        assert len(out.splitlines()) == 2


def test_checkpoints_of_a_run_are_members(fovea, digits_run):
    members = [digits_run / name for name in ("best.safetensors", "last.safetensors")]
    code, out, _ = fovea("evaluate", *members, "--ensemble", "--json")
    best, last, whole = map(json.loads, out.splitlines())
    assert code == 0
    assert best["model"] == str(members[0])
    assert best | {"model": ""} == json.loads(fovea("evaluate", digits_run, "--json")[1]) | {"model": ""}
    assert whole["ensemble"] == [best["model"], last["model"]]
    code, _, err = fovea("evaluate", members[0], "--calibrate")
    assert code == 2
    assert "--calibrate keeps a temperature in a bundle; " in err


def test_other_batches_change_logits_by_rounding_alone(fovea, digits_run):
    one, other = (json.loads(fovea("evaluate", digits_run, "--json", "--batch-size", size)[1]) for size in ("256", "7"))
    assert one["top1"] == other["top1"]
    assert one["negative_log_likelihood"] == pytest.approx(other["negative_log_likelihood"], abs=1e-5)


def test_dense_judges_at_the_scales_asked_for(fovea, digits_run):
    code, out, _ = fovea("evaluate", digits_run, "--protocol", "dense", "--scales", "32", "40")
    assert code == 0
    assert "shorter side 32, 40; 4 forward passes" in out


class TestWithoutLabels:
    def test_models_predict_and_that_is_said(self, fovea, digits_run, tmp_path):
        shutil.copytree(digits_run / "held_out", tmp_path / "some")
        names = sorted(path.name for path in (tmp_path / "some").iterdir())
        code, out, err = fovea("evaluate", digits_run, "--data", tmp_path / "some", "--report", tmp_path / "report")
        assert code == 0
        assert "note: predictions only, nothing to judge by" in err
        assert f"{len(names)} images without labels" in out
        rows = list(csv.DictReader((tmp_path / "report/predictions.csv").open(encoding="utf-8")))
        assert [Path(row["path"]).name for row in rows] == names
        told = [json.loads(line) for line in fovea("predict", digits_run, tmp_path / "some", "--json")[1].splitlines()]
        assert [row["prediction"] for row in rows] == [each["label"] for each in told]
        assert float(rows[0]["probability_1"]) == pytest.approx(max(told[0]["probabilities"].values()), abs=1e-6)

    def test_a_table_of_paths_alone_is_enough(self, fovea, digits_run, tmp_path):
        shutil.copytree(digits_run / "held_out", tmp_path / "some")
        names = sorted(path.name for path in (tmp_path / "some").iterdir())[:3]
        (tmp_path / "some/table.csv").write_text("\n".join(["size,path", *(f"1,{name}" for name in names)]))
        code, out, err = fovea("evaluate", digits_run, "--data", tmp_path / "some/table.csv", "--json")
        assert code == 0
        assert "names no column of labels" in err
        assert json.loads(out)["images"] == sum(json.loads(out)["predicted"].values()) == 3

    def test_by_a_protocol_too(self, fovea, digits_run):
        code, out, _ = fovea("evaluate", digits_run, "--data", digits_run / "held_out", "--protocol", "ten", "--json")
        assert code == 0
        assert json.loads(out)["images"] > 0

    @pytest.mark.parametrize(
        "asked", [["--compare"], ["--ensemble"], ["--calibrate"], ["--split", "test"], ["--robustness", "shift"]]
    )
    def test_what_wants_labels_is_refused(self, asked, fovea, digits_run):
        code, out, err = fovea("evaluate", digits_run, digits_run, "--data", digits_run / "held_out", *asked)
        assert (code, out) == (2, "")
        assert f"{asked[0]} wants labels: " in err

    def test_a_file_that_cannot_be_read_is_left_out_and_named(self, fovea, digits_run, tmp_path):
        shutil.copytree(digits_run / "held_out", tmp_path / "some")
        (tmp_path / "some/broken.png").write_bytes(b"no image")
        code, out, err = fovea("evaluate", digits_run, "--data", tmp_path / "some")
        assert code == 8
        assert "broken.png" in err
        assert "images without labels" in out


@pytest.mark.parametrize("protocol", ["centre", "ten", "dense"])
def test_two_processes_print_what_one_does(protocol, fovea, forked, digits_run):
    asked = ["evaluate", str(digits_run), "--split", "train", "--protocol", protocol, "--json"]
    code, one, _ = fovea(*asked)
    first, second = forked(
        "import sys; from fovea.commands.main import main; sys.exit(main(sys.argv[1:]))", *asked, ranks=2
    )
    assert (code, first.returncode, second.returncode) == (0, 0, 0), first.stderr[-2000:]
    assert first.stdout == one
    assert second.stdout == ""
    assert json.loads(one)["images"] == 1079


def test_under_torchrun_too(fovea, digits_run):
    asked = ["evaluate", str(digits_run), "--split", "train", "--json"]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fovea"]
    two = subprocess.run([*launched, *asked], capture_output=True, text=True, timeout=300, check=False)
    code, one, _ = fovea(*asked)
    assert (code, two.returncode) == (0, 0), two.stderr[-2000:]
    assert two.stdout == one


def test_one_of_two_processes_says_what_is_wrong():
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fovea", "evaluate"]
    done = subprocess.run(
        [sys.executable, *launched, "nosuch"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("is neither a run folder, nor a bundle, nor a network") == 1
