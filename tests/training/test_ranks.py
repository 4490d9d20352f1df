"""Two processes over gloo: the same images, the same gradients, the same weights as one with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

# What both kinds of run execute: one trains alone, or two under torchrun do.
SCRIPT = """
import atexit, json, os, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
atexit.register(lambda: os._exit(9) if torch.distributed.is_initialized() else None)  # runs last: groups must be left
import fovea
from fovea.training import loop, train as module
from fovea.training.options import options

name, changes, out = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
rank = int(os.environ.get("RANK", "0"))
module.draw = lambda *_: None
random = np.random.default_rng(0)
labels = (np.arange(58) % 3).astype(np.int64)
images = random.integers(0, 80, (58, 16, 16)).astype(np.uint8)
for image, label in zip(images, labels):
    image[:, label * 5 : label * 5 + 3] += 150
built = json.loads(sys.argv[4])
network = fovea.create(name, **({"num_classes": 3, "in_channels": 1, "image_size": 16} | built), seed=3)
seen, real = [], loop.Step._gradients

def gradients(self, batch):
    loss = real(self, batch)
    if len(seen) == 0:
        seen.append(True)
        trained = network.named_parameters()
        every = {n: p.grad.clone() for n, p in trained if p.grad is not None}
        torch.save(every, out.with_suffix(f".gradients{rank}"))
    return loss

loop.Step._gradients = gradients
told = options(**({"epochs": 2, "batch_size": 12, "lr": 0.02, "precision": "float32"} | changes))
run = fovea.train(network, (images, labels), told, out=out, quiet=True)
if rank == 0:
    print(json.dumps({"history": run.history, "images": run.scores["validation"].images}))
"""


def torchrun(code, *arguments, ranks):
    """As `forked` does, but all of it torchrun's way."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    script = Path(arguments[2]).with_suffix(".py")
    script.write_text(code)
    command = [*launcher, str(script), *arguments]
    return [subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)]


def ran(how, ranks, out, name="lenet5", built=None, **changes):
    """What rank 0 printed, the weights in the bundle, and the first step's gradients of each rank."""
    done = how(SCRIPT, name, json.dumps(changes), str(out), json.dumps(built or {}), ranks=ranks)
    assert not any(each.returncode for each in done), "\n".join(each.stderr[-3000:] for each in done)
    said = json.loads(next(line for line in done[0].stdout.splitlines() if line.startswith("{")))
    weights = safetensors.torch.load_file(out / "bundle/weights.safetensors")
    gradients = [torch.load(out.with_suffix(f".gradients{rank}"), weights_only=True) for rank in range(ranks)]
    return said, weights, gradients


def close(one, other, tolerance=1e-4):
    for name in one:
        difference = (one[name].double() - other[name].double()).abs().max()
        assert difference <= tolerance * max(1.0, float(other[name].abs().max())), (name, difference)


def test_two_ranks_train_in_parts_as_one_with_the_whole_batch(forked, tmp_path):
    one = ran(forked, 1, tmp_path / "one", clip=0.5)
    two = ran(torchrun, 2, tmp_path / "two", clip=0.5, accumulate=3)
    close(two[2][0], two[2][1], 0.0)
    close(two[2][0], one[2][0])
    close(two[1], one[1])
    assert two[0]["images"] == one[0]["images"] == 6
    for row, other in zip(two[0]["history"], one[0]["history"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["accuracy"] == pytest.approx(other["accuracy"])
        assert row["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)


def test_synchronised_batch_norm_makes_two_ranks_one_batch(forked, tmp_path):
    residual = {"name": "cifar_resnet20", "epochs": 1}
    one = ran(forked, 1, tmp_path / "one", **residual)
    two = ran(forked, 2, tmp_path / "two", sync_batch_norm=True, **residual)
    apart = ran(forked, 2, tmp_path / "apart", **residual)
    close(two[2][0], one[2][0], 1e-3)
    close(two[1], one[1], 1e-3)
    with pytest.raises(AssertionError):
        close(apart[2][0], one[2][0], 1e-3)


def test_auxiliary_classifiers_learn_under_two_ranks(forked, tmp_path):
    built = {"image_size": 40, "in_channels": 1, "auxiliary": True, "stem": "small"}
    given = {"name": "googlenet", "built": built, "epochs": 1, "batch_size": 6, "max_steps": 2, "warmup_epochs": 0.0}
    said, _, gradients = ran(forked, 2, tmp_path / "two", **given)
    close(gradients[0], gradients[1], 0.0)
    touched = [name for name, gradient in gradients[0].items() if gradient.abs().max() > 0]
    assert {name.split(".")[0] for name in touched} == {"features", "head", "auxiliary"}
    assert said["history"][0]["loss"] > 0


@pytest.mark.slow
def test_towers_on_two_ranks_train_as_on_one_device(forked, tmp_path):
    built = {"image_size": 64, "in_channels": 1, "stem": "small"}
    given = {"name": "alexnet", "built": built, "epochs": 1, "batch_size": 12, "max_steps": 2}
    one = ran(forked, 1, tmp_path / "one", **given)
    two = ran(forked, 2, tmp_path / "two", towers_apart=True, **given)
    close(two[1], one[1])
    assert two[0]["history"][0]["loss"] == pytest.approx(one[0]["history"][0]["loss"], rel=1e-4)


def test_two_ranks_begin_with_the_whitening_filters_of_one(forked, tmp_path):
    built = {"image_size": 32, "in_channels": 1, "num_classes": 3}
    given = {"name": "cifar_airbench94", "built": built, "whiten": True, "epochs": 1, "max_steps": 1}
    (_, one, _), (_, two, gradients) = (ran(forked, count, tmp_path / str(count), **given) for count in (1, 2))
    filters = "features.whiten.0.weight"
    assert torch.equal(two[filters], one[filters])
    close(gradients[0], gradients[1], 0.0)
    assert filters not in gradients[0]
