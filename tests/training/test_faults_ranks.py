"""Workers that fail or hang, and ranks of which one fails: seen in seconds, named, and the run goes on all the same.

Ranks are forked from one process that has imported everything; the slow tests have torchrun start them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fovea
from fovea.data import ahead as reading_ahead
from fovea.data import loader, reading
from fovea.data.ahead import ahead
from fovea.data.loader import TrainingBatches
from fovea.data.opening import open_data
from fovea.data.options import Augmentation
from fovea.data.preparing import geometry, prepare
from fovea.errors import MachineError, UnreadableImage
from fovea.training import checkpoints, loop
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")
CLOCKS = ("images_per_second", "data_wait", "seconds")
NAMES = ("last.safetensors", "healthy.safetensors", "best.safetensors")


def at_step(monkeypatch, step, act):
    real, done = loop.learning_rate, []

    def rate(now, *rest):
        if now == step and not done:
            done.append(act())
        return real(now, *rest)

    monkeypatch.setattr(loop, "learning_rate", rate)


# Workers: threads that read files while training goes on.


@pytest.fixture
def photos(tmp_path):
    drawn = np.random.default_rng(0)
    for name, level in (("dark", 40), ("grey", 120), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(drawn.normal(level, 20, (18, 18)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def reading_quick(quick):
    """Options under which every image is read from its file when its step wants it: 24 steps an epoch."""
    return quick.but(batch_size=4, crop="random", mean=(0.5,), std=(0.3,), workers=2, shift=0)


def gone(photos):
    for path in photos.rglob("*.png"):
        path.unlink()


def cut(photos):
    for path in photos.rglob("*.png"):
        os.truncate(path, 100)  # in one step: no reader finds it empty


@pytest.mark.parametrize(("spoil", "said"), [(gone, "does not exist"), (cut, r"png: .*(truncated|cut|ends)")])
def test_files_that_vanish_or_are_cut_while_training_reads_them_are_3_and_named(
    spoil, said, tmp_path, photos, reading_quick, network, monkeypatch
):
    at_step(monkeypatch, 2, lambda: spoil(photos))
    began = time.monotonic()
    with pytest.raises(UnreadableImage, match=said) as stopped:
        train(network, str(photos), reading_quick, out=tmp_path / "run", quiet=True)
    assert stopped.value.exit_code == 3
    assert str(photos) in str(stopped.value)
    assert time.monotonic() - began < 30
    assert checkpoints.progress_of(tmp_path / "run/last.safetensors").step == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fovea-loader")]


def test_a_disk_that_fails_under_a_worker_is_named(tmp_path, photos, reading_quick, network, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_step(monkeypatch, 2, lambda: monkeypatch.setattr(reading, "_read_whole", broken))
    with pytest.raises(UnreadableImage, match=rf"{photos}/\w+/\d+\.png: cannot be read \(Input/output error\)"):
        train(network, str(photos), reading_quick, out=tmp_path / "run", quiet=True)


def test_a_worker_that_hangs_is_5_after_the_deadline_with_the_files_of_its_batch(
    tmp_path, photos, reading_quick, network, monkeypatch
):
    waiting = threading.Event()
    real = reading._read_whole

    def hanging(*given):
        waiting.wait(60)
        return real(*given)

    monkeypatch.setattr(loader, "ahead", functools.partial(ahead, deadline=1.0))
    at_step(monkeypatch, 2, lambda: monkeypatch.setattr(reading, "_read_whole", hanging))
    began = time.monotonic()
    try:
        with pytest.raises(MachineError, match=r"could not be read within 1 s; check the disk or network") as stopped:
            train(network, str(photos), reading_quick, out=tmp_path / "run", quiet=True)
        assert time.monotonic() - began < 30
    finally:
        waiting.set()
    assert stopped.value.exit_code == 5
    assert str(stopped.value).count(".png") == 3
    assert " and 1 more: could not be read" in str(stopped.value)


def test_a_deadline_of_the_work_itself_is_not_ours():
    def late(_):
        raise TimeoutError("of a server")

    with pytest.raises(TimeoutError, match="of a server"):
        list(ahead(late, range(3), 1, deadline=5.0))


def test_what_is_quick_enough_keeps_to_the_deadline_each_by_itself():
    slow = ahead(lambda item: time.sleep(0.15) or item, range(5), 1, deadline=0.6)
    assert list(slow) == list(range(5))


def test_the_default_deadline_is_minutes():
    assert 60 <= reading_ahead.DEADLINE <= 600


HANGS = """
import functools, sys, time
from fovea.commands.main import main
from fovea.data import loader, reading
from fovea.data.ahead import ahead
from fovea.training import loop

