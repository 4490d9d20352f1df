"""What is chosen by trying: chosen once, told, recorded, and never chosen again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import fovea
from fovea.errors import MachineError
from fovea.files import RUN_FILE, read_json
from fovea.training import memory, planning, settling
from fovea.training.memory import Memory, parts_that_fit
from fovea.training.options import from_json
from fovea.training.planning import prepare
from fovea.training.settling import Timing, Trial

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def timed(monkeypatch):
    """A machine with bf16, whose steps take what the test says: by precision, seconds of an update and of judging."""
    seconds = {"float32": (0.4, 0.1), "bf16": (0.2, 0.1), "bf16-depthwise": (0.3, 0.1)}
    monkeypatch.setattr(settling, "candidates", lambda *_: tuple(seconds))
    monkeypatch.setattr(settling, "SMALL", 0.0)
    monkeypatch.setattr(settling, "IMAGES", 18)
    monkeypatch.setattr(
        Trial,
        "_timed",
        lambda _self, _options, names, _batch: {n: Timing(seconds[n][0], 0.0, seconds[n][1]) for n in names},
    )
    monkeypatch.setattr(Trial, "_data", lambda _: 0.05)
    return seconds


def settled(network, arrays, told):
    return prepare(network, fovea.open_data(arrays), told, run=Path("run"))


@pytest.mark.usefixtures("timed")
def test_the_fastest_precision_is_taken_and_told(arrays, quick, network):
    made = settled(network, arrays, quick)
    assert made.options.execution.precision == "bf16"
    assert made.asked.execution.precision == "auto"
    told = "chosen  precision bf16, of float32 400.0 ms, bf16 200.0 ms, bf16-depthwise 300.0 ms a step"
    assert told in str(made.plan).splitlines()


def test_a_gain_within_the_noise_keeps_float32(timed, arrays, quick, network):
    timed["bf16"] = timed["bf16-depthwise"] = (0.38, 0.1)
    assert settled(network, arrays, quick).options.execution.precision == "float32"


def test_of_forms_of_bf16_that_are_as_fast_the_plainest_is_taken(timed, arrays, quick, network):
    timed["bf16-depthwise"] = (0.196, 0.1)
    assert settled(network, arrays, quick).options.execution.precision == "bf16"
    timed["bf16-depthwise"] = (0.19, 0.1)
    assert settled(network, arrays, quick).options.execution.precision == "bf16-depthwise"


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"float32": 0.4, "float32-fused": 0.396}, "float32"),
        ({"float32": 0.4, "float32-fused": 0.38}, "float32-fused"),
        ({"float32": 0.4, "float32-fused": 0.3, "bf16": 0.28, "bf16-fused": 0.28}, "float32-fused"),
        ({"float32": 0.4, "float32-fused": 0.3, "bf16": 0.28, "bf16-fused": 0.26}, "bf16-fused"),
        ({"float32": 0.4, "float32-fused": 0.5, "bf16": 0.3, "bf16-fused": 0.35}, "bf16"),
    ],
    ids=str,
)
def test_fused_float32_stands_before_bf16(timed, arrays, quick, network, seconds, chosen):
    timed.clear()
    timed.update({name: (own, 0.1) for name, own in seconds.items()})
    assert settled(network, arrays, quick).options.execution.precision == chosen


@pytest.mark.usefixtures("timed")
def test_a_named_precision_is_not_tried_against_others(arrays, quick, network):
    made = settled(network, arrays, quick.but(precision="float32"))
    assert list(made.plan.measured.step) == ["float32"]
    assert not made.plan.measured.notes


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize("emulated", [True, False])
def test_bf16_where_the_machine_has_none_is_said_to_be_slow(arrays, quick, network, monkeypatch, emulated):
    monkeypatch.setattr(settling, "has_bf16", lambda _: not emulated)
    plan = str(settled(network, arrays, quick.but(precision="bf16")).plan)
    assert ("precision bf16, as asked; bf16 is emulated here and slow" in plan) is emulated


def test_small_networks_are_not_tried_at_all(arrays, quick, network, monkeypatch):
    monkeypatch.setattr(settling, "candidates", lambda *_: pytest.fail("nothing is to be gained"))
    assert settled(network, arrays, quick).options.execution.precision == "float32"


@pytest.mark.usefixtures("timed")
def test_the_plan_foretells_the_time_of_the_whole_run(arrays, quick, network):
    plan = settled(network, arrays, quick.but(precision="float32")).plan
    steps, epochs, judged = 3, 3, 6 / 18 * 0.1
    assert plan.seconds == pytest.approx(epochs * (steps * (0.4 + 0.05) + judged))
    assert f"time    about 4 s: 3 epochs of 3 steps of {450:.3g} ms" in str(plan)
    half = settled(network, arrays, quick.but(precision="float32", max_steps=3)).plan
    assert half.seconds == pytest.approx(plan.seconds / 3)


def test_what_an_optimiser_takes_is_not_multiplied_by_the_images():
    assert Timing(update=0.5, optimiser=0.3, judging=0.1).of(10.0) == pytest.approx(2.3)


def test_the_optimiser_s_part_is_measured(arrays, quick, network, monkeypatch):
    seen, real = [], Trial._timed

    def noted(*given):
        seen.append(real(*given))
        return seen[-1]

    monkeypatch.setattr(Trial, "_timed", noted)
    settled(network, arrays, quick.but(precision="float32", optimiser="muon", time_budget=1.0))
    (timing,) = seen[0].values()
    assert 0 < timing.optimiser < timing.update


@pytest.mark.usefixtures("timed")
def test_as_many_epochs_are_taken_as_fit_the_budget_and_the_schedule_follows(arrays, quick, network):
    told = quick.but(precision="float32", time_budget=1.0, schedule="steps", milestones=(1.5,))
    made = settled(network, arrays, told)
    each = 3 * 0.45 + 6 / 18 * 0.1
    assert made.options.epochs == int(0.95 * 60 / each) == 41
    assert made.options.time_budget == 0.0
    assert made.options.rate.milestones == pytest.approx((20.5,))
    assert "chosen  41 epochs for 1 minutes" in str(made.plan)


@pytest.mark.usefixtures("timed")
def test_where_not_even_one_epoch_fits_one_is_trained_and_that_is_said(arrays, quick, network):
    made = settled(network, arrays, quick.but(precision="float32", time_budget=0.01))
    assert made.options.epochs == 1
    assert "not even one epoch is expected to fit" in str(made.plan)


@pytest.mark.parametrize(("largest", "parts"), [(18, 1), (17, 2), (9, 2), (5, 6), (1, 18)])
def test_a_batch_is_cut_into_the_fewest_equal_parts_that_fit(largest, parts, arrays, quick, network, monkeypatch):
    assert parts_that_fit(18, largest) == parts
    monkeypatch.setattr(settling, "memory_of", lambda *_: Memory(1, 1 << 40, largest))
    made = settled(network, arrays, quick.but(accumulate=0))
    assert made.options.update.accumulate == parts
    assert made.options.batch_size == 18
    assert f"chosen  batches of 18 images, {18 // parts} computed at once" in str(made.plan)


def test_where_not_one_image_fits_it_is_said(arrays, quick, network, monkeypatch):
    monkeypatch.setattr(settling, "memory_of", lambda *_: Memory(1, 1 << 40, 0))
    with pytest.raises(MachineError, match="not even one image fits into memory"):
        settled(network, arrays, quick.but(accumulate=0))


def test_a_step_that_cannot_fit_is_refused_before_anything_is_written(tmp_path, arrays, quick, network, monkeypatch):
    taken = memory.memory_of(network, (1, 16), 18, quick.but(precision="float32"), torch.device("cpu")).step
    for module in (memory, planning):
        monkeypatch.setattr(module, "available", lambda _: taken - 1)
    with pytest.raises(MachineError, match=r"18 images does not fit .* fit: choose -b \d+, or --batch-size auto"):
        fovea.train(network, arrays, quick, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("timed")
def test_what_was_chosen_is_recorded_and_a_resume_or_repeat_does_not_choose_again(
    tmp_path, arrays, quick, make_network, monkeypatch
):
    told = quick.but(accumulate=0, time_budget=1.0, precision="auto", max_steps=4)
    fovea.train(make_network(), arrays, told, out=tmp_path / "run", quiet=True)
    found = read_json(tmp_path / "run" / RUN_FILE)
    asked = {"accumulate": 0, "epochs": 3, "precision": "auto", "time_budget": 1.0}
    assert {name: found["chosen"][name] for name in asked} == asked
    assert (found["training"]["epochs"], found["training"]["time_budget"]) == (72, 0.0)
    monkeypatch.setattr(Trial, "_timed", lambda *_: pytest.fail("nothing may be measured again"))
    fovea.train(make_network(), arrays, told, out=tmp_path / "run", resume=True, quiet=True)
    repeated = from_json(json.loads(json.dumps(found["training"])))
    assert repeated.execution.precision == "bf16"
    monkeypatch.setattr(settling, "candidates", lambda *_: pytest.fail("nothing may be tried again"))
    fovea.train(make_network(), arrays, repeated, out=tmp_path / "again", quiet=True)
    bundles = [(tmp_path / name / "bundle/weights.safetensors").read_bytes() for name in ("run", "again")]
    assert bundles[0] == bundles[1]


def test_trying_leaves_no_trace_in_the_network(arrays, quick, network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settled(network, arrays, quick)
    assert all((network.state_dict()[name] == tensor).all() for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
