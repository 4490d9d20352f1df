"""fovea ablate: pairs that differ by an idea alone, gone on with where they stopped, read back as a table."""

from __future__ import annotations

import csv
import json
import signal

import pytest

from fovea.experiments.ideas import IDEAS
from fovea.training import loop

PAIR = ["ablate", "lenet5", "digits", "--without", "relu:tanh", "--seeds", "1"]


def _runs(folder):
    with (folder / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pair(tmp_path_factory, quick):
    """The folder of a finished pair of one seed, watched."""
    from fovea.commands.main import main

    out = tmp_path_factory.mktemp("ablate") / "pair"
    assert main([*PAIR, *quick, "--watch", "--out", str(out)]) == 0
    return out


def test_a_pair_is_trained_and_told_and_drawn(pair, fovea):
    rows = _runs(pair / "results")
    assert [(row["network"], row["without"], row["seed"]) for row in rows] == [
        ("lenet5", "", "42"),
        ("lenet5", "relu:tanh", "42"),
    ]
    assert {row["precision"] for row in rows} == {"float32"}
    assert all(0.1 < float(row["test"]) < 1 and float(row["seconds"]) > 0 for row in rows)
    assert rows[0]["parameters"] == rows[1]["parameters"]
    names = {path.name for path in (pair / "results").iterdir()}
    assert names == {
        "runs.csv", "curves.csv", "layers.csv", "experiment.json", "curves.png", "effects.png", "gradients.png",
    }  # fmt: skip
    assert not (pair / "trials/latest").exists()
    code, out, err = fovea("ablate", "--show", pair / "results")
    assert code == 0
    effect = 100 * (float(rows[0]["test"]) - float(rows[1]["test"]))
    assert f"{effect:+.2f} (one pair)" in out
    assert err.startswith(f"results: {pair / 'results'}; pictures: curves.png")
    code, out, _ = fovea("ablate", "--show", pair / "results", "--json")
    assert json.loads(out)["effects"][0]["differences"] == pytest.approx([effect / 100], abs=1e-5)


def test_what_is_finished_is_not_done_again_and_seeds_are_added(pair, fovea, quick, tmp_path):
    before = {path: path.read_bytes() for path in (pair / "trials").rglob("bundle.json")}
    asked = [*PAIR[:-1], "2", *quick, "--watch", "--out", str(pair), "--results", str(tmp_path / "table")]
    code, _, err = fovea(*asked)
    assert code == 0
    assert [line for line in err.splitlines() if line.endswith(" begins")] == [
        "lenet5_seed43 begins",
        "lenet5_relu-tanh_seed43 begins",
    ]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert [(row["without"], row["seed"]) for row in _runs(tmp_path / "table")] == [
        ("", "42"), ("", "43"), ("relu:tanh", "42"), ("relu:tanh", "43"),
    ]  # fmt: skip
    code, _, err = fovea(*PAIR, *quick, "--lr", "0.2", "--out", pair)
    assert code == 2
    assert "is another experiment: training, update, lr was 0.03 and is 0.2 now" in err


def test_stopped_in_a_trial_the_same_command_goes_on_to_the_same_result(pair, fovea, quick, tmp_path, monkeypatch):
    real, calls = loop.learning_rate, []

    def stopping(step, *rest):
        calls.append(step)
        if len(calls) == 12:  # in the second trial of nine steps
            signal.raise_signal(signal.SIGINT)
        return real(step, *rest)

    monkeypatch.setattr(loop, "learning_rate", stopping)
    asked = [*PAIR, *quick, "--watch", "--out", str(tmp_path / "again")]
    code, out, err = fovea(*asked)
    assert (code, out) == (130, "")
    assert "stopped and saved in trial lenet5_relu-tanh_seed42; start it again to go on" in err
    assert fovea(*asked)[0] == 0
    assert max(calls.count(step) for step in set(calls)) == 2  # a step for each arm, and none twice
    for name in ("lenet5_seed42", "lenet5_relu-tanh_seed42"):
        whole, gone_on = (
            folder / "trials" / name / "bundle/weights.safetensors" for folder in (pair, tmp_path / "again")
        )
        assert whole.read_bytes() == gone_on.read_bytes()


def test_several_processes_share_the_trials_and_find_what_one_does(pair, fovea, quick, tmp_path):
    code, out, err = fovea(*PAIR, *quick, "--watch", "--processes", "2", "--out", tmp_path / "two")
    assert code == 0, err
    assert "(one pair)" in out
    both = [{row["without"]: row["test"] for row in _runs(folder / "results")} for folder in (pair, tmp_path / "two")]
    assert both[0] == both[1]


def test_alone_it_lists_the_ideas_and_toys_train_nothing(fovea):
    code, out, _ = fovea("ablate")
    assert code == 0
    assert all(f"\n{name}: " in f"\n{out}" for name in IDEAS)
    assert json.loads(fovea("ablate", "--json")[1]) == list(IDEAS)
    assert "gradient at node 4" in fovea("ablate", "--toy", "gradients")[1]
    assert fovea("ablate", "--toy", "batches")[1].count("among batch") == 6


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["lenet5", "digits", "--without", "rleu"], 2, "no idea is called 'rleu'"),
        (["lenet6", "digits", "--without", "relu"], 2, "no network is called 'lenet6'"),
        (["lenet5", "digits", "--without", "skips"], 2, "lenet5 --without skips:plain: this network has nothing of it"),
        (["lenet5", "digits", "--without", "relu", "--seeds", "0"], 2, "seeds (=0) must be 1 or more"),
        (["lenet5", "digits", "--without", "relu", "--snapshot-epochs", "2"], 2, "--snapshot-epochs is for one run"),
        (["lenet5", "digits", "--without", "relu", "--teacher", "x"], 2, "--teacher is for one network"),
        (["lenet5", "digits", "--without", "relu", "--at-equal-cost", "depth"], 2, "lenet5 has no such option"),
        (["lenet5", "digits", "--without", "relu", "--across", "lr"], 2, "must be an option and its values"),
        (["--show", "nowhere"], 4, "nowhere: holds no results of an experiment"),
        (["--toy", "gradients", "--without", "relu"], 2, "--show and --toy train nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(arguments, code, why, fovea, tmp_path):
    found, out, err = fovea("ablate", *arguments)
    assert (found, out) == (code, "")
    assert why in err
    assert not (tmp_path / "runs").exists()
