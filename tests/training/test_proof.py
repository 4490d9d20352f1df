"""The proof that resuming works: it finds what differs, and does not pass where nothing was killed.

Most tests prove a stand-in that trains nothing: a few lines that write checkpoints as a run does, with faults built in.
"""

from __future__ import annotations

import itertools
import json
import sys

import pytest

from fovea.errors import DataError, MachineError, ModelError, UsageError
from fovea.training import checkpoints
from fovea.training.proof import Verdict, prove_resume

STAND_IN = r"""
import hashlib, json, os, struct, sys, time
from pathlib import Path

told = dict(zip(sys.argv[2::2], sys.argv[3::2]))
fault, pause = os.environ.get("FAULT", ""), float(os.environ.get("PAUSE", "0.02"))
run = Path(told.get("--resume") or told["--out"])
if fault == "bad data":
    sys.exit(print("fovea: photos: holds no class folders", file=sys.stderr) or 3)
steps = int(told["--max-steps"]) if "--max-steps" in told else json.loads(
    (Path(told["--config"]) if "--config" in told else run / "config.json").read_text())["steps"]
run.mkdir(exist_ok=True)
(run / "config.json").write_text(json.dumps({"steps": steps}))

def put(path, content):
    path.with_suffix(".part").write_bytes(content)
    os.replace(path.with_suffix(".part"), path)

def save(step, weight, momentum):
    weight, momentum = struct.unpack("<2f", struct.pack("<2f", weight, momentum))  # what goes on is what was written
    tensors = {"network.weight": weight, "optimiser.0.momentum_buffer": momentum}
    rows = [{"seconds": pause * steps}] if step == steps else []
    said = json.dumps({"step": step, "history": rows, "best": None, "running": [], "changes": []})
    digest, header, data = hashlib.sha256(said.encode()), {}, b""
    for name, value in sorted(tensors.items()):
        content = struct.pack("<f", value)
        digest.update(f"{name} torch.float32 (1,)".encode() + content)
        header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        data += content
    header["__metadata__"] = {"progress": said, "sha256": digest.hexdigest()}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    put(run / "last.safetensors", struct.pack("<Q", len(head)) + head + data)
    return step, weight, momentum

def load():
    content = (run / "last.safetensors").read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    step = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["progress"])["step"]
    return step, *struct.unpack("<2f", content[8 + size :])

resumed = (run / "last.safetensors").exists()
step, weight, momentum = load() if resumed else save(0, 1.0, 0.0)
if resumed and fault == "momentum":
    momentum *= 0.5
while step < steps:
    time.sleep(pause)
    momentum = 0.5 * momentum + 1.0 / (1 + step)
    weight = weight if fault == "momentum" else weight - 0.25 * momentum
    step, weight, momentum = save(step + 1, weight, momentum)
bundle = run / "bundle"
bundle.mkdir(exist_ok=True)
(bundle / "weights").write_text(repr(weight) + "!" * (fault == "weights" and resumed))
if not (fault == "missing" and resumed):
    top1 = 0.25 if fault == "bundle" and resumed else 0.5
    (bundle / "bundle.json").write_text(json.dumps({"metrics": {"top1": top1}}))
if fault == "more" and resumed:
    (bundle / "more").write_text("")
time.sleep(5 * pause)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A command that behaves like `python -m fovea train`, with a fault, and so many seconds for each step."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)

    def command(fault="", pause=0.02):
        monkeypatch.setenv("FAULT", fault)
        monkeypatch.setenv("PAUSE", str(pause))
        return [sys.executable, str(tmp_path / "stand_in.py"), "train"]

    return command


def test_a_run_that_resumes_well_is_proven_and_the_kills_lie_where_they_were_drawn(stand_in):
    verdict = prove_resume(stand_in(), steps=12, kills=4, seed=1)
    assert verdict.equal
    assert verdict.difference == ""
    assert verdict.steps == 12
    assert len(verdict.killed_after) == 4
    assert all(earlier <= later for earlier, later in itertools.pairwise(verdict.killed_after))
    assert verdict.killed_after[0] >= 0
    assert verdict.killed_after[-1] <= 12


@pytest.mark.parametrize(
    ("fault", "difference"),
    [
        ("momentum", "optimiser.0.momentum_buffer in last.safetensors"),
        ("bundle", "metrics.top1 (0.5 and 0.25) in bundle/bundle.json"),
        ("weights", "bundle/weights"),
        ("missing", "bundle/bundle.json"),
        ("more", "bundle/more"),
    ],
)
def test_what_differs_after_a_resume_is_found_and_named(fault, difference, stand_in):
    verdict = prove_resume(stand_in(fault, pause=0.1), steps=8, kills=2, seed=1)  # from steps 2 and 4 on
    assert not verdict.equal
    assert verdict.difference == difference
    assert "resume is NOT exact" in str(verdict)
    assert f"{difference} differs from the uninterrupted run's" in str(verdict)


def test_a_run_that_ends_before_it_can_be_killed_proves_nothing(stand_in, monkeypatch):
    from fovea.training import proof

    command = stand_in(pause=0.0)
    monkeypatch.setattr(proof, "POLL", 1.0)
    with pytest.raises(MachineError, match=r"ended before it could be killed \(exit code 0\); its steps are too short"):
        prove_resume(command, steps=3, kills=1, seed=0)


def test_a_run_that_fails_by_itself_says_so_in_its_own_words(stand_in):
    with pytest.raises(DataError, match=r"^photos: holds no class folders$"):
        prove_resume(stand_in("bad data"), steps=3)


def test_a_command_that_says_nothing_is_an_error_too():
    with pytest.raises(ModelError, match="nothing was said"):
        prove_resume([sys.executable, "-c", "raise SystemExit(77)", "train"], steps=3)


def test_no_more_kills_than_steps_are_drawn(stand_in):
    verdict = prove_resume(stand_in(pause=0.1), steps=4, kills=9, seed=3)
    assert len(verdict.killed_after) == 4


def test_kills_before_the_first_step_and_after_the_last_prove_nothing(stand_in):
    with pytest.raises(MachineError, match="before the first step was saved or after the last, which proves nothing"):
        prove_resume(stand_in("momentum", pause=0.1), steps=1, kills=1)


def test_nothing_is_left_behind(stand_in, tmp_path, monkeypatch):
    import tempfile

    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    prove_resume(stand_in(pause=0.1), steps=6, kills=1, seed=0)
    with pytest.raises(DataError):
        prove_resume(stand_in("bad data"), steps=3)
    assert list(place.iterdir()) == []


def test_under_torchrun_it_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="run it without torchrun"):
        prove_resume(["python", "-m", "fovea", "train"])


def test_a_verdict_prints_itself_and_is_plain_json():
    verdict = Verdict(equal=True, steps=24, killed_after=(3, 9, 20))
    assert str(verdict) == (
        "resume is exact: 24 steps, killed 3 times, after steps 3, 9, 20 of them, and resumed each time; weights, "
        "optimiser and bundle equal the uninterrupted run's to the bit"
    )
    told = json.loads(json.dumps(verdict.as_json()))
    assert told == {"equal": True, "steps": 24, "killed_after": [3, 9, 20], "difference": ""}


def test_checkpoints_differ_in_the_first_tensor_that_is_not_the_same_to_the_bit(stand_in, tmp_path):
    import subprocess

    for name, steps in (("one", 3), ("two", 3), ("three", 4)):
        command = [*stand_in(pause=0.0), "--max-steps", str(steps), "--out", str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=60)
    last = [tmp_path / name / checkpoints.LAST for name in ("one", "two", "three")]
    assert checkpoints.first_difference(last[0], last[1]) == ""
    assert checkpoints.first_difference(last[0], last[2]) == "network.weight"


REAL = ["lenet5", "digits", "--image-size", "16", "-b", "256", "--epochs", "3"]


WITHOUT_PICTURES = """
import sys
from fovea.commands.main import main
from fovea.training import train

