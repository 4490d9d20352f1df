"""Durability: kills, full disks, signals, two writers, and resuming with something changed.

The processes are forked from one that has imported everything, so that each starts in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fovea
from fovea import files
from fovea.commands.main import main
from fovea.data.opening import open_data
from fovea.errors import MachineError, ModelError, NumbersError
from fovea.training import checkpoints, folder, loop
from fovea.training.checkpoints import State
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")
CHECKPOINTS = (checkpoints.LAST, checkpoints.HEALTHY, checkpoints.BEST)
CLOCKS = ("images_per_second", "data_wait", "seconds")
# Two epochs of four steps; and six of them for kills at random.
SHORT = ["train", "lenet5", "digits", "--image-size", "16", "-b", "256", "--shift", "1", "--precision", "float32"]
TWO, SIX = [*SHORT, "--epochs", "2"], [*SHORT, "--epochs", "6", "--save-steps", "3", "--ema", "0.9"]

SERVER = r"""
import json, os, signal, sys, time
from pathlib import Path
from fovea import files
from fovea.commands.main import main
from fovea.training import checkpoints, loop, train
import fovea.architectures.lenet, fovea.commands.progress, fovea.commands.train, fovea.transfer.starting
import sklearn.datasets, lightning.fabric, safetensors.torch, sympy, tyro

train.draw = lambda *_: None
rate, save = loop.learning_rate, checkpoints.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Half:
    # A file of which the first half reaches the disk.
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.file.close()
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()

def hooked(job):
    saves, lines = [0], [0]

    def at_step(step, *rest):
        if "journal" in job:
            with open(job["journal"], "a") as journal:
                journal.write(f"{step}\n")
        if job.get("die_at_step") == step:
            die()
        if job.get("sleep_at_step") == step:
            Path(job["sleeping"]).touch()
            for _ in range(600):
                time.sleep(0.1)
        return rate(step, *rest)

    def traced(frame, event, _):
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            if lines[0] == job.get("die_at_line"):
                die()
            lines[0] += 1
        return traced

    def saving(*given):
        here = saves[0] == job.get("save")
        saves[0] += 1
        if here and job.get("half"):
            files.open = lambda path, mode: Half(open(path, mode)) if mode == "wb" else open(path, mode)
        if here:
            sys.settrace(traced)
        try:
            save(*given)
        finally:
            sys.settrace(None)
            if here and "count" in job:
                Path(job["count"]).write_text(str(lines[0]))

    loop.learning_rate, checkpoints.save = at_step, saving

