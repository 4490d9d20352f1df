"""Checkpoints: the whole state comes back, no changed byte is loaded silently, a bad state is never written."""

from __future__ import annotations

import errno
import os
import random

import pytest
import torch
from torch import nn

from fovea.errors import MachineError, ModelError, NumbersError
from fovea.training import checkpoints
from fovea.training.checkpoints import Progress
from fovea.training.optimisers import sgd
from fovea.training.options import TrainingOptions

PROGRESS = Progress(
    step=7, history=[{"epoch": 1, "loss": 0.1 + 0.2}], best={"epoch": 1}, loss_sum=1 / 3, correct=5, seen=9
)


def trained(steps=2, seed=0):
    """A tiny network with batch norm whose optimiser has momentum already."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimiser = sgd(network, TrainingOptions())
    for _ in range(steps):
        network(torch.randn(5, 4)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return network, optimiser


def momenta(optimiser):
    return [state["momentum_buffer"] for state in optimiser.state_dict()["state"].values()]


def same(network, other):
    return all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, *trained(), PROGRESS)
    return path


def test_weights_optimiser_and_progress_come_back_as_they_were(saved):
    network, optimiser = trained()
    other, fresh = trained(steps=0, seed=9)
    progress = checkpoints.load(saved, other, fresh)
    assert progress == PROGRESS
    assert same(network, other)
    assert len(momenta(fresh)) == 6
    assert all(torch.equal(a, b) for a, b in zip(momenta(optimiser), momenta(fresh), strict=True))


def test_training_goes_on_to_the_same_bits_after_a_round_trip(saved):
    network, optimiser = trained()
    other, fresh = trained(steps=0, seed=9)
    checkpoints.load(saved, other, fresh)
    for net, updates in ((network, optimiser), (other, fresh)):
        net(torch.ones(5, 4).tril()).square().mean().backward()
        updates.step()
    assert same(network, other)


def test_a_checkpoint_before_the_first_step_has_no_momentum_and_loads(tmp_path):
    network, optimiser = trained(steps=0)
    checkpoints.save(tmp_path / "last", network, optimiser, Progress())
    assert checkpoints.load(tmp_path / "last", *trained(steps=0, seed=4)) == Progress()


def offsets(size, header):
    """Sixty drawn places, half of them in the header and its length."""
    drawn = random.Random(1)
    return sorted({*range(8), *drawn.sample(range(8, header), 26), *drawn.sample(range(header, size), 26)})


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_a_flipped_byte_anywhere_is_never_loaded_silently(saved, mask):
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    expected, _ = trained()
    refused = 0
    places = offsets(len(content), header)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= mask
        saved.write_bytes(changed)
        other, fresh = trained(steps=0, seed=9)
        try:
            progress = checkpoints.load(saved, other, fresh)
        except ModelError as error:
            assert str(saved) in str(error)  # noqa: PT017  # either outcome is allowed, and each is checked
            refused += 1
        else:
            assert content[place : place + 1] in b" \t\n", f"byte {place} was changed, and nobody noticed"
            assert progress == PROGRESS
            assert same(expected, other)
    assert refused >= len(places) - 3


@pytest.mark.parametrize("percent", [0, 10, 30, 50, 70, 90, 99])
def test_a_cut_checkpoint_is_refused(saved, percent):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(ModelError, match="is no checkpoint, or was cut"):
        checkpoints.load(saved, *trained(steps=0))


def test_bytes_that_were_added_are_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0" * 8)
    with pytest.raises(ModelError, match=str(saved)):
        checkpoints.load(saved, *trained(steps=0))


def test_where_the_other_checkpoint_is_there_the_message_names_it(saved):
    best = saved.with_name("best.safetensors")
    best.write_bytes(saved.read_bytes())
    saved.write_bytes(b"")
    with pytest.raises(ModelError, match=rf"{best} may still be whole: copy it over this one"):
        checkpoints.load(saved, *trained(steps=0))


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelError, match="there is no checkpoint; start the run anew"):
        checkpoints.load(tmp_path / "last.safetensors", *trained(steps=0))


def test_a_checkpoint_of_another_network_is_refused_with_the_differences(saved):
    with pytest.raises(ModelError, match=r"0\.weight is \(3, 4\), the network has \(3, 5\)"):
        checkpoints.load(saved, nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "2.bias"])
def test_a_state_that_is_not_finite_is_never_written(saved, name, value):
    before = saved.read_bytes()
    network, optimiser = trained()
    network.state_dict()[name].view(-1)[1] = value
    with pytest.raises(NumbersError, match=rf"{name} holds NaN or infinity after step 7"):
        checkpoints.save(saved, network, optimiser, PROGRESS)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_debris(saved, step, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = saved.read_bytes()
    monkeypatch.setattr(os, step, full)
    with pytest.raises(MachineError, match=r"the disk is full: [\d,]+ bytes needed, [\d,]+ available"):
        checkpoints.save(saved, *trained(steps=3), PROGRESS)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
