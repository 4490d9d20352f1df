"""Times: expected without running, measured by running a copy, and laid on the rows."""

import json

import pytest
import torch
from torch import nn

import fovea
from fovea.cost import calibration as calibrations
from fovea.cost.calibration import calibrated, calibration
from fovea.cost.measuring import Workout
from fovea.cost.prices import Ceilings, Prices
from fovea.cost.probes import LARGEST, probes
from fovea.cost.report import inspect, timed
from fovea.cost.step import Setting, forward_pass
from fovea.cost.timing import expected, measured
from fovea.errors import ModelError


@pytest.fixture(scope="module")
def short():
    """A calibration of two seconds: enough to be whole, not to be good."""
    ceilings, samples = calibrated(precision="float32", channels_last=False, budget=2.0)
    return calibrations.Calibration("test", "2026-01-01", ceilings, tuple(samples))


@pytest.fixture
def kept(tmp_path, monkeypatch, short):
    """The same calibration wherever one is asked for, kept in a folder of the test's own."""
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrations, "calibrated", lambda **_: (short.ceilings, list(short.samples)))
    return tmp_path


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))


SETTING = Setting(image_size=8, batch_size=4)


def test_a_calibration_has_ceilings_and_samples_of_all_that_training_does(short):
    families = {sample.family for sample in short.samples}
    assert {"dense forward", "dense backward", "normalisation/native_batch_norm_backward"} <= families
    assert short.ceilings.flops > 1e9
    assert all(speed > 1e8 for _, speed in short.ceilings.bandwidth)
    assert all(sample.seconds > 0 for sample in short.samples)


def test_the_probes_are_always_the_same_and_cover_every_form():
    first, second = ([str(probe) for _, probe in zip(range(60), probes(), strict=False)] for _ in range(2))
    assert first == second
    convolutions = [module for probe in probes() for module in probe.network.modules() if isinstance(module, nn.Conv2d)]
    assert {1, 3, 5, 11} <= {module.kernel_size[0] for module in convolutions}
    assert {1, 2, 4} == {module.stride[0] for module in convolutions}
    assert all(probe.in_channels * probe.side**2 * probe.batch <= LARGEST for probe in probes())
    depthwise = [module for module in convolutions if module.groups == module.in_channels > 1]
    assert len(depthwise) > 50


def test_it_is_kept_and_read_again_with_the_hardwares_name(kept, monkeypatch):
    made = calibration(precision="float32", channels_last=False)
    (path,) = kept.iterdir()
    assert json.loads(path.read_text())["machine"] == made.machine == calibrations.hardware()
    monkeypatch.setattr(calibrations, "calibrated", lambda **_: pytest.fail("was measured again"))
    assert calibration(precision="float32", channels_last=False) == made


def test_a_damaged_calibration_is_made_anew(kept):
    made = calibration(precision="float32", channels_last=False)
    (path,) = kept.iterdir()
    path.write_text("{}")
    assert calibration(precision="float32", channels_last=False) == made


def test_expected_times_add_up_and_keep_to_their_bound(short):
    bound, estimate = expected(network(), SETTING, short)
    for time in (bound, estimate):
        assert time.step == pytest.approx(sum(time.phases.values()))
        assert time.forward == pytest.approx(sum(forward for forward, _ in time.rows.values()))
        assert all(seconds >= 0 for seconds in time.phases.values())
    assert 0 < bound.forward <= estimate.forward
    assert 0 < bound.step <= estimate.step


def test_measuring_changes_nothing_of_the_network():
    ours = network().eval()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    time = measured(ours, SETTING)
    assert time.forward > 0
    assert time.step > 0
    assert not ours.training
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())
    assert all(parameter.grad is None for parameter in ours.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in ours.modules())


def test_every_layer_has_its_share_of_the_measured_step():
    time = measured(network(), SETTING)
    assert {path for path, _ in time.rows} >= {"0", "1", "2", "4"}
    assert all(forward > 0 and step > 0 for (path, _), (forward, step) in time.rows.items() if path in ("0", "1", "4"))


def test_a_network_without_weights_cannot_be_measured():
    with torch.device("meta"):
        weightless = network()
    with pytest.raises(ModelError, match="without weights cannot be measured"):
        Workout(weightless, SETTING)


@pytest.mark.usefixtures("kept")
def test_the_report_has_the_times_on_its_rows_and_prints_them():
    ours = network()
    report = timed(inspect(ours, image_size=8, batch_size=4), ours, measure=True)
    convolution = next(row for row in report.rows if row.kind == "Conv2d")
    assert 0 < convolution.bound <= convolution.estimate
    assert convolution.step_estimate > convolution.estimate
    assert convolution.measured > 0
    said = str(report)
    for word in ("bound ms", "estimate ms", "measured ms", "step measured", "training step", calibrations.hardware()):
        assert word in said
    assert set(json.loads(json.dumps(report.as_json()))["times"]) == {"bound", "estimate", "measured"}


@pytest.mark.usefixtures("kept")
def test_rows_do_not_count_a_time_twice():
    ours = fovea.create("resnet18", seed=0)
    report = timed(inspect(ours, image_size=64, batch_size=2), ours)
    assert sum(row.estimate or 0 for row in report.rows) <= report.times["estimate"].forward * 1.0001
    assert sum(row.step_estimate or 0 for row in report.rows) <= report.times["estimate"].step * 1.0001


def test_prices_without_samples_fall_back_on_the_base():
    prices = Prices(Ceilings(flops=1e11, bandwidth=((1 << 28, 1e10),), overhead=0.0), [])
    assert prices.price("dense forward", (1.0,), 10**9, 10**6) == pytest.approx(0.02 + 1e-4 + 1e-6)


@pytest.mark.parametrize(("precision", "last"), [("bf16", False), ("float32", True), ("bf16", True)])
def test_other_precisions_and_memory_formats_have_their_own_operations(short, precision, last):
    setting = Setting(image_size=8, batch_size=4, precision=precision, channels_last=last)
    ours = network()
    bound, estimate = expected(ours, setting, short)
    assert 0 < bound.forward <= estimate.forward < estimate.step
    forward = forward_pass(ours, setting).operations
    convolution = next(operation for operation in forward if operation.kind == "convolution")
    assert convolution.outputs[0].dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert convolution.outputs[0].channels_last == last
    assert not any(parameter.is_meta for parameter in ours.parameters())


def test_a_network_in_another_precision_is_measured_in_it():
    workout = Workout(network().bfloat16(), SETTING)
    assert workout.images.dtype == torch.bfloat16
    assert workout.timed(workout.step) > 0


def test_a_frozen_network_takes_steps_that_learn_nothing():
    frozen = network().requires_grad_(False)
    assert measured(frozen, SETTING).phases["backward"] == 0
