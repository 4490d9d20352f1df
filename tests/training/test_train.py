"""Training's promises: it learns, it repeats to the byte, and no kill, signal, full disk or NaN spoils a run."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import fovea
from fovea.commands.main import main
from fovea.data.opening import open_data
from fovea.errors import (
    DataError,
    MachineError,
    ModelError,
    NumbersError,
    RunInUse,
    ShapeError,
    Stopped,
    UsageError,
)
from fovea.training import checkpoints, folder, loop
from fovea.training.checkpoints import State
from fovea.training.options import options
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")
TIMED = ("images_per_second", "data_wait", "seconds")
DIGITS = ["train", "lenet5", "digits", "--epochs", "3", "--image-size", "16", "-b", "128"]  # 8 steps an epoch


def untimed(history):
    return [{key: value for key, value in row.items() if key not in TIMED} for row in history]


class Dropping(nn.Module):
    """Somebody else's network, with all that behaves otherwise in training: dropout and batch norm."""

    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.out = nn.Linear(4 * 6 * 6, classes)

    def forward(self, images):
        return self.out(self.body(images).flatten(1))


def seeded(make, seed=5):
    torch.manual_seed(seed)
    return make()


def at_step(monkeypatch, step, act):
    """Do something in the middle of the run, just before the update with this number (from 0)."""
    real, done = loop.learning_rate, []

    def rate(now, *rest):  # asked for each group of parameters
        if now == step and not done:
            done.append(act())
        return real(now, *rest)

    monkeypatch.setattr(loop, "learning_rate", rate)


@pytest.fixture
def uninterrupted(tmp_path, arrays, quick, network):
    return train(network, arrays, quick, out=tmp_path / "uninterrupted", quiet=True)


# It learns.


@pytest.mark.parametrize("loss", ["cross_entropy", "map"])
def test_one_batch_is_overfitted_to_zero_error(loss, tmp_path, arrays, make_network):
    images, labels = arrays[0][:12], arrays[1][:12]
    data = open_data((images, labels), split="0.75/0.25/0")
    told = options(epochs=60, batch_size=9, lr=0.02, loss=loss, weight_decay=0.0)
    run = train(make_network(), data, told, out=tmp_path / "run", quiet=True)
    assert run.history[-1]["accuracy"] == 1.0
    assert fovea.evaluate(run.model, data.train).top1 == 1.0
    if loss == "cross_entropy":
        assert run.history[-1]["loss"] < 0.01 < run.history[0]["loss"]