loader.ahead = functools.partial(ahead, deadline=1.0)
real = loop.learning_rate

def rate(step, *rest):
    if step == 2:
        reading._read_whole = lambda *_: time.sleep(1000)
    return real(step, *rest)

loop.learning_rate = rate
sys.exit(main(sys.argv[1:]))
"""


def test_the_process_ends_although_its_worker_still_hangs(tmp_path, photos):
    told = ["--image-size", "16", "-b", "4", "--crop", "random", "--mean", "0.5", "--std", "0.3", "-j", "2"]
    command = [sys.executable, "-c", HANGS, "train", "lenet5", str(photos), *told, "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 5, done.stderr
    assert ".png and 1 more: could not be read within 1 s" in done.stderr
    assert "Traceback" not in done.stderr


# Ranks.

SHORT = ["train", "lenet5", "digits", "--image-size", "16", "-b", "128", "--shift", "1", "--device", "cpu"]
TOLD = [*SHORT, "--precision", "float32", "--epochs", "2", "--save-steps", "3"]  # eight steps an epoch

SERVER = r"""
import json, os, signal, sys, time
from pathlib import Path
from fovea.commands.main import main
from fovea.training import checkpoints, loop, train
import fovea.architectures.lenet, fovea.commands.progress, fovea.commands.train, fovea.transfer.starting
import sklearn.datasets, lightning.fabric, safetensors.torch, sympy, tyro

train.draw = lambda *_: None
rate, gradients = loop.learning_rate, loop.Step._gradients

