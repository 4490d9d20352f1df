"""The memory of training and of inference as it is foretold, against torch's own allocation events."""

from __future__ import annotations

import dataclasses
import gc
import os

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import fovea
from fovea.cost.measuring import Workout
from fovea.cost.memory import blocks_of, machine_memory, plans, training_memory
from fovea.cost.step import Setting

BATCH = 64
WITHIN = 0.10
on_such_a_cpu = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="what convolutions borrow was read off x86-64 with AVX-512; see fovea.cost.workspace",
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps):
        return torch.relu(maps + self.body(maps))


def separable(channels, out_channels, stride=1):
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, stride=stride, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


def residual_network():
    blocks = nn.Sequential(Residual(16), Residual(16))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )


def depthwise_network():
    stem = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU6(inplace=True)
    )
    blocks = nn.Sequential(separable(32, 64), separable(64, 64, stride=2), separable(64, 128))
    return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def lenet():
    return fovea.create("lenet5", seed=0)


MAKERS = {"lenet5": (lenet, 1), "residual": (residual_network, 3), "depthwise": (depthwise_network, 3)}


def made(name, **how):
    """A network, and how it is trained."""
    make, channels = MAKERS[name]
    return make(), Setting(in_channels=channels, image_size=32, **{"batch_size": BATCH} | how)


def allocated(run, held):
    """The most bytes of live tensors in a run, by the profiler's allocation events; what was there before included.

    What other tests have left in circles is freed before: freed in the run, it would be subtracted from its peak.
    """
    gc.collect()
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run()
    finally:
        gc.enable()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    assert most > 0
    return most + sum(tensor.untyped_storage().nbytes() for tensor in held)


def state_of(workout):
    return [each for state in workout.optimiser.state.values() for each in state.values() if torch.is_tensor(each)]


def held_by(workout):
    return [*workout.network.parameters(), *workout.network.buffers(), workout.images]


# --- against what is measured ----------------------------------------------------------------------------------------


@on_such_a_cpu
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("lenet5", {}),
        ("lenet5", {"precision": "bf16"}),
        ("residual", {}),
        ("residual", {"channels_last": True}),
        ("residual", {"precision": "bf16", "channels_last": True}),
        ("depthwise", {}),
        ("depthwise", {"precision": "bf16"}),
        ("depthwise", {"channels_last": True}),
    ],
)
def test_the_peak_of_a_step_is_the_profilers_within_a_tenth(name, how, optimiser):
    network, setting = made(name, **how)
    [memory] = training_memory(network, setting, [optimiser])
    workout = Workout(network, setting, optimiser=optimiser)
    workout.step()  # the first one makes the optimiser's state
    workout.optimiser.zero_grad()
    state = state_of(workout)
    assert memory.state == sum(each.numel() * each.itemsize for each in state)
    measured = allocated(workout.step, [*held_by(workout), workout.labels, *state])
    assert memory.peak == pytest.approx(measured, rel=WITHIN)


@on_such_a_cpu
@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_in_float32_it_is_the_profilers_within_a_hundredth(name):
    network, setting = made(name)
    [memory] = training_memory(network, setting, ["sgd"])
    workout = Workout(network, setting)
    workout.step()
    workout.optimiser.zero_grad()
    measured = allocated(workout.step, [*held_by(workout), workout.labels, *state_of(workout)])
    assert memory.peak == pytest.approx(measured, rel=0.01)


@on_such_a_cpu
@pytest.mark.parametrize("name", MAKERS)
def test_the_peak_of_inference_is_the_profilers_within_a_tenth(name):
    network, setting = made(name)
    report = fovea.inspect(network, image_size=32, in_channels=setting.in_channels, batch_size=BATCH)
    workout = Workout(network, setting)
    workout.forward()
    assert report.inference == pytest.approx(allocated(workout.forward, held_by(workout)), rel=WITHIN)


# --- its parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_the_parts_add_up_and_those_that_are_there_all_the_time_are_exact(name):
    network, setting = made(name)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    tensors = len(list(network.parameters()))
    sgd, adam = training_memory(network, setting, ["sgd", "adam"])
    for memory in (sgd, adam):
        assert memory.weights == weights
        assert memory.buffers == sum(buffer.numel() * buffer.itemsize for buffer in network.buffers())
        assert memory.images == BATCH * (4 * setting.in_channels * 32 * 32 + 8)
        held = memory.weights + memory.buffers + memory.images + memory.state
        assert memory.peak == held + memory.activations + memory.gradients + memory.working
        assert 0 <= memory.gradients <= weights
    assert (sgd.state, adam.state) == (weights, 2 * weights + 4 * tensors)
    assert adam.peak - sgd.peak == adam.state - sgd.state