for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        _, status = os.waitpid(job["wait"], 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    process = os.fork()
    if process == 0:
        said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2), os.chdir(job["place"])
        hooked(job)
        code = main(job["arguments"])
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(process, flush=True)
"""


class Server:
    """Starts `fovea` with given arguments in a process of its own, with a place where it dies or waits."""

    def __init__(self, process, place):
        self.process, self.place, self.count = process, place, 0

    def start(self, arguments, **hooks):
        self.count += 1
        said = self.place / f"said{self.count}.txt"
        job = {"arguments": arguments, "place": str(self.place), "said": str(said)}
        return self._asked(job | {key: str(v) if isinstance(v, Path) else v for key, v in hooks.items()}), said

    def wait(self, pid):
        return self._asked({"wait": pid})

    def run(self, arguments, **hooks):
        """The exit code, negative where a signal ended it, and what was said."""
        pid, said = self.start(arguments, **hooks)
        return self.wait(pid), said.read_text()

    def _asked(self, job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    place = tmp_path_factory.mktemp("durability")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes) as process:
        yield Server(process, place)
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def server(serving, tmp_path):
    serving.place = tmp_path
    return serving


@pytest.fixture(scope="module")
def alone(serving):
    """Runs that nobody disturbs, by their arguments."""
    made = {}

    def run(arguments):
        if tuple(arguments) not in made:
            out = serving.place.parent / f"alone-{len(made)}-{os.getpid()}"
            code, said = serving.run([*arguments, "--out", str(out)])
            assert code == 0, said
            made[tuple(arguments)] = out
        return made[tuple(arguments)]

    return run


def untimed(rows):
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def check_equal(run, whole):
    """Bundle to the byte; tensors, sums and rows of every checkpoint; nothing else left lying about."""
    names = sorted(path.name for path in (whole / "bundle").iterdir())
    assert sorted(path.name for path in (run / "bundle").iterdir()) == names
    for name in names:
        assert (run / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes(), name
    for name in CHECKPOINTS:
        assert checkpoints.first_difference(run / name, whole / name) == "", name
        one, other = (checkpoints.progress_of(each / name) for each in (run, whole))
        assert (one.step, one.running, untimed(one.history)) == (other.step, other.running, untimed(other.history))
    assert list(run.rglob("*.tmp")) == []


def check_whole(run):
    """No checkpoint that is there is damaged; the steps they hold."""
    there = [run / name for name in CHECKPOINTS if (run / name).exists()]
    assert all(checkpoints.first_difference(path, path) == "" for path in there)
    return {path.name: checkpoints.progress_of(path).step for path in there}


def alive(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def until(holds, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


# SIGKILL.


def test_kills_at_random_steps_redo_at_most_a_save_interval_and_change_nothing(server, alone, tmp_path):
    whole, run, journal = alone(SIX), tmp_path / "run", tmp_path / "journal"
    drawn = random.Random(5)
    arguments, redone, before = [*SIX, "--out", "run"], [], []
    for moment in sorted(drawn.sample(range(1, 24), 5)):
        assert server.run(arguments, die_at_step=moment, journal=journal)[0] == -signal.SIGKILL
        steps = [int(line) for line in journal.read_text().split()]
        own = steps[len(before) :]
        assert own == list(range(own[0], moment + 1))  # the last one was only begun
        if before:
            redone.append(before[-1] - own[0])
        saved = check_whole(run)["last.safetensors"]
        assert 0 <= moment - saved <= 3
        arguments, before = ["train", "--resume", "run"], steps
    code, said = server.run(arguments)
    assert code == 0, said
    assert len(redone) == 4
    assert max(redone) <= 3
    check_equal(run, whole)


SAVES = {"the first checkpoint": 0, "the end of an epoch": 1}


def lines_of(server, save, place):
    """How many lines of the writer run in a save; where the first checkpoint is not one of several names, fewer."""
    counted = server.run([*TWO, "--out", "counted"], save=save, count=place / "count")
    assert counted[0] == 0, counted[1]
    return int((place / "count").read_text())


def check_kill(server, whole, run, **hooks):
    code, said = server.run([*TWO, "--out", run.name], **hooks)
    assert code == -signal.SIGKILL, said
    left = check_whole(run)
    if hooks["save"] > 0:
        assert left["last.safetensors"] >= 0, "no good checkpoint remains"
    code, said = server.run(["train", "--resume", run.name])
    assert code == 0, said
    check_equal(run, whole)
    return left


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_kill_between_any_two_lines_of_the_writer_leaves_a_good_checkpoint(save, server, alone, tmp_path):
    whole, lines = alone(TWO), lines_of(server, save, tmp_path)
    assert lines > (40 if save else 10)
    drawn = sorted(random.Random(save).sample(range(lines), 6))
    lefts = [check_kill(server, whole, tmp_path / f"run{n}", save=save, die_at_line=n) for n in drawn]
    assert len({json.dumps(left) for left in lefts}) > 1  # some before the rename, some after it


@pytest.mark.slow
@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_kill_at_every_line_of_the_writer_leaves_a_good_checkpoint(save, server, alone, tmp_path):
    whole, lines = alone(TWO), lines_of(server, save, tmp_path)
    for number in range(lines):
        check_kill(server, whole, tmp_path / f"run{number}", save=save, die_at_line=number)


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_kill_in_the_middle_of_a_write_leaves_half_a_temporary_file_and_nothing_else(save, server, alone, tmp_path):
    code, _ = server.run([*TWO, "--out", "run"], save=save, half=True)
    assert code == -signal.SIGKILL
    (half,) = tmp_path.glob("run/.*.tmp")
    assert 0 < half.stat().st_size < 100_000
    assert check_whole(tmp_path / "run") == ({} if save == 0 else {"last.safetensors": 0})
    assert server.run(["train", "--resume", "run"])[0] == 0
    check_equal(tmp_path / "run", alone(TWO))


def test_what_a_killed_writer_left_is_removed_by_the_next_that_holds_the_folder(tmp_path):
    (tmp_path / "bundle").mkdir()
    left = [tmp_path / ".last.safetensors.123.tmp", tmp_path / "bundle/.weights.safetensors.123.tmp"]
    for path in [*left, tmp_path / "notes.tmp"]:
        path.write_bytes(b"half")
    with folder.locked(tmp_path):
        assert [path.exists() for path in left] == [False, False]
    assert (tmp_path / "notes.tmp").exists()


# A full disk.


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def at_step(monkeypatch, step, act):
    real, done = loop.learning_rate, []

    def rate(now, *rest):
        if now == step and not done:
            done.append(act())
        return real(now, *rest)

    monkeypatch.setattr(loop, "learning_rate", rate)


def filled(place, leave):
    """Fill a disk until so many bytes are left."""
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    (place / "filler").write_bytes(b"x" * (free - leave))


def test_a_disk_that_fills_up_is_5_with_the_bytes_and_the_run_goes_on_when_there_is_room(
    small_disk, tmp_path, monkeypatch, capsys, read_files
):
    monkeypatch.chdir(tmp_path)
    assert main([*TWO, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: filled(small_disk, 60_000))
        assert main([*TWO, "--out", "disk/run"]) == 5
    said = re.search(r"the disk is full: ([\d,]+) bytes needed, ([\d,]+) available; make room", capsys.readouterr().err)
    needed, available = (int(each.replace(",", "")) for each in said.groups())
    assert needed > 100_000 > available
    run = small_disk / "run"
    assert check_whole(run) == dict.fromkeys(CHECKPOINTS, 4)
    assert list(run.rglob("*.tmp")) == []
    assert len((run / "history.csv").read_text().splitlines()) == 2
    (small_disk / "filler").unlink()
    assert main(["train", "--resume", "disk/run"]) == 0
    assert read_files(run / "bundle") == read_files(tmp_path / "whole/bundle")


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(small_disk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    filled(small_disk, 200_000)
    assert main([*TWO, "--out", "disk/run"]) == 5
    assert re.search(
        r"checkpoints and bundle take [\d,]+ bytes, [\d,]+ are available; make room", capsys.readouterr().err
    )
    assert os.listdir(small_disk) == ["filler"]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_disk_full_at_any_step_of_the_writer_is_5_without_debris(
    step, tmp_path, arrays, quick, make_network, monkeypatch, read_files
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:1000])
            full()

    def opened(path, mode):
        return open(path, mode) if mode != "wb" else full() if step == "open" else Full(path, mode)

    def break_it():
        if step in ("open", "write"):
            monkeypatch.setattr(files, "open", opened, raising=False)
        else:
            monkeypatch.setattr(os, step, full)

    before = {}
    at_step(monkeypatch, 5, lambda: (before.update(read_files(tmp_path / "run")), break_it()))
    with pytest.raises(MachineError, match=r"[\d,]+ bytes needed, [\d,]+ available; make room") as stopped:
        train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    assert stopped.value.exit_code == 5
    assert read_files(tmp_path / "run") == before


# Signals.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_from_outside_saves_at_the_end_of_the_step_and_leaves_no_process(number, code, server, tmp_path):
    journal = tmp_path / "journal"
    arguments = [*SHORT, "--epochs", "500", "--crop", "random", "-j", "2", "--out", "run"]
    pid, said = server.start(arguments, journal=journal)
    until(lambda: journal.exists() and len(journal.read_text().split()) > 5)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, number)
    assert server.wait(pid) == code, said.read_text()
    begun = [int(line) for line in journal.read_text().split()]
    assert check_whole(tmp_path / "run")["last.safetensors"] == begun[-1] + 1  # the step begun last was the last
    assert not any(map(alive, children))
    assert not alive(pid)
    assert "stopped and saved at step" in said.read_text()
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_step_that_hangs_at_once_and_the_run_goes_on_as_if_nothing_was(
    number, server, alone, tmp_path
):
    sleeping = tmp_path / "sleeping"
    pid, _ = server.start([*TWO, "--out", "run"], sleep_at_step=6, sleeping=sleeping)
    until(sleeping.exists)
    os.kill(pid, number)
    time.sleep(0.3)
    assert alive(pid)
    began = time.monotonic()
    os.kill(pid, number)
    assert server.wait(pid) == -number
    assert time.monotonic() - began < 10
    assert check_whole(tmp_path / "run") == dict.fromkeys(CHECKPOINTS, 4)
    assert server.run(["train", "--resume", "run"])[0] == 0
    check_equal(tmp_path / "run", alone(TWO))


# One writer.


def test_of_two_starts_in_one_folder_one_runs_and_the_other_hears_who_holds_it(server, alone, tmp_path):
    sleeping = tmp_path / "sleeping"
    pid, _ = server.start([*TWO, "--out", "run"], sleep_at_step=6, sleeping=sleeping)
    until(sleeping.exists)
    for arguments in ([*TWO, "--out", "run"], ["train", "--resume", "run"]):
        code, said = server.run(arguments)
        assert code == 7
        assert said.splitlines()[-1].startswith(f"fovea: run: is being written by process {pid} on ")
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL
    assert f"process {pid} on " in (tmp_path / "run/run.lock").read_text()  # stale, and taken over
    assert server.run(["train", "--resume", "run"])[0] == 0
    check_equal(tmp_path / "run", alone(TWO))


def test_two_that_start_at_the_same_moment_are_one_run_and_one_refusal(server, alone, tmp_path):
    started = [server.start([*TWO, "--out", "run"]) for _ in range(2)]
    codes = [server.wait(pid) for pid, _ in started]
    assert codes.count(0) == 1
    refused = next(said.read_text() for (_, said), code in zip(started, codes, strict=True) if code)
    assert sum(codes) in (7, 2)  # 2: the other had ended already
    assert "is being written by" in refused or "holds a run already" in refused
    check_equal(tmp_path / "run", alone(TWO))


def test_a_lock_file_that_nobody_holds_is_no_lock(tmp_path, arrays, quick, network):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.lock").write_text("process 4711 on a machine that is no more")
    train(network, arrays, quick, out=tmp_path / "run", quiet=True)
    assert f"process {os.getpid()} on " in (tmp_path / "run/run.lock").read_text()


# Resuming with something changed.


@pytest.fixture
def stopped(tmp_path, arrays, quick, make_network, monkeypatch):
    """A run that a signal stopped after five of nine steps."""
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(fovea.errors.Stopped):
            train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def test_another_architecture_is_4_with_old_and_new(stopped, arrays, quick):
    from fovea.architectures.catalogue import build

    other = build("alexnet_one_tower", num_classes=3, in_channels=1, image_size=67)
    with pytest.raises(ModelError, match=r"network name was 'lenet5' and is 'alexnet_one_tower' now") as refused:
        train(other, open_data((np.zeros((60, 67, 67), np.uint8), arrays[1])), quick, out=stopped, resume=True)
    assert refused.value.exit_code == 4


def test_other_classes_are_4_with_old_and_new(stopped, arrays, quick, make_network):
    renamed = open_data(arrays, classes=["a", "b", "c"])
    with pytest.raises(ModelError, match=r"data .* was .* and is .* now") as refused:
        train(make_network(), renamed, quick, out=stopped, resume=True, quiet=True)
    assert refused.value.exit_code == 4


@pytest.fixture
def photos(tmp_path):
    drawn = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.clip(drawn.normal(level, 20, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{number}.png")
    return tmp_path / "photos"


def test_a_folder_in_which_an_image_changed_is_4_and_a_moved_one_goes_on(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--image-size", "16", "--epochs", "2", "-b", "4", "--in-channels", "1"]
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: signal.raise_signal(signal.SIGTERM))
        assert main(["train", "lenet5", "photos", *flags, "--out", "run"]) == 143
    kept = (photos / "dark/3.png").read_bytes()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(photos / "dark/3.png")
    assert main(["train", "--resume", "run"]) == 4
    assert re.search(r"data fingerprint was '\w{64}' and is '\w{64}' now; go on with the old", capsys.readouterr().err)
    (photos / "dark/3.png").write_bytes(kept)
    assert main(["train", "--resume", "run"]) == 0


def test_the_number_of_workers_is_free(stopped, tmp_path, arrays, quick, make_network, read_files):
    train(make_network(), arrays, quick.but(workers=3), out=stopped, resume=True, quiet=True)
    train(make_network(), arrays, quick, out=tmp_path / "whole", quiet=True)
    assert read_files(stopped / "bundle") == read_files(tmp_path / "whole/bundle")
    assert fovea.load(stopped).bundle.provenance["changes"] == []


def test_other_threads_run_and_are_recorded(stopped, arrays, quick, make_network):
    torch.set_num_threads(2)
    try:
        train(make_network(), arrays, quick, out=stopped, resume=True, quiet=True)
    finally:
        torch.set_num_threads(1)
    said = ["from step 6 on: threads 1 became 2"]
    assert checkpoints.progress_of(stopped / "last.safetensors").changes == said
    assert fovea.load(stopped).bundle.provenance["changes"] == said


@pytest.mark.parametrize(
    ("key", "before", "said"),
    [
        ("torch", "1.13.0", f"torch 1.13.0 became {torch.__version__}"),
        ("device", "cuda", "device cuda became cpu"),
        ("instructions", "AVX9", "instructions AVX9 became "),
    ],
)
def test_another_torch_device_or_processor_runs_and_is_recorded(
    key, before, said, stopped, arrays, quick, make_network
):
    told = json.loads((stopped / "config.json").read_text())
    told["machine"][key] = before
    (stopped / "config.json").write_text(json.dumps(told))
    train(make_network(), arrays, quick.but(device="cpu"), out=stopped, resume=True, quiet=True)
    (change,) = fovea.load(stopped).bundle.provenance["changes"]
    assert change.startswith(f"from step 6 on: {said}")


# Best and healthy.


def test_a_worse_epoch_after_a_resume_does_not_take_the_best_ones_place(
    tmp_path, arrays, quick, make_network, monkeypatch
):
    ranks = {1: 0.9, 2: 0.1, 3: 0.2}
    monkeypatch.setattr(loop, "_rank", lambda row: (ranks[row["epoch"]], 0.0))
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(fovea.errors.Stopped):
            train(make_network(), arrays, quick, out=tmp_path / "run", quiet=True)
    best = (tmp_path / "run/best.safetensors").read_bytes()
    run = train(make_network(), arrays, quick, out=tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run/best.safetensors").read_bytes() == best
    assert run.model.bundle.provenance["best_epoch"] == 1
    assert check_whole(run.folder) == {"last.safetensors": 9, "healthy.safetensors": 9, "best.safetensors": 3}


def test_the_healthy_checkpoint_remains_where_a_later_epoch_goes_bad(
    tmp_path, arrays, quick, make_network, monkeypatch
):
    network, out = make_network(), tmp_path / "run"
    at_step(monkeypatch, 5, lambda: network.head.output.bias.data.fill_(float("nan")))
    with pytest.raises(NumbersError):
        train(network, arrays, quick.but(save_steps=1), out=out, quiet=True)
    assert check_whole(out) == {"last.safetensors": 5, "healthy.safetensors": 3, "best.safetensors": 3}
    for name in CHECKPOINTS:
        fresh = make_network()
        checkpoints.load(out / name, State(fresh))
        assert all(torch.isfinite(p).all() for p in fresh.parameters())