def test_a_finished_run_leaves_what_it_promises(uninterrupted, arrays, quick):
    run = uninterrupted
    assert {"config.json", "history.csv", "last.safetensors", "best.safetensors", "run.lock"} <= {
        path.name for path in run.folder.iterdir()
    }
    told = json.loads((run.folder / "config.json").read_text())
    assert told["training"] == json.loads(json.dumps(dataclasses.asdict(quick.but(precision="float32"))))
    assert told["chosen"] == {"precision": "auto"}
    assert told["data"]["images"] == {"train": 54, "validation": 6}
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    with open(run.folder / "history.csv", newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [row["loss"] for row in run.history]
    assert not any("tmp" in path.name for path in run.folder.rglob("*"))
    assert fovea.load(run.folder).classes == ("0", "1", "2")
    assert len(fovea.predict(run.folder, arrays[0][:5])) == 5


def test_snapshots_stay_and_change_nothing(uninterrupted, tmp_path, arrays, quick, make_network, read_files):
    run = train(seeded(make_network), arrays, quick.but(epochs=4, snapshot_epochs=2), out=tmp_path / "run", quiet=True)
    assert sorted(path.name for path in (run.folder / "snapshots").iterdir()) == [
        "epoch_0002.safetensors",
        "epoch_0004.safetensors",
    ]
    early, late = (fovea.load(run.folder / f"snapshots/epoch_000{n}.safetensors").network.state_dict() for n in (2, 4))
    last = fovea.load(run.folder / "last.safetensors").network.state_dict()
    assert all(torch.equal(late[name], last[name]) for name in last)
    assert any(not torch.equal(early[name], last[name]) for name in last)
    again = train(seeded(make_network), arrays, quick.but(snapshot_epochs=1), out=tmp_path / "again", quiet=True)
    assert read_files(again.folder / "bundle") == read_files(uninterrupted.folder / "bundle")


def test_the_bundle_holds_the_best_epoch_not_the_last(tmp_path, arrays, network, quick, monkeypatch):
    ranks = {1: (0.1, 0.0), 2: (0.9, 0.0), 3: (0.9, 0.0), 4: (0.2, 0.0)}
    monkeypatch.setattr(loop, "_rank", lambda row: ranks[row["epoch"]])
    run = train(network, arrays, quick.but(epochs=4), out=tmp_path / "run", quiet=True)
    assert run.model.bundle.provenance["best_epoch"] == 2
    best = run.scores["validation"]
    assert best.negative_log_likelihood == run.history[1]["validation_loss"] != run.history[3]["validation_loss"]


def test_of_equal_accuracy_the_lower_validation_loss_is_better():
    better = {"validation_accuracy": 0.5, "validation_loss": 1.0}
    assert loop._rank(better) > loop._rank(better | {"validation_loss": 2.0})
    assert loop._rank(better | {"validation_accuracy": 0.6, "validation_loss": 9.0}) > loop._rank(better)


# It repeats.


def test_two_runs_with_one_seed_give_the_same_bundle_to_the_byte(
    uninterrupted, tmp_path, arrays, quick, make_network, read_files
):
    again = train(make_network(), arrays, quick, out=tmp_path / "again", quiet=True)
    assert read_files(again.folder / "bundle") == read_files(uninterrupted.folder / "bundle")
    assert untimed(again.history) == untimed(uninterrupted.history)


def test_another_seed_gives_another_bundle(uninterrupted, tmp_path, arrays, quick, make_network):
    other = train(make_network(), arrays, quick.but(seed=1), out=tmp_path / "other", quiet=True)
    assert other.history[0]["loss"] != uninterrupted.history[0]["loss"]


def test_the_number_of_workers_does_not_change_the_bundle(
    uninterrupted, tmp_path, arrays, quick, make_network, read_files
):
    two = quick.but(workers=2)
    run = train(make_network(), arrays, two, out=tmp_path / "two", quiet=True)
    assert read_files(run.folder / "bundle") == read_files(uninterrupted.folder / "bundle")


def test_the_generators_of_the_caller_do_not_matter(uninterrupted, tmp_path, arrays, quick, make_network, read_files):
    torch.manual_seed(999)
    np.random.seed(999)
    run = train(make_network(), arrays, quick, out=tmp_path / "other", quiet=True)
    assert read_files(run.folder / "bundle") == read_files(uninterrupted.folder / "bundle")


# It stops and goes on.


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGINT), (4, signal.SIGTERM), (5, signal.SIGINT)],
    ids=["early", "mid", "epoch's end"],
)
def test_a_signal_saves_and_the_resumed_run_equals_one_never_stopped(
    step, number, uninterrupted, tmp_path, arrays, quick, make_network, read_files, monkeypatch
):
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: signal.raise_signal(number))
        with pytest.raises(Stopped, match=rf"saved at step {step + 1} .*fovea train --resume {out}$") as stopped:
            train(make_network(), arrays, quick, out=out, quiet=True)
    assert stopped.value.exit_code == 128 + number
    assert not (out / "bundle").exists()
    run = train(make_network(seed=77), arrays, quick, out=out, resume=True, quiet=True)
    assert read_files(out / "bundle") == read_files(uninterrupted.folder / "bundle")
    assert untimed(run.history) == untimed(uninterrupted.history)


def test_a_signal_in_the_very_last_step_lets_the_run_finish(
    uninterrupted, tmp_path, arrays, quick, make_network, read_files, monkeypatch
):
    at_step(monkeypatch, 8, lambda: signal.raise_signal(signal.SIGINT))
    run = train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    assert read_files(run.folder / "bundle") == read_files(uninterrupted.folder / "bundle")


