"""fovea runs: a line a run, what differs, the picture, folders that are damaged or not there."""

from __future__ import annotations

import dataclasses
import io
import json
import sys

import pytest
from PIL import Image

from fovea.commands import runs as module
from fovea.commands.runs import differences, labels, table
from fovea.training.folder import point_latest, write_history
from fovea.training.options import options
from fovea.training.runs import list_runs, read_run


def make(run, *, epochs=2, test=0.65, **changes):
    """A run folder as training leaves it, without the weights; not finished where test is None."""
    run.mkdir(parents=True)
    told = {
        "fovea": "1",
        "network": {"name": "lenet5"},
        "data": {"name": "digits", "fingerprint": "f" * 64, "source": None},
        "training": dataclasses.asdict(options(**changes)),
    }
    (run / "config.json").write_text(json.dumps(told))
    rows = [
        {"epoch": n, "loss": 1 / n, "validation_accuracy": 0.5 + 0.1 * n, "seconds": 30.0} for n in range(1, epochs + 1)
    ]
    if rows:
        write_history(run, rows)
    if test is not None:
        (run / "bundle").mkdir()
        (run / "bundle/bundle.json").write_text(json.dumps({"metrics": {"test": {"top1": test}}}))
    return run


def make_seeds(place):
    for seed in (42, 43):
        make(place / f"seed_{seed}", seed=seed)
    summary = {"seeds": [42, 43], "scores": {"validation": [0.98, 0.96], "test": [0.9, 0.9]}}
    (place / "summary.json").write_text(json.dumps(summary))
    return place


@pytest.fixture
def home(tmp_path):
    """./runs with two runs that differ in their learning rate, and the link to the newer."""
    make(tmp_path / "runs/2026-01-01_000000_lenet5_digits", lr=0.1)
    point_latest(make(tmp_path / "runs/2026-01-02_000000_lenet5_digits", lr=0.2, test=None, epochs=1))
    return tmp_path / "runs"


def test_the_runs_are_listed_with_what_differs_and_nothing_else(fovea, home):
    code, out, err = fovea("runs")
    assert (code, err) == (0, "")
    assert out == (
        "name                             state     epochs  validation    test  minutes  lr\n"
        "2026-01-01_000000_lenet5_digits  finished    2/30      70.00%  65.00%      1.0  0.1\n"
        "2026-01-02_000000_lenet5_digits  stopped     1/30      60.00%       –      0.5  0.2\n"
    )
    assert fovea("runs", home) == (0, out, "")


def test_without_runs_one_sentence_says_how_to_make_one(fovea, tmp_path):
    assert fovea("runs") == (0, "there are no runs in runs; make one: fovea train lenet5 digits\n", "")
    (tmp_path / "elsewhere").mkdir()
    code, out, _ = fovea("runs", "elsewhere")
    assert (code, out) == (0, "there are no runs in elsewhere; make one: fovea train lenet5 digits\n")
    assert json.loads(fovea("runs", "--json")[1]) == {"runs": [], "differing": []}
    code, _, err = fovea("runs", "--plot")
    assert (code, err) == (0, "")
    assert not (tmp_path / "runs.png").exists()


@pytest.mark.usefixtures("home")
def test_named_runs_are_compared_option_by_option(fovea):
    first, second = "2026-01-01_000000_lenet5_digits", "2026-01-02_000000_lenet5_digits"
    code, out, _ = fovea("runs", f"runs/{first}", second)
    assert code == 0
    assert out.splitlines()[-2:] == [f"option  {first}  {second}", f"lr      0.1{' ' * 30}0.2"]
    assert fovea("runs", "2026-01-01", "runs/latest")[1] == out  # by how it begins; by the link
    _, same, _ = fovea("runs", "2026-01-01", "2026-01-01")
    assert same.endswith("\n\nthe runs do not differ in any option that changes the result\n")
    _, one, _ = fovea("runs", "2026-01-01")
    assert len(one.splitlines()) == 2
    assert "lr" not in one