def hooked(job):
    def at_step(step, *rest):
        if job.get("die_at_step") == step:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.get("sleep_at_step") == step:
            Path(job["sleeping"]).touch()
            time.sleep(1.0)
        loop.step_now = step
        return rate(step, *rest)

    def spoilt(self, batch):
        if job.get("nan_at_step") == loop.step_now:
            batch = batch._replace(images=batch.images * float("nan"))
        return gradients(self, batch)

    loop.step_now = -1
    loop.learning_rate, loop.Step._gradients = at_step, spoilt

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
        os.environ.update(job["environment"])
        hooked(job)
        code = main(job["arguments"])
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(process, flush=True)
"""


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return str(place.getsockname()[1])


class Server:
    """Starts a run of one or two ranks as torchrun does, with a rank that does something of its own."""

    def __init__(self, process):
        self.process, self.place = process, Path()

    def start(self, arguments, *, ranks=2, hooks=None):
        """The processes of a run, by rank; `hooks` by rank."""
        port, started = free_port(), []
        for rank in range(ranks):
            here = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            group = here | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
            job = {
                "arguments": arguments,
                "place": str(self.place),
                "said": str(self.place / f"said{rank}.txt"),
                "environment": {name: str(value) for name, value in group.items()} if ranks > 1 else {},
            }
            started.append(self._asked(job | (hooks or {}).get(rank, {})))
        return started

    def wait(self, started):
        """The exit codes, and what the ranks said."""
        codes = [self._asked({"wait": process}) for process in started]
        return codes, [(self.place / f"said{rank}.txt").read_text() for rank in range(len(started))]

    def run(self, arguments, *, ranks=2, hooks=None):
        return self.wait(self.start(arguments, ranks=ranks, hooks=hooks))

    def _asked(self, job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def serving():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes) as process:
        yield Server(process)
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def alone(serving, tmp_path_factory):
    """The runs of two ranks and of one that nobody disturbs."""
    serving.place = tmp_path_factory.mktemp("alone")
    for ranks in (1, 2):
        codes, said = serving.run([*TOLD, "--out", f"{ranks}"], ranks=ranks)
        assert codes == [0] * ranks, said
    return serving.place


@pytest.fixture
def server(serving, tmp_path, alone):  # noqa: ARG001  # whose runs must have been made before the place changes
    serving.place = tmp_path
    return serving


def untimed(rows):
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def check_equal(run, whole):
    for path in sorted((whole / "bundle").iterdir()):
        assert (run / "bundle" / path.name).read_bytes() == path.read_bytes(), path.name
    for name in NAMES:
        assert checkpoints.first_difference(run / name, whole / name) == "", name
        one, other = (checkpoints.progress_of(each / name) for each in (run, whole))
        assert (one.step, one.running, untimed(one.history)) == (other.step, other.running, untimed(other.history))
    assert list(run.rglob("*.tmp")) == []


def test_images_that_the_ranks_cannot_share_evenly_count_once(alone):
    """359 validation images are one batch of 256 and one of 103."""
    told = {name: json.loads((alone / name / "bundle/bundle.json").read_text())["metrics"] for name in ("1", "2")}
    judged = fovea.evaluate(fovea.load(alone / "2"), open_data("digits").validation)
    for split in ("validation", "test"):
        assert told["1"][split]["images"] == told["2"][split]["images"] == 359
    assert judged.summary() == told["2"]["validation"]  # by one process, of the weights that two have judged
    assert int(judged.confusion.sum()) == 359


def test_each_step_of_two_ranks_sees_the_images_of_the_same_step_of_one(arrays):
    data = open_data(arrays)
    fitted = prepare(data, geometry(data, image_size=16, in_channels=1))["train"]

    def batches(rank, ranks):
        return TrainingBatches(
            fitted=fitted, batch_size=12, seed=1, augmentation=Augmentation(shift=1), rank=rank, ranks=ranks
        )

    for epoch in (0, 1):
        for step in range(4):
            halves = [batches(rank, 2).share(epoch, step) for rank in (0, 1)]
            assert len(halves[0]) == len(halves[1]) == 6
            assert sorted([*halves[0], *halves[1]]) == sorted(batches(0, 1).share(epoch, step))


def test_the_first_gradients_and_sums_of_two_ranks_are_those_of_one_with_the_whole_batch(server, tmp_path):
    """After the first step the optimiser's momentum is the gradient."""
    found = []
    for ranks in (1, 2):
        codes, said = server.run([*TOLD, "--max-steps", "1", "--out", f"{ranks}"], ranks=ranks)
        assert codes == [0] * ranks, said
        from safetensors.torch import load_file

        tensors = load_file(tmp_path / f"{ranks}/last.safetensors")
        found.append({name: tensor for name, tensor in tensors.items() if name.startswith("optimiser.")})
    assert len(found[0]) == len(found[1]) > 5
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], rtol=1e-4, atol=1e-4 * float(gradient.abs().max())), name
    rows = [checkpoints.progress_of(tmp_path / f"{n}/last.safetensors").history[0] for n in (1, 2)]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-5)
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    assert rows[0]["gradient_norm"] == pytest.approx(rows[1]["gradient_norm"], rel=1e-4)


@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_rank_is_killed_the_other_ends_too_and_the_restart_is_identical(killed, server, alone, tmp_path):
    began = time.monotonic()
    codes, said = server.run([*TOLD, "--out", "run"], hooks={killed: {"die_at_step": 12}})
    assert time.monotonic() - began < 60
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 5, said
    assert f"another process of the run has ended: process {1 - killed} lost its connection" in said[1 - killed]
    assert "Traceback" not in said[1 - killed]
    assert checkpoints.progress_of(tmp_path / "run/last.safetensors").step in (9, 12)
    codes, said = server.run(["train", "--resume", "run"])
    assert codes == [0, 0], said
    check_equal(tmp_path / "run", alone / "2")


@pytest.mark.parametrize("to", [0, 1])
def test_a_signal_to_one_rank_stops_both_saved_and_the_restart_is_identical(to, server, alone, tmp_path):
    sleeping = tmp_path / "sleeping"
    started = server.start([*TOLD, "--out", "run"], hooks={to: {"sleep_at_step": 10, "sleeping": str(sleeping)}})
    deadline = time.monotonic() + 60
    while not sleeping.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(started[to], signal.SIGTERM)
    codes, said = server.wait(started)
    assert codes == [143, 143], said
    assert checkpoints.progress_of(tmp_path / "run/last.safetensors").step == 11
    assert server.run(["train", "--resume", "run"])[0] == [0, 0]
    check_equal(tmp_path / "run", alone / "2")


