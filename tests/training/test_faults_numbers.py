"""Numbers and resources: nothing that is not finite is ever stored; memory that runs out is said, and does not grow."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from fovea.data.sets import ArrayImages, Data, Split
from fovea.errors import DataError, NumbersError
from fovea.training import checkpoints, loop
from fovea.training.checkpoints import State
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


def check_finite(run, make, step):
    """Every checkpoint that is there is whole and finite, and the last one stands at this step."""
    assert checkpoints.progress_of(run / "last.safetensors").step == step
    for name in NAMES:
        if (run / name).exists():
            network = make()
            checkpoints.load(run / name, State(network))
            assert all(torch.isfinite(t).all() for t in network.state_dict().values() if t.is_floating_point())
    assert not list(run.rglob("*.tmp"))


@dataclass(frozen=True)
class Named(ArrayImages):
    """Images with names, as files have them; whoever makes them answers for their numbers."""

    def name(self, index):
        return f"photos/{index}.tif"


def spoilt(arrays, at, value):
    """Data of floating point whose training image `at` holds one value that is none."""
    images, labels = arrays[0].astype(np.float32) / 255, arrays[1]
    train_images, validation = images[:54].copy(), images[54:]
    train_images[at, 3, 4] = value
    classes = ("a", "b", "c")
    return Data(
        name="spoilt",
        classes=classes,
        train=Split("train", Named(train_images, "train"), labels[:54], classes),
        validation=Split("validation", Named(validation, "validation"), labels[54:], classes),
        test=None,
        channels=1,
        image_size=16,
    )


# Data.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_arrays_that_hold_no_numbers_are_refused_at_the_door(value, tmp_path, arrays, quick, network):
    images = arrays[0].astype(np.float32)
    images[17, 2, 2] = value
    with pytest.raises(DataError, match="images hold NaN or infinity") as refused:
        train(network, (images, arrays[1]), quick, out=tmp_path / "run", quiet=True)
    assert refused.value.exit_code == 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_holds_no_numbers_is_named_with_its_step(value, tmp_path, arrays, quick, make_network):
    told = quick.but(mean=(0.2,), std=(0.3,), shift=0)
    with pytest.raises(NumbersError, match=r"the pixels of photos/17\.tif are not finite") as stopped:
        train(make_network(), spoilt(arrays, 17, value), told, out=tmp_path / "run", quiet=True)
    assert stopped.value.exit_code == 6
    said = re.search(
        r"^step (\d) \(epoch 1\) is not finite: .*; its update was not made; step 0 is kept in", str(stopped.value)
    )
    assert said
    check_finite(tmp_path / "run", make_network, 0)


def test_a_mixed_image_names_the_file_that_spoils_it(tmp_path, arrays, quick, make_network):
    told = quick.but(mean=(0.2,), std=(0.3,), shift=0, mixup=0.3)
    with pytest.raises(NumbersError, match=r"the pixels of .*photos/17\.tif.* are not finite"):
        train(make_network(), spoilt(arrays, 17, float("nan")), told, out=tmp_path / "run", quiet=True)


# Weights, loss, gradients, statistics.


class Spoiling(torch.autograd.Function):
    """What it is given; but gradients that are none, once it is asked for."""

    wanted = False

    @staticmethod
    def forward(_, maps):
        return maps.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient * float("nan") if Spoiling.wanted else gradient


class Small(nn.Module):
    """Batch norm and dropout, and a backward pass that can be spoilt between two layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.second, self.out = nn.Conv2d(4, 8, 3), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.2)

    def forward(self, images):
        maps = self.second(Spoiling.apply(self.first(images)))
        return self.out(self.drop(maps.mean(dim=(2, 3))))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(Spoiling, "wanted", False)

    def make():
        torch.manual_seed(1)
        return Small()

    return make


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_names_its_layer(value, tmp_path, arrays, quick, small, monkeypatch):
    network = small()
    at_step(monkeypatch, 4, lambda: network.second.weight.data[0, 1].fill_(value))
    with pytest.raises(NumbersError, match=r"step 5 \(epoch 2\) is not finite: layer second gave NaN or infinity; its"):
        train(network, arrays, quick.but(save_steps=1), out=tmp_path / "run", quiet=True)
    check_finite(tmp_path / "run", small, 4)


