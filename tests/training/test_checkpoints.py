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
from fovea.training.averaging import ExponentialAverage
from fovea.training.checkpoints import Progress, State
from fovea.training.optimisers import build
from fovea.training.options import Update

LAST = "last.safetensors"
PROGRESS = Progress(
    step=7,
    history=[{"epoch": 1, "loss": 0.1 + 0.2}],
    best={"epoch": 1},
    running=[[1 / 3, 5.0, 9.0, 2.0]],
    changes=["from step 3 on: threads 2 became 1"],
)


def trained(steps=2, seed=0):
    """A tiny network with batch norm whose optimiser has momentum already."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimiser = build(network, Update())
    for _ in range(steps):
        network(torch.randn(5, 4)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return State(network, optimiser)


def momenta(optimiser):
    return [state["momentum_buffer"] for state in optimiser.state_dict()["state"].values()]


def same(network, other):
    return all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.fixture
def saved(tmp_path):
    checkpoints.save(tmp_path, [LAST], trained(), PROGRESS)
    return tmp_path / LAST


def test_weights_optimiser_and_progress_come_back_as_they_were(saved):
    state, fresh = trained(), trained(steps=0, seed=9)
    progress = checkpoints.load(saved, fresh)
    assert progress == PROGRESS == checkpoints.progress_of(saved)
    assert same(state.network, fresh.network)
    assert len(momenta(fresh.optimiser)) == 6
    pairs = zip(momenta(state.optimiser), momenta(fresh.optimiser), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_training_goes_on_to_the_same_bits_after_a_round_trip(saved):
    state, fresh = trained(), trained(steps=0, seed=9)
    checkpoints.load(saved, fresh)
    for each in (state, fresh):
        each.network(torch.ones(5, 4).tril()).square().mean().backward()
        each.optimiser.step()
    assert same(state.network, fresh.network)


def test_a_checkpoint_before_the_first_step_loads(tmp_path):
    checkpoints.save(tmp_path, [LAST], trained(steps=0), Progress())
    fresh = trained(steps=2, seed=4)
    assert checkpoints.load(tmp_path / LAST, fresh) == Progress()
    assert not any(each.any() for each in momenta(fresh.optimiser))


def test_several_names_are_one_file_that_was_written_once(tmp_path):
    checkpoints.save(tmp_path, ["best.safetensors", "healthy.safetensors", LAST], trained(), PROGRESS)
    assert len({path.stat().st_ino for path in tmp_path.iterdir()}) == 1
    checkpoints.save(tmp_path, [LAST], trained(steps=3), PROGRESS)
    first = [checkpoints.first_difference(tmp_path / LAST, tmp_path / name) for name in ("best.safetensors", LAST)]
    assert first == ["network.0.weight", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "healthy.safetensors", LAST]


def test_where_the_disk_knows_no_links_the_names_are_copies(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    checkpoints.save(tmp_path, ["best.safetensors", LAST], trained(), PROGRESS)
    assert (tmp_path / LAST).read_bytes() == (tmp_path / "best.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_averages_come_back_with_the_weights(tmp_path):
    def averaged(seed):
        state = trained(seed=seed)
        return State(state.network, state.optimiser, ExponentialAverage(state.network, 0.9))

    state, fresh = averaged(0), averaged(5)
    state.average.step(100)
    checkpoints.save(tmp_path, [LAST], state, PROGRESS)
    checkpoints.load(tmp_path / LAST, fresh)
    for name, tensor in state.average.tensors().items():
        assert torch.equal(fresh.average.tensors()[name], tensor)


def offsets(size, header):
    """Sixty drawn places, half of them in the header and its length."""
    drawn = random.Random(1)
    return sorted({*range(8), *drawn.sample(range(8, header), 26), *drawn.sample(range(header, size), 26)})


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_a_flipped_byte_anywhere_is_never_loaded_silently(saved, mask):
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    expected = trained().network
    refused = 0
    places = offsets(len(content), header)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= mask
        saved.write_bytes(changed)
        fresh = trained(steps=0, seed=9)
        try:
            progress = checkpoints.load(saved, fresh)
        except ModelError as error:
            assert str(saved) in str(error)  # noqa: PT017  # either outcome is allowed, and each is checked
            refused += 1
        else:
            assert content[place : place + 1] in b" \t\n", f"byte {place} was changed, and nobody noticed"
            assert progress == PROGRESS
            assert same(expected, fresh.network)
    assert refused >= len(places) - 3


@pytest.mark.parametrize("percent", [0, 10, 30, 50, 70, 90, 99])
def test_a_cut_checkpoint_is_refused(saved, percent):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(ModelError, match="is no checkpoint, or was cut"):
        checkpoints.load(saved, trained(steps=0))


def test_bytes_that_were_added_are_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0" * 8)
    with pytest.raises(ModelError, match=str(saved)):
        checkpoints.load(saved, trained(steps=0))


def test_where_the_other_checkpoint_is_there_the_message_names_it(saved):
    best = saved.with_name("best.safetensors")
    best.write_bytes(saved.read_bytes())
    saved.write_bytes(b"")
    with pytest.raises(ModelError, match=rf"{best} may still be whole: copy it over this one"):
        checkpoints.load(saved, trained(steps=0))


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelError, match="there is no checkpoint; start the run anew"):
        checkpoints.load(tmp_path / LAST, trained(steps=0))


def test_a_checkpoint_of_another_network_is_refused_with_the_differences(saved):
    with pytest.raises(ModelError, match=r"0\.weight is \(3, 4\), the network has \(3, 5\)"):
        checkpoints.load(saved, State(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "2.bias"])
def test_a_state_that_is_not_finite_is_never_written(saved, name, value):
    before = saved.read_bytes()
    state = trained()
    state.network.state_dict()[name].view(-1)[1] = value
    with pytest.raises(NumbersError, match=rf"{name} holds NaN or infinity after step 7"):
        checkpoints.save(saved.parent, [LAST], state, PROGRESS)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_debris(saved, step, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = saved.read_bytes()
    monkeypatch.setattr(os, step, full)
    with pytest.raises(MachineError, match=r"the disk is full: [\d,]+ bytes needed, [\d,]+ available"):
        checkpoints.save(saved.parent, [LAST], trained(steps=3), PROGRESS)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
