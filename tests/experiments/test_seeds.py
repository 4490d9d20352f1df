"""Several seeds: each a run of its own, judged on the same images, reported together, and gone on with."""

from __future__ import annotations

import json
import signal
import statistics

import pytest

from fovea.commands.main import main
from fovea.data.opening import open_data
from fovea.errors import Stopped, UsageError
from fovea.experiments.seeds import train_seeds
from fovea.training import loop, train
from fovea.training.options import options

SMALL = ["lenet5", "digits", "--image-size", "16", "-b", "128", "--epochs", "1", "--warmup-epochs", "0"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(train, "draw", lambda *_: None)


def network(seed):
    from fovea.architectures.catalogue import build

    return build("lenet5", image_size=16, seed=seed)


TOLD = options(epochs=1, batch_size=128, warmup_epochs=0.0)


def test_each_seed_has_its_run_and_the_summary_their_mean_and_spread(tmp_path):
    done = train_seeds(network, open_data("digits"), TOLD, seeds=3, out=tmp_path / "three")
    assert done.seeds == (42, 43, 44)
    assert sorted(path.name for path in (tmp_path / "three").iterdir()) == [
        "seed_42", "seed_43", "seed_44", "seeds.json", "summary.json",
    ]  # fmt: skip
    values = done.top1["test"]
    assert len(set(values)) > 1
    mean, spread = f"{statistics.mean(values):.2%}", f"{statistics.stdev(values):.2%}"
    assert f"test: top-1 mean {mean} (95 % interval of the mean ± " in str(done)
    assert f"standard deviation {spread} over 3 seeds" in str(done)
    told = [json.loads((tmp_path / f"three/seed_{seed}/config.json").read_text()) for seed in done.seeds]
    assert [each["training"]["seed"] for each in told] == [42, 43, 44]
    assert len({each["data"]["fingerprint"] for each in told}) == 1
    assert json.loads((tmp_path / "three/summary.json").read_text())["scores"]["test"] == list(values)


def test_seeds_that_were_stopped_go_on_where_they_were(tmp_path, monkeypatch):
    whole = train_seeds(network, open_data("digits"), TOLD, seeds=2, out=tmp_path / "whole")
    real, calls = loop.learning_rate, []

    def stopping(step, *rest):
        calls.append(step)
        if len(calls) == 11:  # in the second run of eight steps
            signal.raise_signal(signal.SIGINT)
        return real(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(
            Stopped, match=rf"with seed 43; go on with: fovea train --resume {tmp_path}/cut$"
        ) as stopped:
            train_seeds(network, open_data("digits"), TOLD, seeds=2, out=tmp_path / "cut")
    assert stopped.value.exit_code == 130
    finished = (tmp_path / "cut/seed_42/last.safetensors").stat().st_mtime_ns
    again = train_seeds(network, open_data("digits"), TOLD, seeds=2, out=tmp_path / "cut", resume=True)
    assert again.top1 == whole.top1
    assert (tmp_path / "cut/seed_42/last.safetensors").stat().st_mtime_ns == finished


def test_a_signal_while_a_seed_is_being_finished_starts_no_other(tmp_path, monkeypatch):
    def finishing(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(train, "draw", finishing)  # the last thing that a run does
    with pytest.raises(Stopped, match=r"stopped after seed 42; go on with: fovea train --resume") as stopped:
        train_seeds(network, open_data("digits"), TOLD, seeds=2, out=tmp_path / "cut")
    assert stopped.value.exit_code == 143
    assert (tmp_path / "cut/seed_42/bundle/bundle.json").is_file()
    assert not (tmp_path / "cut/seed_43").exists()


def test_one_seed_is_no_spread_and_a_full_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"seeds \(=1\) must be 2 or more"):
        train_seeds(network, open_data("digits"), TOLD, seeds=1, out=tmp_path / "one")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    with pytest.raises(UsageError, match="exists and holds other things"):
        train_seeds(network, open_data("digits"), TOLD, seeds=2, out=tmp_path / "full")


def test_the_command_trains_resumes_and_tells_several_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--seeds", "2", "--out", "two", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["seeds"], len(told["scores"]["test"])) == ("two", [42, 43], 2)
    assert main(["train", "--resume", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["train", *SMALL, "--seeds", "0"]) == 2
    assert "seeds (=0) must be 1 or more" in capsys.readouterr().err