def test_a_gradient_that_is_no_number_names_the_layer_where_it_appears(tmp_path, arrays, quick, small, monkeypatch):
    at_step(monkeypatch, 4, lambda: monkeypatch.setattr(Spoiling, "wanted", True))
    with pytest.raises(
        NumbersError,
        match=r"step 5 \(epoch 2\).*the gradient of first\.1\.bias is not finite, that of the layers behind it is",
    ):
        train(small(), arrays, quick.but(save_steps=1), out=tmp_path / "run", quiet=True)
    check_finite(tmp_path / "run", small, 4)


def test_a_loss_that_is_no_number_though_the_logits_are_is_said(tmp_path, arrays, quick, small, monkeypatch):
    from fovea.training import planning

    real = planning.objective
    broken = []

    def made(*given, **more):
        loss = real(*given, **more)
        return lambda outputs, batch: loss(outputs, batch) * (float("nan") if broken else 1.0)

    monkeypatch.setattr(planning, "objective", made)
    at_step(monkeypatch, 4, lambda: broken.append(True))
    with pytest.raises(
        NumbersError, match=r"step 5 \(epoch 2\) is not finite: the loss is nan, of logits that are finite"
    ):
        train(small(), arrays, quick.but(save_steps=1), out=tmp_path / "run", quiet=True)
    check_finite(tmp_path / "run", small, 4)


def test_a_gradient_whose_norm_overflows_is_said(tmp_path, arrays, quick, small, monkeypatch):
    network = small()
    at_step(monkeypatch, 4, lambda: network.out.weight.data.mul_(1e25))
    with pytest.raises(
        NumbersError, match=r"step 5 .* is not finite: (the gradient's norm overflows|layer|the gradient of|the loss)"
    ):
        train(network, arrays, quick.but(save_steps=1), out=tmp_path / "run", quiet=True)
    check_finite(tmp_path / "run", small, 4)


def test_statistics_that_only_evaluation_sees_end_the_run_before_they_are_called_healthy(
    tmp_path, arrays, quick, small, monkeypatch
):
    network = small()
    at_step(monkeypatch, 5, lambda: network.first[1].running_var.fill_(float("nan")))
    with pytest.raises(NumbersError, match=r"NaN|nan") as stopped:
        train(network, arrays, quick, out=tmp_path / "run", quiet=True)
    assert stopped.value.exit_code == 6
    check_finite(tmp_path / "run", small, 3)


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam", "adamw", "muon"])
@pytest.mark.parametrize(
    "more", [{}, {"ema": 0.5}, {"accumulate": 3}, {"clip": 0.1}], ids=["plain", "ema", "accumulate", "clip"]
)
def test_what_is_stored_after_a_bad_step_equals_the_state_before_it(
    optimiser, more, tmp_path, arrays, quick, small, monkeypatch
):
    told = quick.but(optimiser=optimiser, save_steps=1, **more)
    whole = train(small(), arrays, told.but(max_steps=5), out=tmp_path / "whole", quiet=True)
    at_step(monkeypatch, 5, lambda: monkeypatch.setattr(Spoiling, "wanted", True))
    network = small()
    with pytest.raises(NumbersError):
        train(network, arrays, told.but(max_steps=5 + 2), out=tmp_path / "run", quiet=True)
    before, after = whole.folder / "last.safetensors", tmp_path / "run/last.safetensors"
    assert checkpoints.progress_of(after).step == 5
    assert checkpoints.first_difference(before, after) == ""


def test_a_run_that_met_nan_goes_on_once_its_cause_is_gone(tmp_path, arrays, quick, small, monkeypatch, read_files):
    whole = train(small(), arrays, quick, out=tmp_path / "whole", quiet=True)
    at_step(monkeypatch, 5, lambda: monkeypatch.setattr(Spoiling, "wanted", True))
    with pytest.raises(NumbersError):
        train(small(), arrays, quick, out=tmp_path / "run", quiet=True)
    monkeypatch.setattr(Spoiling, "wanted", False)
    train(small(), arrays, quick, out=tmp_path / "run", resume=True, quiet=True)
    assert read_files(tmp_path / "run/bundle") == read_files(whole.folder / "bundle")


# Workers.