@pytest.mark.parametrize("at", [0, 1])
def test_nan_on_one_rank_stops_both_before_the_update_and_the_restart_is_identical(at, server, alone, tmp_path):
    codes, said = server.run([*TOLD, "--out", "run"], hooks={at: {"nan_at_step": 10}})
    assert codes == [6, 6], said
    assert all("step 11 (epoch 2) is not finite: " in each for each in said)
    assert checkpoints.progress_of(tmp_path / "run/last.safetensors").step == 9
    assert server.run(["train", "--resume", "run"])[0] == [0, 0]
    check_equal(tmp_path / "run", alone / "2")


def test_a_run_of_two_ranks_goes_on_with_one_and_it_is_recorded(server, tmp_path):
    hooks = {rank: {"die_at_step": 12} for rank in (0, 1)}
    assert server.run([*TOLD, "--out", "run"], hooks=hooks)[0] == [-signal.SIGKILL] * 2
    codes, said = server.run(["train", "--resume", "run"], ranks=1)
    assert codes == [0], said
    bundle = json.loads((tmp_path / "run/bundle/bundle.json").read_text())
    (change,) = bundle["provenance"]["changes"]
    assert change.endswith(" on: ranks 2 became 1")
    assert bundle["metrics"]["validation"]["images"] == 359
    rows = checkpoints.progress_of(tmp_path / "run/last.safetensors").history
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 < row["accuracy"] <= 1 for row in rows)


def test_a_batch_that_the_ranks_cannot_share_is_refused(server):
    codes, said = server.run(["train", "-b", "63", "--device", "cpu", "--out", "run"])
    assert codes == [2, 2]
    # One tells it for all; the other, which torchrun would have ended by then, later tells it of itself.
    assert [each.count("batch_size (=63) is a multiple of it and ranks") for each in said] == [1, 1]
    assert [each.count("fovea, process 1: ") for each in said] == [0, 1]
    assert not (server.place / "run").exists()


# The same under torchrun.


def alive(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def ranks_of(launcher):
    """The ranks that a launcher started, in their order."""
    found = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        said = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(each[5:]): int(child) for each in said if each.startswith(b"RANK=")}
    return [found[rank] for rank in sorted(found)]


@pytest.fixture
def torchrun(tmp_path):
    def start(*arguments):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        with open(tmp_path / "said.txt", "ab") as said:
            return subprocess.Popen(
                [*command, "-m", "fovea", *arguments], cwd=tmp_path, stdout=said, stderr=said, start_new_session=True
            )

    return start


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the first rank", "the second rank", "all", "the launcher, politely"])
def test_under_torchrun_all_are_gone_within_a_minute_and_the_restart_is_identical(how, torchrun, alone, tmp_path):
    last = tmp_path / "run/last.safetensors"
    launcher = torchrun(*TOLD, "--out", "run")
    deadline = time.monotonic() + 120
    while not last.exists() or checkpoints.progress_of(last).step < 3:
        assert time.monotonic() < deadline
        assert launcher.poll() is None, (tmp_path / "said.txt").read_text()
        time.sleep(0.002)
    ranks = ranks_of(launcher.pid)
    assert len(ranks) == 2
    began = time.monotonic()
    if how == "all":
        os.killpg(launcher.pid, signal.SIGKILL)
    if how == "the launcher, politely":
        launcher.send_signal(signal.SIGTERM)
    for rank in {"the first rank": ranks[:1], "the second rank": ranks[1:], "all": ranks}.get(how, []):
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank, signal.SIGKILL)
    assert launcher.wait(60) != 0
    while any(map(alive, ranks)):
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    assert not (tmp_path / "run/bundle").exists()
    assert torchrun("train", "--resume", "run").wait(200) == 0, (tmp_path / "said.txt").read_text()
    check_equal(tmp_path / "run", alone / "2")