@pytest.mark.usefixtures("home")
def test_what_is_not_there_is_a_usage_error_with_what_was_meant(fovea, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert fovea("runs", "2025") == (2, "", "fovea: 2025: there is no such folder.\n")
    _, _, err = fovea("runs", "2026")
    assert "Do you mean 2026-01-01_000000_lenet5_digits or 2026-01-02_000000_lenet5_digits?" in err
    _, _, err = fovea("runs", "2026-01-01_000000_lenet5_digit5")
    assert "Did you mean 2026-01-01_000000_lenet5_digits" in err
    code, _, err = fovea("runs", "file")
    assert (code, "is no folder" in err) == (2, True)
    code, _, err = fovea("runs", "2026-01-01", "empty")
    assert (code, "empty: holds no run" in err) == (2, True)
    assert fovea("runs", "--plot=runs.pdf")[0] == fovea("runs", "--plot", "a.svg")[0] == 2


def test_damaged_runs_are_listed_as_such(fovea, home):
    (home / "half").mkdir()
    (home / "half/run.lock").touch()
    (home / "2026-01-01_000000_lenet5_digits/history.csv").write_text("nonsense")
    code, out, _ = fovea("runs")
    assert code == 0
    first, _, third = (line.split() for line in out.splitlines()[1:4])
    assert first[1:3] == third[1:3] == ["damaged", "–"]
    assert out.splitlines()[-1] == "half: no config.json"
    assert "history.csv: is damaged" in out.splitlines()[-2]


def test_json_has_everything(fovea, home):
    make_seeds(home / "several")
    code, out, _ = fovea("runs", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found["differing"]) == {"lr", "seed"}
    first, second, seeds = found["runs"]
    assert (first["state"], first["epochs_done"], first["epochs"]) == ("finished", 2, 30)
    assert first["best_validation_accuracy"] == pytest.approx(0.7)
    assert first["scores"] == {"test": 0.65}
    assert second["configuration"]["lr"] == 0.2
    assert second["configuration"]["keeping.watch"] is False
    assert seeds["scores"] == {"validation": [0.98, 0.96], "test": [0.9, 0.9]}
    assert [each["name"] for each in seeds["seeds"]] == ["seed_42", "seed_43"]


def test_seeds_are_one_line_with_mean_and_deviation(tmp_path):
    text = table([read_run(make_seeds(tmp_path / "several"))])
    assert text.splitlines()[1].split(maxsplit=2)[2] == "2/2 seeds  97.00 ± 1.41%  90.00 ± 0.00%      2.0"


def test_a_narrow_terminal_shortens_names_first_then_leaves_options_out(home):
    make(home / "2026-01-03_000000_lenet5_digits", lr=0.3, momentum=0.5, ema=0.9, label_smoothing=0.1)
    records, names = list_runs(home), ["lr", "momentum", "label_smoothing", "ema"]
    whole = table(records, names)
    assert whole.splitlines()[0].endswith("minutes  lr   momentum  label_smoothing  ema")
    for width in (60, 75, 90, 100, 140):
        text = table(records, names, width=width)
        assert all(len(line) <= width for line in text.splitlines()[:4])
    assert table(records, names, width=140) == whole
    narrow = table(records, names, width=75).splitlines()
    assert narrow[1].startswith("2026-01-01_000000…  finished")
    assert narrow[-1] == "they differ in momentum, label_smoothing too: --json has it all"
    assert narrow[0].endswith("lr   ema")
    make(home / "2026-01-03_000000_lenet5_mnist")
    assert "2026-01-03_000000_lenet5_mnist" in table(list_runs(home), names, width=90)  # short they would be the same


def test_values_are_short_and_readable(tmp_path):
    one = make(tmp_path / "a", nesterov=False, milestones=(1.0, 2.0), lr=1e-05)
    text = differences([read_run(one), read_run(make(tmp_path / "b"))])
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["nesterov"] == ["no", "yes"]
    assert lines["lr"] == ["1e-05", "0.05"]
    assert "[1.0," in lines["milestones"]
    assert all(len(line) <= 12 for line in differences(list_runs(tmp_path), width=12).splitlines())


@pytest.mark.parametrize(
    ("given", "file"), [(("--plot",), "runs.png"), (("--plot", "x.png"), "x.png"), (("--plot=a/y.PNG",), "a/y.PNG")]
)
def test_the_curves_are_drawn_where_it_is_said(given, file, fovea, home, tmp_path):
    make_seeds(home / "several")
    code, out, err = fovea("runs", *given)
    assert (code, err) == (0, f"drawn into {file}\n")
    assert out.startswith("name")
    assert Image.open(io.BytesIO((tmp_path / file).read_bytes())).format == "PNG"


def test_plot_before_a_run_takes_the_run_for_a_run(fovea, home, tmp_path):
    code, _, err = fovea("runs", "--plot", home / "2026-01-01_000000_lenet5_digits")
    assert (code, err) == (0, "drawn into runs.png\n")
    assert (tmp_path / "runs.png").exists()


def test_nothing_to_draw_is_a_data_error(fovea, tmp_path):
    make(tmp_path / "runs/new", epochs=0, test=None)
    code, _, err = fovea("runs", "--plot")
    assert code == 3
    assert "none of the runs has finished an epoch" in err


def test_of_too_many_runs_the_last_are_drawn_and_that_is_said(fovea, tmp_path, monkeypatch):
    from fovea.pictures import overlay  # noqa: F401  # so that the module is loaded

    drawn = sys.modules["fovea.pictures.overlay"]
    monkeypatch.setattr(drawn, "MOST", 2)
    for name in "abc":
        make(tmp_path / "runs" / name)
    seen = []
    monkeypatch.setattr(drawn, "overlay", lambda curves, title: seen.append((curves, title)) or b"png")
    _, _, err = fovea("runs", "--plot")
    assert err.startswith("only the last 2 of 3 runs are drawn")
    assert [curve.label for curve in seen[0][0]] == ["b", "c"]
    assert seen[0][1] == "Learning curves of 2 runs"


def test_labels_are_what_differs_or_the_names_where_that_says_more(tmp_path):
    records = [read_run(make(tmp_path / str(lr), lr=lr)) for lr in (0.1, 0.2)]
    assert labels(records) == ["lr 0.1", "lr 0.2"]
    assert labels(records[:1]) == ["0.1"]
    twice = [*records, read_run(make(tmp_path / "again", lr=0.2))]
    assert labels(twice) == ["0.1", "0.2", "again"]
    many = read_run(make(tmp_path / "many", lr=0.3, ema=0.9, momentum=0.5, epochs=1, batch_size=8, label_smoothing=0.1))
    assert labels([*records, many]) == ["0.1", "0.2", "many"]


def test_the_words_of_the_command_name_what_it_reads(fovea):
    code, out, _ = fovea("runs", "--help")
    assert code == 0
    assert "[RUN ...]" in out
    assert "[FILE.png]" in out
    assert module.HOME.name == "runs"