def test_what_is_frozen_needs_neither_state_nor_gradient():
    network, setting = made("residual")
    whole, _ = training_memory(network, setting, ["sgd", "adam"])
    for parameter in network[:-1].parameters():
        parameter.requires_grad_(False)
    head, _ = training_memory(network, setting, ["sgd", "adam"])
    assert head.state == 4 * (16 * 10 + 10)
    assert head.weights == whole.weights
    assert head.peak < whole.peak / 2  # nor are maps kept for it
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    nothing, _ = training_memory(network, setting, ["sgd", "adam"])
    assert (nothing.state, nothing.gradients) == (0, 0)


def test_mixed_precision_takes_less_and_its_weights_stay_as_they_are():
    network, setting = made("residual")
    [full] = training_memory(network, setting, ["sgd"])
    [mixed] = training_memory(network, dataclasses.replace(setting, precision="bf16"), ["sgd"])
    assert mixed.peak < 0.7 * full.peak
    assert (mixed.weights, mixed.state, mixed.images) == (full.weights, full.state, full.images)


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_checkpointing_lowers_the_peak_and_what_is_kept(name):
    network, setting = made(name)
    [kept] = training_memory(network, setting, ["sgd"])
    [again] = training_memory(network, dataclasses.replace(setting, checkpointing=True), ["sgd"])
    assert again.activations < kept.activations
    assert again.peak < kept.peak
    assert (again.weights, again.state) == (kept.weights, kept.state)


def test_the_layer_and_the_pass_at_the_peak_are_named():
    network, setting = made("residual")
    [memory] = training_memory(network, setting, ["sgd"])
    layer, _, phase = memory.where.rpartition(", ")
    assert phase in ("forward", "backward")
    assert layer in dict(network.named_modules())


# --- the largest batch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("lenet5", {"batch_size": 4}),
        ("residual", {"batch_size": 2}),
        ("residual", {"batch_size": 90, "precision": "bf16"}),
        ("depthwise", {"batch_size": 8, "checkpointing": True}),
    ],
)
@pytest.mark.parametrize("limit", [5_000_000, 40_000_000])
def test_the_largest_batch_fits_and_one_image_more_does_not(name, how, limit, optimiser):
    network, setting = made(name, **how)
    [memory] = training_memory(network, setting, [optimiser])
    assert memory.curve(setting.batch_size) == memory.peak
    largest = memory.largest_batch(limit)
    assert largest > 1
    peaks = []
    for batch in (largest, largest + 1):
        [simulated] = training_memory(network, dataclasses.replace(setting, batch_size=batch), [optimiser])
        peaks.append(simulated.peak)
    assert peaks[0] <= limit < peaks[1]


def test_where_not_even_one_image_fits_the_largest_batch_is_none():
    network, setting = made("lenet5")
    [memory] = training_memory(network, setting, ["sgd"])
    assert memory.largest_batch(memory.weights) == 0
    assert memory.largest_batch(memory.curve(1)) == 1
    assert memory.largest_batch(memory.curve(1) - 1) == 0


def test_it_does_not_depend_on_the_batch_that_was_asked_about():
    network, setting = made("residual")
    found = {
        training_memory(network, dataclasses.replace(setting, batch_size=batch), ["sgd"])[0].largest_batch(100_000_000)
        for batch in (2, 7, 64, 200)
    }
    assert len(found) == 1


# --- all the ways ----------------------------------------------------------------------------------------------------


def test_plans_are_all_the_ways_there_are():
    network, setting = made("residual", batch_size=4)
    found = plans(network, setting)
    ways = {(m.optimiser, m.setting.precision, m.setting.channels_last, m.setting.checkpointing) for m in found}
    assert len(found) == len(ways) == 16
    assert all(memory.setting.batch_size == 4 for memory in found)
    plain = training_memory(network, setting, ["sgd", "adam"])
    assert [memory.peak for memory in found[:2]] == [memory.peak for memory in plain]
    values = found[0].as_json(1 << 30)
    assert values["largest_batch"] == found[0].largest_batch(1 << 30)
    assert values["peak"] == found[0].peak
    assert "curve" not in values


def test_blocks_are_those_of_each_stage_or_the_stage():
    network = residual_network()
    assert blocks_of(network) == list(network[1])
    network = depthwise_network()
    assert blocks_of(network) == [network[0], *network[1]]
    assert blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())) == []


def test_blocks_of_a_network_of_the_catalogue_are_the_papers():
    with torch.device("meta"):
        network = fovea.create("resnet18")
    paths = {id(module): path for path, module in network.named_modules()}
    found = [paths[id(block)] for block in blocks_of(network)]
    assert [path for path in found if "_x" in path] == [f"features.conv{n}_x.{i}" for n in range(2, 6) for i in (0, 1)]


def test_the_machines_memory_is_no_more_than_there_is():
    assert 0 < machine_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
