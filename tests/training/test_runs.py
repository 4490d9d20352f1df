"""Run folders read back: every state, the options that differ, seeds, and damage that is said and crashes nothing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from fovea.errors import ModelError
from fovea.training import folder
from fovea.training.options import options
from fovea.training.runs import differing, history, is_run, list_runs, read_run

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom fovea.training import folder\n"
    "with folder.locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


def configuration(network="lenet5", **changes):
    return {
        "fovea": "1",
        "network": {"name": network, "num_classes": 10, "options": {"stem": "small"}},
        "data": {"name": "digits", "fingerprint": "abc", "source": {"source": "digits", "split_seed": 42}},
        "training": dataclasses.asdict(options(**changes)),
    }


def row(epoch, accuracy=0.5):
    return {"epoch": epoch, "loss": 1.0, "validation_loss": 2.0, "validation_accuracy": accuracy, "seconds": 30.0}


def make(run, *, epochs=2, finished=True, **changes):
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(configuration(**changes)))
    if epochs:
        folder.write_history(run, [row(epoch, 0.5 + 0.1 * epoch) for epoch in range(1, epochs + 1)])
    if finished:
        (run / "bundle").mkdir()
        metrics = {"validation": {"top1": 0.7}, "test": {"top1": 0.65}}
        (run / "bundle/bundle.json").write_text(json.dumps({"metrics": metrics}))
    return run


def test_a_finished_run_tells_what_it_reached(tmp_path):
    record = read_run(make(tmp_path / "run", epochs=2, lr=0.25))
    assert (record.name, record.state, record.problem) == ("run", "finished", "")
    assert len(record.history) == 2
    assert record.epochs == 30
    assert record.best == 0.7
    assert record.minutes == 1.0
    assert record.scores == {"validation": (0.7,), "test": (0.65,)}
    assert record.configuration["lr"] == 0.25
    assert record.configuration["network"] == "lenet5"
    assert record.configuration["stem"] == "small"
    assert record.configuration["data"] == "digits"
    assert record.configuration["milestones"] == "[]"
    assert "source" not in record.configuration


def test_a_stopped_run_has_no_scores_and_one_without_epochs_no_best(tmp_path):
    record = read_run(make(tmp_path / "run", epochs=0, finished=False))
    assert (record.state, record.best, record.minutes, record.scores) == ("stopped", None, 0.0, {})


def test_a_run_that_is_held_is_running_and_is_not_disturbed(tmp_path):
    run = make(tmp_path / "run", finished=False)
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        before = (run / "run.lock").read_text(), (run / "run.lock").stat().st_mtime_ns
        assert read_run(run).state == "running"
        assert ((run / "run.lock").read_text(), (run / "run.lock").stat().st_mtime_ns) == before
        process.communicate("", timeout=20)
        assert process.returncode == 0
    assert read_run(run).state == "stopped"
    with folder.locked(run):  # reading has let go of it
        pass


def test_a_folder_that_was_locked_a_moment_ago_is_running_not_damaged(tmp_path):
    with folder.locked(tmp_path / "run"):
        (record,) = list_runs(tmp_path)
        assert (record.state, record.problem) == ("running", "no config.json")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", '{"network": ', "is damaged, not valid JSON"),
        ("config.json", "[]", "must hold a JSON object"),
        ("config.json", "{}", "training must hold an object"),
        ("config.json", '{"training": {}, "network": {}, "data": 3}', "data must hold an object, not int"),
        ("history.csv", "nonsense", "is damaged, no table of epochs"),
        ("history.csv", "loss\n1\n", "is damaged, no table of epochs"),
        ("history.csv", "epoch,loss\n1,abc\n", "is damaged, no table of epochs"),
        ("history.csv", "epoch,loss\n1,2,3,4\n", "is damaged, no table of epochs"),
        ("history.csv", b"epoch\n\xff\n", "is damaged, no table of epochs"),
        ("bundle/bundle.json", "{", "is damaged, not valid JSON"),
        ("bundle/bundle.json", '{"metrics": {"test": {}}}', "its metrics have no top1"),
        ("bundle/bundle.json", '{"metrics": {"test": 1}}', "its metrics have no top1"),
        ("bundle/bundle.json", '{"metrics": []}', "metrics must hold an object"),
    ],
)
def test_damage_is_said_and_crashes_nothing(file, content, said, tmp_path):
    make(tmp_path / "good")
    run = make(tmp_path / "run")
    (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    good, bad = list_runs(tmp_path)
    assert good.state == "finished"
    assert bad.state == "damaged"
    assert said in bad.problem
    assert differing([good, bad]) == []


def test_half_written_folders_are_runs_and_others_are_not(tmp_path):
    for name in ("a.lock", "b.history", "thesis", "latest_results"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.lock/run.lock").touch()
    (tmp_path / "b.history/history.csv").write_text("epoch\n1\n")
    (tmp_path / "thesis/chapter.tex").touch()
    (tmp_path / "file").touch()
    assert [record.name for record in list_runs(tmp_path)] == ["a.lock", "b.history"]
    assert {record.state for record in list_runs(tmp_path)} == {"damaged"}
    assert not is_run(tmp_path / "thesis")


def test_runs_come_by_name_and_the_link_to_the_latest_does_not_count(tmp_path):
    for name in ("2026-02-01_a", "2026-01-01_b", "2025-12-31_c"):
        folder.point_latest(make(tmp_path / name))
    assert (tmp_path / "latest").is_symlink()
    assert [record.name for record in list_runs(tmp_path)] == ["2025-12-31_c", "2026-01-01_b", "2026-02-01_a"]


def test_a_folder_that_is_not_there_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="nowhere: cannot be read"):
        list_runs(tmp_path / "nowhere")


def test_only_what_differs_and_matters_is_named(tmp_path):
    one = read_run(make(tmp_path / "1", lr=0.1, ema=0.9, workers=1, watch=True))
    two = read_run(make(tmp_path / "2", lr=0.2, ema=0.9, workers=4, watch=False))
    other = read_run(make(tmp_path / "3", lr=0.2, ema=0.9, network="vgg11"))
    assert differing([one, two]) == ["lr"]
    assert differing([one, two, other]) == ["network", "lr"]
    assert one.configuration["keeping.watch"] is True
    assert differing([one]) == differing([]) == differing([one, one]) == []


def test_an_option_that_an_older_run_did_not_have_differs(tmp_path):
    old = make(tmp_path / "old")
    told = configuration()
    del told["training"]["averaging"]["ema"]
    (old / "config.json").write_text(json.dumps(told))
    assert differing([read_run(old), read_run(make(tmp_path / "new"))]) == ["ema"]


def seeds(place, states, summary=None):
    for number, finished in enumerate(states, start=42):
        make(place / f"seed_{number}", finished=finished, seed=number)
    (place / "seeds.json").write_text(json.dumps({"seeds": list(range(42, 42 + len(states)))}))
    if summary is not None:
        (place / "summary.json").write_text(json.dumps(summary))
    return place


def test_seeds_are_one_record_with_their_scores(tmp_path):
    summary = {"seeds": [42, 43], "scores": {"validation": [0.98, 0.97], "test": [0.9, 0.8]}}
    seeds(tmp_path / "several", [True, True], summary)
    (record,) = list_runs(tmp_path)
    assert record.state == "finished"
    assert record.scores == {"validation": (0.98, 0.97), "test": (0.9, 0.8)}
    assert [seed.name for seed in record.seeds] == ["seed_42", "seed_43"]
    assert record.configuration["seed"] == "2 seeds"
    assert record.minutes == 2.0
    assert record.best is None


def test_seeds_that_were_stopped_tell_as_far_as_they_came(tmp_path):
    record = read_run(seeds(tmp_path / "several", [True, False]))
    assert record.state == "stopped"
    assert record.scores == {"validation": (0.7,), "test": (0.65,)}
    with folder.locked(tmp_path / "several/seed_43"):
        assert read_run(tmp_path / "several").state == "running"


@pytest.mark.parametrize("summary", [{"seeds": []}, {"scores": {"test": 0.5}}, {"scores": {"test": ["a"]}}])
def test_a_damaged_summary_or_seed_is_said(summary, tmp_path):
    assert "damaged" in read_run(seeds(tmp_path / "several", [True, True], summary)).problem
    broken = seeds(tmp_path / "other", [True, False])
    (broken / "seed_43/config.json").write_text("{")
    record = read_run(broken)
    assert record.state == "damaged"
    assert record.problem.startswith("seed_43: ")


def test_seeds_are_counted_as_numbers_and_an_empty_folder_of_them_is_none(tmp_path):
    for number in (10, 9):
        make(tmp_path / f"several/seed_{number}", seed=number)
    assert [seed.name for seed in read_run(tmp_path / "several").seeds] == ["seed_9", "seed_10"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/seeds.json").write_text("{}")
    record = read_run(tmp_path / "empty")
    assert (record.state, record.seeds, record.scores) == ("stopped", (), {})


def test_the_history_comes_back_as_numbers(tmp_path):
    folder.write_history(tmp_path, [row(1, 0.1 + 0.2), row(2, None)])
    found = history(tmp_path)
    assert found == [row(1, 0.1 + 0.2), row(2, None)]
    assert isinstance(found[0]["epoch"], int)
    assert history(tmp_path / "nowhere") == []