train.draw = lambda *_: None
sys.exit(main(sys.argv[1:]))
"""


def test_a_real_run_is_proven():
    verdict = prove_resume([sys.executable, "-c", WITHOUT_PICTURES, "train", *REAL], steps=12, kills=1, seed=0)
    assert verdict.equal, verdict
    assert (verdict.steps, len(verdict.killed_after)) == (12, 1)


@pytest.mark.slow
def test_the_command_proves_a_run_with_augmentation_and_average(capsys):
    from fovea.commands.main import main

    assert main(["train", *REAL, "--ema", "0.9", "--rotate", "10", "--mixup", "0.2", "--prove-resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["equal"]
    assert len(told["killed_after"]) == 3


@pytest.mark.slow
def test_the_command_finds_a_real_run_that_does_not_resume_exactly(tmp_path, monkeypatch, capsys):
    """A network with a secret: a count that it keeps of its own, in no checkpoint, changes what it computes."""
    (tmp_path / "secret.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Secret(nn.Module):\n"
        "    def __init__(self, num_classes=10, in_channels=1, image_size=16):\n"
        "        super().__init__()\n"
        "        self.in_channels, self.num_classes, self.calls = in_channels, num_classes, 0\n"
        "        self.conv, self.out = nn.Conv2d(in_channels, 4, 3), nn.Linear(4, num_classes)\n\n"
        "    def forward(self, images):\n"
        "        self.calls += self.training\n"
        "        return self.out(self.conv(images).mean((2, 3))) * (1 + 0.01 * self.calls)\n"
    )
    monkeypatch.chdir(tmp_path)
    from fovea.commands.main import main

    told = ["train", "secret.py:Secret", "digits", "--image-size", "16", "-b", "256", "--epochs", "6"]
    assert main([*told, "--prove-resume"]) == 1
    assert "resume is NOT exact" in capsys.readouterr().out
