"""A sweep: each trial done once, by however many processes, whatever kills them."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from fovea.errors import NumbersError, Stopped, UsageError
from fovea.experiments.sweep import Sweep, joined_plan
from fovea.training.stopping import stop_on_signals

NAMES = [f"trial{n}" for n in range(6)]
PLAN = {"kind": "test", "networks": {"a": {"lr": 0.1}}}

# Works through a sweep; each trial notes its beginning and its end in a file. Killed in the middle of a trial where the
# third argument names it, and between two lines of the journal where it says so.
WORK = """
import json, os, signal, sys
from pathlib import Path
from fovea.experiments.sweep import Sweep

folder, log, killed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def note(word, name):
    with open(log, "a") as file:
        file.write(f"{word} {name} {os.getpid()}\\n")

def work(name, place):
    note("begun", name)
    place.mkdir(parents=True, exist_ok=True)
    if name == killed:
        with open(folder / "journal.log", "a") as journal:
            journal.write('{"half a line')
        os.kill(os.getpid(), signal.SIGKILL)
    note("ended", name)
    return {"value": int(name[-1]) / 10}

sweep = Sweep(folder, {"kind": "test", "networks": {"a": {"lr": 0.1}}}, [f"trial{n}" for n in range(6)])
done = sweep.run(work)
print(json.dumps(done.outcomes))
"""


def _notes(path):
    return [line.split() for line in path.read_text().splitlines()]


def test_killed_and_started_again_it_loses_no_trial_and_repeats_none(forked, tmp_path):
    folder, log = tmp_path / "sweep", tmp_path / "log"
    first = forked(WORK, str(folder), str(log), "trial2")[0]
    assert first.returncode == -9
    again = forked(WORK, str(folder), str(log), "")[0]
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == {name: {"value": n / 10} for n, name in enumerate(NAMES)}
    begun = Counter(name for word, name, _ in _notes(log) if word == "begun")
    ended = Counter(name for word, name, _ in _notes(log) if word == "ended")
    assert ended == dict.fromkeys(NAMES, 1)
    assert begun == {**dict.fromkeys(NAMES, 1), "trial2": 2}  # gone on with, by whoever came next
    third = forked(WORK, str(folder), str(log), "")[0]
    assert third.stdout == again.stdout
    assert len(_notes(log)) == 13  # nothing was done a third time


def test_two_processes_share_the_trials(forked, tmp_path):
    folder, log = tmp_path / "sweep", tmp_path / "log"
    both = forked(WORK, str(folder), str(log), "", ranks=2)
    assert [each.returncode for each in both] == [0, 0], [each.stderr for each in both]
    assert Counter(name for word, name, _ in _notes(log) if word == "ended") == dict.fromkeys(NAMES, 1)
    assert len(Sweep(folder, PLAN, NAMES).done().outcomes) == 6


def test_trials_can_be_added_and_what_is_there_stays(tmp_path):
    made = []

    def work(name, _place):
        made.append(name)
        return {"value": 0.5}

    Sweep(tmp_path / "s", PLAN, ["a"]).run(work)
    more = PLAN | {"networks": {"b": {"lr": 0.2}}}
    done = Sweep(tmp_path / "s", more, ["a", "b"]).run(work)
    assert made == ["a", "b"]
    assert list(done.outcomes) == ["a", "b"]
    assert json.loads((tmp_path / "s/experiment.json").read_text())["networks"] == {"a": {"lr": 0.1}, "b": {"lr": 0.2}}


def test_numbers_that_are_not_finite_are_a_result_and_a_stop_is_gone_on_with(tmp_path):
    calls = []

    def work(name, _place):
        calls.append(name)
        if name == "bad":
            raise NumbersError("step 3 is not finite")
        if len(calls) == 2:
            raise Stopped("stopped", 15)
        return {"value": 1.0}

    sweep = Sweep(tmp_path / "s", PLAN, ["bad", "good"])
    with pytest.raises(Stopped, match="stopped and saved in trial good; start it again to go on"):
        sweep.run(work)
    done = Sweep(tmp_path / "s", PLAN, ["bad", "good"]).run(work)
    assert calls == ["bad", "good", "good"]
    assert done.outcomes == {"bad": {"diverged": "step 3 is not finite"}, "good": {"value": 1.0}}


def test_another_experiment_other_things_and_equal_names_are_refused(tmp_path):
    Sweep(tmp_path / "s", PLAN, ["a"])
    with pytest.raises(UsageError, match=r"another experiment: kind was 'test' and is 'other' now"):
        Sweep(tmp_path / "s", PLAN | {"kind": "other"}, ["a"])
    with pytest.raises(UsageError, match=r"the training of a, lr was 0.1 and is 0.3 now"):
        Sweep(tmp_path / "s", PLAN | {"networks": {"a": {"lr": 0.3}}}, ["a"])
    with pytest.raises(UsageError, match="these are a, a"):
        Sweep(tmp_path / "t", PLAN, ["a", "a"])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").touch()
    with pytest.raises(UsageError, match="holds other things"):
        Sweep(tmp_path / "photos", PLAN, ["a"])
    assert joined_plan(tmp_path, {"kind": "x"}, {"kind": "x"}) == {"kind": "x"}


@pytest.mark.parametrize("late", [False, True])
def test_a_signal_while_nobody_trains_ends_the_sweep_with_this_trial(late, tmp_path):
    seen = []

    def work(name, _place):
        seen.append(name)
        if not late:
            signal.raise_signal(signal.SIGTERM)  # before the first step: training begins with the stop asked for
        with stop_on_signals() as stop:
            asked = stop.signal_number
        if late:
            signal.raise_signal(signal.SIGTERM)  # while the finished run is judged
        elif asked is not None:
            raise Stopped("stopped and saved at step 1", asked)
        return {"value": 1.0}

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped after trial a" if late else "stopped and saved in trial a") as stopped:
        Sweep(tmp_path / "s", PLAN, ["a", "b"]).run(work)
    assert (seen, stopped.value.exit_code) == (["a"], 143)
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(Sweep(tmp_path / "s", PLAN, ["a", "b"]).done().outcomes) == (["a"] if late else [])


def test_a_folder_that_was_only_begun_is_begun_again(tmp_path):
    (tmp_path / "s/locks").mkdir(parents=True)
    (tmp_path / "s/.experiment.json.1.tmp").touch()
    assert Sweep(tmp_path / "s", PLAN, ["a"]).done().elsewhere == ("a",)