@pytest.mark.parametrize("more", [{}, {"crop": "random", "flip": True}], ids=["whole batches", "image by image"])
def test_the_number_of_workers_changes_neither_bundle_nor_history(
    more, tmp_path, arrays, quick, make_network, read_files
):
    found = []
    for workers in range(5):
        run = train(make_network(), arrays, quick.but(workers=workers, **more), out=tmp_path / str(workers), quiet=True)
        rows = [{key: value for key, value in row.items() if key not in CLOCKS} for row in run.history]
        found.append((read_files(run.folder / "bundle"), rows))
    assert all(each == found[0] for each in found)


# Memory.

WIDE = '''
import torch
from torch import nn

class Wide(nn.Module):
    """Next to no arithmetic, and three megabytes of maps for each image."""

    def __init__(self, num_classes=10, in_channels=1, image_size=32):
        super().__init__()
        self.in_channels, self.num_classes = in_channels, num_classes
        self.widen, self.out = nn.Conv2d(in_channels, 32, 1), nn.Linear(32, num_classes)

    def forward(self, images):
        maps = self.widen(images)
        for _ in range(24):
            maps = torch.relu(maps)
        return self.out(maps.mean(dim=(2, 3)))
'''
LIMITED = """
import json, os, resource, sys
from fovea.commands.main import main
from fovea.training import train
import fovea.commands.train, fovea.transfer.starting
import lightning.fabric, sklearn.datasets, safetensors.torch, sympy, tyro

train.draw = lambda *_: None
for line in sys.stdin:
    job = json.loads(line)
    process = os.fork()  # of what has imported everything
    if process == 0:
        said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2), os.chdir(job["place"])
        taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + job["size"],) * 2)
        code = main(job["arguments"])
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
GIGABYTE = 1_000_000_000


@pytest.fixture(scope="module")
def limiting():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LIMITED], **pipes) as process:
        yield process
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def limited(limiting, tmp_path):
    """`fovea train` of a network that wants 3.4 GB for 1,024 images, in a process that may take so many bytes."""
    (tmp_path / "wide.py").write_text(WIDE)

    def run(size, *arguments, out):
        told = ["train", "wide.py:Wide", "digits", "--image-size", "32", "--epochs", "1", "--max-steps", "1"]
        told += ["--device", "cpu", *arguments, "--out", out]
        job = {"arguments": told, "size": size, "place": str(tmp_path), "said": str(tmp_path / "said.txt")}
        limiting.stdin.write(json.dumps(job) + "\n")
        limiting.stdin.flush()
        code = int(limiting.stdout.readline())
        said = (tmp_path / "said.txt").read_text()
        assert "Traceback" not in said, said
        return code, said

    return run


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits address space so")
def test_out_of_memory_is_5_with_a_batch_size_that_really_fits(limited, tmp_path):
    code, said = limited(2 * GIGABYTE, "-b", "1024", out="large")
    assert code == 5, said
    words = re.search(r"1,024 images.* it takes 3\.\d+ GB, [\d.]+ GB are free; ([\d,]+) fit: choose -b (\d+)", said)
    assert words, said
    fits = int(words[2])
    assert 100 < fits < 1024
    assert not (tmp_path / "large").exists()
    code, said = limited(2 * GIGABYTE, "-b", str(fits), out="fits")
    assert code == 0, said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits address space so")
def test_batch_size_auto_keeps_the_batch_and_computes_it_in_parts(limited, tmp_path):
    code, said = limited(2 * GIGABYTE, "-b", "1024", "--accumulate", "0", out="auto")
    assert code == 0, said
    told = json.loads((tmp_path / "auto/config.json").read_text())
    assert told["training"]["batch_size"] == 1024
    assert told["training"]["update"]["accumulate"] in (4, 8, 16)
    assert told["chosen"]["accumulate"] == 0
    assert checkpoints.progress_of(tmp_path / "auto/last.safetensors").step == 1


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tensors():
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    "more", [{}, {"ema": 0.9, "crop": "random", "workers": 2}], ids=["plain", "workers and average"]
)
def test_memory_is_flat_over_200_epochs(more, tmp_path, arrays, quick, network):
    seen = {}

    def watch(rows):
        if len(rows) in (20, 110, 200):
            seen[len(rows)] = (tensors(), len(gc.get_objects()), resident())

    train(network, arrays, quick.but(epochs=200, **more), out=tmp_path / "run", quiet=True, watcher=watch)
    assert seen[20][0] == seen[110][0] == seen[200][0]
    assert seen[200][1] - seen[20][1] < 1000  # objects: the history's rows hold numbers only
    assert seen[200][2] - seen[20][2] < 20e6