@pytest.mark.parametrize("stop_at", [2, 4])
def test_dropout_and_batch_norm_resume_to_the_same_bits(stop_at, tmp_path, arrays, quick, read_files, monkeypatch):
    whole = train(seeded(Dropping), arrays, quick, out=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        at_step(patch, stop_at, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            train(seeded(Dropping), arrays, quick, out=tmp_path / "cut", quiet=True)
    resumed = train(seeded(Dropping, 6), arrays, quick, out=tmp_path / "cut", resume=True, quiet=True)
    assert read_files(tmp_path / "cut/bundle") == read_files(tmp_path / "whole/bundle")
    assert untimed(resumed.history) == untimed(whole.history)


def test_resuming_a_finished_run_changes_nothing(uninterrupted, arrays, quick, make_network, read_files):
    before = read_files(uninterrupted.folder)
    run = train(make_network(seed=77), arrays, quick, out=uninterrupted.folder, resume=True, quiet=True)
    after = read_files(uninterrupted.folder)
    assert {name for name in before if before[name] != after[name]} <= {"run.lock"}
    assert before.keys() == after.keys()
    assert run.history == uninterrupted.history


CHANGES = {
    "lr": (0.02, 0.5, "training update.lr was 0.02 and is 0.5 now"),
    "epochs": (3, 5, "training epochs was 3 and is 5 now"),
    "seed": (42, 43, "training seed was 42 and is 43 now"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_resuming_with_another_option_is_refused_with_old_and_new(name, uninterrupted, arrays, quick, make_network):
    _, new, sentence = CHANGES[name]
    with pytest.raises(ModelError, match=sentence):
        train(make_network(), arrays, quick.but(**{name: new}), out=uninterrupted.folder, resume=True)


def test_resuming_with_other_data_classes_or_network_is_refused(uninterrupted, arrays, quick, make_network):
    out, (images, labels) = uninterrupted.folder, arrays
    changed = images.copy()
    changed[0, 0, 0] ^= 1
    renamed = open_data(arrays, classes=["a", "b", "c"])
    for network, data, sentence in (
        (make_network(), (changed, labels), "data fingerprint was "),
        (make_network(), renamed, "cannot go on, data "),
        (make_network(image_size=20), arrays, "network image_size was 16 and is 20 now"),
    ):
        with pytest.raises(ModelError, match=sentence):
            train(network, data, quick, out=out, resume=True, quiet=True)


def test_resuming_with_other_workers_is_allowed(uninterrupted, arrays, quick, make_network):
    other = quick.but(workers=1)
    assert len(train(make_network(), arrays, other, out=uninterrupted.folder, resume=True, quiet=True).history) == 3


def test_resuming_what_is_not_there_is_refused_and_leaves_nothing(tmp_path, arrays, quick, network):
    with pytest.raises(ModelError, match="is no run folder"):
        train(network, arrays, quick, out=tmp_path / "nowhere", resume=True, quiet=True)
    with pytest.raises(UsageError, match="give out="):
        train(network, arrays, quick, resume=True, quiet=True)
    assert os.listdir(tmp_path) == []


def test_a_damaged_checkpoint_is_refused_on_resume_not_trained_over(uninterrupted, arrays, quick, make_network):
    last = uninterrupted.folder / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    cut = last.read_bytes()
    with pytest.raises(ModelError, match=r"last\.safetensors: .* copy it over this one"):
        train(make_network(), arrays, quick, out=uninterrupted.folder, resume=True, quiet=True)
    assert last.read_bytes() == cut


KILL = """
import os, signal, sys
from pathlib import Path
from fovea.commands.main import main
from fovea.training import checkpoints, loop, train

where, number, *arguments = sys.argv[1:]
number, count, real_rate, real_save, real_replace = int(number), 0, loop.learning_rate, checkpoints.save, os.replace
train.draw = lambda *_: None

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def rate(step, *rest):
    if where == "step" and step == number:
        kill()
    return real_rate(step, *rest)

def save(run, names, state, progress):
    real_save(run, names, state, progress)
    if where == "saved" and "last.safetensors" in names and progress.step == number:
        kill()

def replace(source, target):
    if where == "writing" and Path(target).name == "last.safetensors":
        global count
        count += 1
        if count == number:
            kill()
    real_replace(source, target)

loop.learning_rate, checkpoints.save, os.replace = rate, save, replace
sys.exit(main(arguments))
"""


def test_a_run_killed_mid_epoch_after_a_checkpoint_and_while_writing_ends_in_the_same_bundle(
    tmp_path,
    forked,
    monkeypatch,
    capsys,
    read_files,
):
    monkeypatch.chdir(tmp_path)
    assert main([*DIGITS, "--out", "whole"]) == 0
    arguments = [*DIGITS, "--out", "killed"]
    for where, number in (("step", 11), ("saved", 16), ("writing", 1)):
        (done,) = forked(KILL, where, str(number), *arguments)
        assert done.returncode == -signal.SIGKILL, done.stderr
        arguments = ["train", "--resume", "killed"]
    assert main(arguments) == 0
    assert read_files(tmp_path / "killed/bundle") == read_files(tmp_path / "whole/bundle")
    rows = [list(csv.DictReader((tmp_path / name / "history.csv").open())) for name in ("killed", "whole")]
    assert untimed(rows[0]) == untimed(rows[1])
    assert "epoch 3/3" in capsys.readouterr().err


def test_a_run_killed_before_its_first_checkpoint_starts_anew(
    uninterrupted, tmp_path, arrays, quick, make_network, read_files, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json", "progress.html", "run.lock"]
    train(make_network(), arrays, quick, out=tmp_path / "run", resume=True, quiet=True)
    assert read_files(tmp_path / "run/bundle") == read_files(uninterrupted.folder / "bundle")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_in_the_same_bundle(tmp_path, monkeypatch, read_files):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "fovea"]
    long = [*DIGITS[:4], "60", *DIGITS[5:]]
    subprocess.run([*command, *long, "--out", "whole"], check=True, capture_output=True, timeout=300)
    arguments, killed = [*long, "--out", "killed"], 0
    for after in np.random.default_rng(0).uniform(0.0, 0.6, 6):
        with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if line.startswith("epoch"):
                    break
            time.sleep(after)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        arguments = ["train", "--resume", "killed"]
    assert killed >= 3
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=300)
    assert read_files(tmp_path / "killed/bundle") == read_files(tmp_path / "whole/bundle")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_answers_a_signal_with_its_code_and_the_way_to_go_on(number, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: signal.raise_signal(number))
        assert main([*DIGITS, "--out", "run"]) == code
    said = capsys.readouterr()
    assert said.err.endswith("fovea: stopped and saved at step 4 (epoch 1); go on with: fovea train --resume run\n")
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_signal_from_outside_stops_a_real_process_within_seconds(tmp_path):
    command = [sys.executable, "-m", "fovea", *DIGITS[:4], "2000", *DIGITS[5:], "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 130
    assert "go on with: fovea train --resume run" in rest
    assert "Traceback" not in rest


# What goes wrong is said, and spoils nothing.


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_step(
    tmp_path, arrays, quick, make_network, monkeypatch
):
    network, out = make_network(), tmp_path / "run"
    at_step(monkeypatch, 4, lambda: network.head.output.bias.data.fill_(float("nan")))
    with pytest.raises(
        NumbersError,
        match=r"step 5 \(epoch 2\) is not finite: layer head.output .*step 3 is kept .*smaller learning rate",
    ) as stopped:
        train(network, arrays, quick, out=out, quiet=True)
    assert stopped.value.exit_code == 6
    fresh = make_network()
    assert checkpoints.load(out / "last.safetensors", State(fresh)).step == 3
    assert all(torch.isfinite(p).all() for p in fresh.parameters())


def test_a_learning_rate_that_explodes_ends_the_command_with_6(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*DIGITS, "--lr", "1e9", "--out", "run"]) == 6
    assert "try a smaller learning rate than --lr 1e+09" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_full_disk_ends_with_5_and_keeps_the_checkpoint(when, tmp_path, arrays, quick, make_network, monkeypatch):
    out = tmp_path / "run"

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "at once":
        monkeypatch.setattr(os, "fsync", full)
    else:
        at_step(monkeypatch, 5, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(MachineError, match=r"bytes needed, [\d,]+ available; make room") as stopped:
        train(make_network(), arrays, quick, out=out, quiet=True)
    assert stopped.value.exit_code == 5
    assert not [path for path in out.rglob("*") if "tmp" in path.name]
    if when == "later":
        assert checkpoints.load(out / "last.safetensors", State(make_network())).step == 3


def test_a_run_that_met_a_full_disk_goes_on_when_there_is_room(
    uninterrupted, tmp_path, arrays, quick, make_network, read_files, monkeypatch
):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: patch.setattr(os, "fsync", full))
        with pytest.raises(MachineError):
            train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    train(make_network(), arrays, quick, out=tmp_path / "run", resume=True, quiet=True)
    assert read_files(tmp_path / "run/bundle") == read_files(uninterrupted.folder / "bundle")


def test_a_folder_held_by_another_run_is_refused_even_with_no_configuration_yet(tmp_path, arrays, quick, network):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fovea.training import folder\n"
        "with folder.locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunInUse, match=f"process {process.pid} "):
            train(network, arrays, quick, out=tmp_path / "run", quiet=True)
        process.stdin.close()
    assert os.listdir(tmp_path / "run") == ["run.lock"]


def test_an_existing_run_is_never_written_over(uninterrupted, arrays, quick, make_network, read_files):
    before = read_files(uninterrupted.folder)
    with pytest.raises(UsageError, match=r"go on with it: fovea train --resume"):
        train(make_network(), arrays, quick, out=uninterrupted.folder, quiet=True)
    assert read_files(uninterrupted.folder) == before


# Any data, any module.


def test_a_torch_dataset_trains_as_the_arrays_in_it_do(uninterrupted, tmp_path, arrays, quick, make_network):
    images, labels = torch.from_numpy(arrays[0])[:, None], torch.from_numpy(arrays[1])
    run = train(make_network(), TensorDataset(images, labels), quick, out=tmp_path / "run", quiet=True)
    assert untimed(run.history) == untimed(uninterrupted.history)


def test_floating_point_images_train_too(tmp_path, arrays, quick, network):
    images = arrays[0].astype(np.float32) / 255
    run = train(network, (images, arrays[1]), quick, out=tmp_path / "run", quiet=True)
    assert run.model.bundle.preprocessing.scale == 1.0
    assert fovea.evaluate(run.model, (images, arrays[1])).images == 60


def test_a_module_of_somebody_else_trains_and_loads_with_network(tmp_path, arrays, quick):
    run = train(seeded(Dropping), arrays, quick, out=tmp_path / "run", quiet=True)
    assert run.model.bundle.name == "Dropping"
    with pytest.raises(ModelError, match=r"\(Dropping\).* load\(folder, network="):
        fovea.load(run.folder)
    loaded = fovea.load(run.folder, network=Dropping())
    data = open_data(arrays)
    assert torch.equal(loaded.logits(data.validation.images), run.model.logits(data.validation.images))


def test_without_a_test_split_there_are_validation_scores_only(uninterrupted):
    assert list(uninterrupted.scores) == ["validation"]
    assert [line.partition(":")[0] for line in str(uninterrupted).splitlines()] == ["validation", "run folder"]
    assert list(uninterrupted.model.bundle.metrics) == ["validation"]


def test_with_a_test_split_it_is_judged_once_at_the_end(tmp_path, arrays, quick, network, monkeypatch):
    import fovea.training.judging as judging
    import fovea.training.train as module

    judged = []
    real = judging.judge
    for each in (judging, module):
        monkeypatch.setattr(each, "judge", lambda *rest: judged.append(rest[2]) or real(*rest))
    run = train(network, open_data(arrays, split="0.6/0.2/0.2"), quick, out=tmp_path / "run", quiet=True)
    assert judged == ["validation"] * 4 + ["test"]
    assert (run.scores["test"].images, run.scores["validation"].images) == (12, 12)


def test_the_wrong_number_of_classes_is_refused_with_the_right_one(tmp_path, arrays, quick, make_network):
    with pytest.raises(
        ModelError, match=r"gives \(10,\) logits, but arrays has 3 classes; build it with num_classes=3"
    ):
        train(make_network(num_classes=10), arrays, quick, out=tmp_path / "run", quiet=True)
    assert os.listdir(tmp_path) == []


def test_the_wrong_number_of_channels_is_refused_with_the_right_one(tmp_path, arrays, quick, make_network):
    four = np.repeat(arrays[0][..., None], 4, axis=3)
    with pytest.raises(ShapeError, match=r"has 4 channels, .* build the network with in_channels=4"):
        train(make_network(), (four, arrays[1]), quick, out=tmp_path / "run", quiet=True)
    assert os.listdir(tmp_path) == []


def test_an_image_size_that_does_not_fit_is_refused_before_anything_is_made(tmp_path, quick):
    images = np.zeros((30, 9, 9), np.uint8)
    with pytest.raises(ShapeError, match=r"Dropping does not take images \(1, 9, 9\)"):
        train(Dropping(), (images, np.arange(30) % 3), quick, out=tmp_path / "run", quiet=True)
    assert os.listdir(tmp_path) == []


def test_images_that_are_not_square_need_a_network_that_knows_its_size(tmp_path, quick, network):
    images, labels = np.zeros((30, 16, 20), np.uint8), np.arange(30) % 3
    with pytest.raises(ModelError, match="its image size is unknown"):
        train(Dropping(), (images, labels), quick, out=tmp_path / "run", quiet=True)
    assert train(network, (images, labels), quick, out=tmp_path / "run", quiet=True).history[2]["epoch"] == 3


def test_fewer_images_than_a_batch_are_refused_with_counts_and_no_folder(tmp_path, arrays, quick, network):
    with pytest.raises(DataError, match=r"there are 54 training images, fewer than one batch of 100"):
        train(network, arrays, quick.but(batch_size=100), out=tmp_path / "run", quiet=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_a_machine_error(tmp_path, arrays, quick, network):
    with pytest.raises(MachineError, match=r"device \(=cuda\) is not available here"):
        train(network, arrays, quick.but(device="cuda"), out=tmp_path / "run", quiet=True)
    assert os.listdir(tmp_path) == []


def test_the_network_comes_back_in_the_mode_it_had_after_a_refusal(tmp_path, arrays, quick, make_network):
    network = make_network(num_classes=10).train()
    with pytest.raises(ModelError):
        train(network, arrays, quick, out=tmp_path / "run", quiet=True)
    assert network.training


def test_quiet_says_nothing_and_otherwise_there_is_a_line_for_each_epoch(tmp_path, arrays, quick, make_network, capsys):
    train(make_network(), arrays, quick, out=tmp_path / "quiet", quiet=True)
    assert capsys.readouterr() == ("", "")
    train(make_network(), arrays, quick, out=tmp_path / "loud")
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split()[1] for line in said.err.splitlines() if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    assert "54 train, 6 validation images" in said.err


def test_a_run_without_a_name_lies_in_runs_and_latest_points_to_it(tmp_path, arrays, quick, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(network, arrays, quick, quiet=True)
    assert run.folder.parent.name == "runs"
    assert str(Path("runs/latest").readlink()) == run.folder.name
    assert folder.configuration(tmp_path / "runs/latest")["network"]["name"] == "lenet5"


@pytest.mark.slow
def test_two_ranks_finish_in_one_run_folder_and_one_of_them_speaks(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*torchrun, "-m", "fovea", "train", "--epochs", "6", "--out", "run", "--json", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert (result["run"], result["validation"]["images"], result["test"]["images"]) == ("run", 359, 359)
    assert 0.85 < result["validation"]["top1"] <= 1.0
    assert os.listdir(tmp_path) == ["run"] or sorted(os.listdir(tmp_path)) == ["latest", "run"]
    assert sum(line.startswith("epoch ") for line in done.stderr.splitlines()) == 6


def test_the_drop_path_of_a_network_grows_with_the_epochs(tmp_path):
    from fovea.layers.drop_path import DropPath

    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, 10))
    network.insert(1, DropPath(0.4))
    seen = []
    network[1].register_forward_hook(lambda module, *_: seen.append((module.training, module.drop_probability)))
    told = options(epochs=4, batch_size=256, lr=0.01)
    train(network, "digits", told, out=tmp_path / "run", quiet=True)
    in_training = sorted({probability for training, probability in seen if training})
    assert in_training == pytest.approx([0.0, 0.1, 0.2, 0.3])
