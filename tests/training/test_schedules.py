"""The learning rate of each step, found by hand and against torch's schedulers over whole runs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.optim import lr_scheduler

from fovea.errors import UsageError
from fovea.training.options import options as recipe
from fovea.training.schedules import fitted, learning_rate

SCHEDULES = ("cosine", "steps", "plateau", "polynomial", "exponential", "one_cycle", "constant")
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def rates(options, steps, history=()):
    return [learning_rate(step, steps, options, history) for step in range(options.epochs * steps)]


def theirs(make, lr, count):
    """The rates of a scheduler of torch, step by step."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, seen = make(optimiser), []
    for step in range(count):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step + 1 < count:
            scheduler.step()
    return seen


def history_of(*accuracies):
    return [{"epoch": n, "validation_accuracy": accuracy} for n, accuracy in enumerate(accuracies, start=1)]


# Warm-up and cosine --------------------------------------------------------------------------------------------------


def test_warm_up_and_cosine_at_steps_found_by_hand():
    found = rates(recipe(epochs=3, lr=1.0, warmup_epochs=1.0), 4)
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4] == 1.0
    assert found[8] == pytest.approx(0.5)
    assert found[6] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert found[11] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0, 2.0, 5.0, 500.0])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 7), (5, 3), (30, 938)])
def test_cosine_down_to_zero_is_to_the_bit_what_earlier_runs_had(epochs, steps, warmup):
    lr, total = 0.3, epochs * steps
    rising = min(round(warmup * steps), total - 1)
    expected = [
        lr * (step + 1) / (rising + 1)
        if step < rising
        else lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))
        for step in range(total)
    ]
    assert rates(recipe(epochs=epochs, lr=lr, warmup_epochs=warmup), steps) == expected


@every_schedule
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0, 2.0, 5.0, 500.0])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (1, 7), (5, 3)])
def test_the_rate_stays_above_zero_and_never_passes_lr(epochs, steps, warmup, schedule):
    found = rates(recipe(epochs=epochs, lr=0.3, warmup_epochs=warmup, schedule=schedule), steps)
    assert all(0 < rate <= 0.3 for rate in found)
    if schedule not in ("steps", "exponential"):  # a stair may come within the warm-up
        assert max(found) == 0.3
        peak = found.index(0.3)
        assert found[: peak + 1] == sorted(found[: peak + 1])
        assert found[peak:] == sorted(found[peak:], reverse=True)


@every_schedule
def test_all_schedules_but_one_cycle_share_the_warm_up(schedule):
    found = rates(recipe(epochs=4, lr=0.3, warmup_epochs=1.5, schedule=schedule), 10)[:15]
    rising = [0.3 * (step + 1) / 16 for step in range(15)]
    assert (found == rising) is (schedule != "one_cycle")


def test_a_constant_warm_up_has_a_tenth_until_it_ends_and_moves_nothing_else():
    options = recipe(epochs=8, lr=0.1, schedule="steps", warmup="constant", warmup_epochs=1.5)
    assert rates(options, 10) == pytest.approx([0.01] * 15 + [0.1] * 25 + [0.01] * 20 + [0.001] * 20)


@every_schedule
def test_without_warm_up_the_first_step_has_the_peak(schedule):
    assert learning_rate(0, 10, recipe(epochs=2, lr=0.3, warmup_epochs=0.0, schedule=schedule)) == 0.3


@every_schedule
def test_after_the_warm_up_nothing_falls_below_the_lowest_rate(schedule):
    changes = {"milestones": (1.0, 2.0, 3.0), "decay_epochs": 0.5, "plateau_epochs": 1, "lowest_lr": 0.05}
    options = recipe(epochs=12, lr=0.3, schedule=schedule, **changes)
    found = rates(options, 6, history_of(*[0.5] * 12))
    assert min(found[6:]) >= 0.05
    assert found[-1] == (0.3 if schedule == "constant" else pytest.approx(0.05, abs=0.005))


# Against torch -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowest", [0.0, 0.01])
def test_cosine_is_torchs(lowest):
    options = recipe(epochs=5, lr=0.4, warmup_epochs=0.0, lowest_lr=lowest)
    found = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=lowest), 0.4, 50)
    assert rates(options, 10) == pytest.approx(found, rel=1e-6)


def test_cosine_after_a_warm_up_is_torchs_shifted():
    options = recipe(epochs=5, lr=0.4, warmup_epochs=1.0)
    found = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=40), 0.4, 40)
    assert rates(options, 10)[10:] == pytest.approx(found, rel=1e-6)


def test_steps_are_torchs_also_with_a_warm_up():
    options = recipe(epochs=6, lr=0.4, schedule="steps", milestones=(2.0, 3.5, 5.0), factor=0.2, warmup_epochs=0.0)
    found = theirs(lambda o: lr_scheduler.MultiStepLR(o, [20, 35, 50], gamma=0.2), 0.4, 60)
    assert rates(options, 10) == pytest.approx(found)
    assert rates(options.but(warmup_epochs=1.0), 10)[10:] == pytest.approx(found[10:])


def test_steps_without_milestones_come_at_half_and_three_quarters():
    found = rates(recipe(epochs=8, lr=1.0, schedule="steps", warmup_epochs=0.0), 5)
    assert found == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_is_torchs(power):
    options = recipe(epochs=4, lr=0.4, schedule="polynomial", power=power, warmup_epochs=0.0)
    found = theirs(lambda o: lr_scheduler.PolynomialLR(o, total_iters=40, power=power), 0.4, 40)
    assert rates(options, 10) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("warmup", [1.0, 3.0])
def test_one_cycle_is_torchs(warmup):
    options = recipe(epochs=10, lr=0.4, schedule="one_cycle", warmup_epochs=warmup)
    cycle = {"max_lr": 0.4, "total_steps": 100, "pct_start": warmup / 10, "cycle_momentum": False}
    found = theirs(lambda o: lr_scheduler.OneCycleLR(o, **cycle), 0.4, 100)
    ours = rates(options, 10)
    assert ours == pytest.approx(found, rel=1e-5)
    assert (ours[0], max(ours), ours[-1]) == pytest.approx((0.4 / 25, 0.4, 0.4 / 25 / 1e4))


def test_one_cycle_ends_at_the_lowest_rate_where_that_is_higher():
    found = rates(recipe(epochs=10, lr=0.4, schedule="one_cycle", lowest_lr=0.01), 10)
    assert found[-1] == pytest.approx(0.01)


def test_exponential_is_a_staircase_counted_from_the_first_step():
    options = recipe(epochs=12, lr=0.256, schedule="exponential", factor=0.97, decay_epochs=2.4, warmup_epochs=0.0)
    found = theirs(lambda o: lr_scheduler.StepLR(o, step_size=12, gamma=0.97), 0.256, 60)
    assert rates(options, 5) == pytest.approx(found)
    assert rates(options.but(warmup_epochs=5.0), 5)[25:] == pytest.approx(found[25:])


@pytest.mark.parametrize("decay", [0.1, 0.3, 0.7, 2.4, 3.0])
def test_stairs_come_at_whole_multiples_whatever_a_quotient_rounds_to(decay):
    options = recipe(epochs=30, lr=1.0, schedule="exponential", factor=0.5, decay_epochs=decay, warmup_epochs=0.0)
    assert rates(options, 100) == [0.5 ** (step // round(decay * 100)) for step in range(3000)]


ACCURACIES = (0.1, 0.3, 0.3, 0.25, 0.3, 0.4, 0.39, 0.38, 0.37, 0.36, 0.35, 0.34, 0.41, 0.41, 0.41, 0.41)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_plateau_is_torchs_on_a_given_history(epochs):
    options = recipe(epochs=len(ACCURACIES), lr=0.4, schedule="plateau", plateau_epochs=epochs, warmup_epochs=0.0)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimiser, "max", factor=0.1, patience=epochs - 1, threshold=0, eps=0)
    found = []
    for accuracy in ACCURACIES:
        found += [optimiser.param_groups[0]["lr"]] * 5
        scheduler.step(accuracy)
    assert len(set(found)) > 2
    assert rates(options, 5, history_of(*ACCURACIES)) == pytest.approx(found)


def test_plateau_reads_no_epoch_that_was_not_finished_at_the_step():
    options = recipe(epochs=16, lr=0.4, schedule="plateau", plateau_epochs=2)
    history = history_of(*ACCURACIES)
    for step in range(16 * 5):
        assert learning_rate(step, 5, options, history[: step // 5]) == learning_rate(step, 5, options, history)


def test_plateau_waits_for_no_epoch_of_the_warm_up():
    history = history_of(*[0.5] * 8)
    options = recipe(epochs=8, lr=1.0, schedule="plateau", plateau_epochs=2, warmup_epochs=3.0)
    found = [rate for rate, _ in itertools.groupby(rates(options, 4, history)[12:])]
    assert learning_rate(4 * 4 + 3, 4, options, history) == 1.0  # epochs 4 and 5 are waited for
    assert learning_rate(5 * 4, 4, options, history) == pytest.approx(0.1)
    assert found == pytest.approx([1.0, 0.1, 0.01])


# The end of the run --------------------------------------------------------------------------------------------------


@every_schedule
def test_while_weights_are_averaged_the_rate_stays_at_what_it_had_come_to(schedule):
    plain = recipe(epochs=8, lr=0.3, schedule=schedule, plateau_epochs=1)
    history = history_of(*[0.5] * 8)
    found, averaged = rates(plain, 5, history), rates(plain.but(swa_epochs=3), 5, history)
    assert averaged[:25] == found[:25]
    assert averaged[25:] == [found[25]] * 15


@every_schedule
def test_a_run_that_ends_early_has_the_rates_of_the_whole_one(schedule):
    plain = recipe(epochs=8, lr=0.3, schedule=schedule)
    assert rates(plain.but(max_steps=7), 5) == rates(plain, 5)


def test_the_same_step_has_the_same_rate_whenever_it_is_asked():
    options = recipe(epochs=8, lr=0.3)
    forward = rates(options, 5)
    assert [learning_rate(step, 5, options) for step in reversed(range(40))] == forward[::-1]


# Fitted --------------------------------------------------------------------------------------------------------------


def test_milestones_and_decay_keep_their_share_of_a_fitted_run():
    told = recipe(epochs=90, milestones=(30.0, 60.0), decay_epochs=9.0, plateau_epochs=10, schedule="steps")
    shorter = fitted(told, 30)
    assert (shorter.epochs, shorter.rate.milestones, shorter.rate.decay_epochs) == (30, (10.0, 20.0), 3.0)
    assert (shorter.rate.plateau_epochs, shorter.rate.warmup_epochs) == (3, 1.0)
    assert rates(shorter.but(warmup_epochs=0.0), 3) == rates(told.but(warmup_epochs=0.0), 1)


@pytest.mark.parametrize(
    ("epochs", "warmup", "new", "expected"),
    [
        (100, 5.0, 200, 5.0),  # longer: the warm-up stays
        (100, 5.0, 60, 5.0),  # still below a tenth
        (100, 5.0, 20, 2.0),  # cut to a tenth
        (10, 5.0, 4, 2.0),  # half of the run before, half of it now
        (30, 0.0, 3, 0.0),
    ],
)
def test_a_warm_up_is_cut_only_where_it_takes_more_than_a_tenth(epochs, warmup, new, expected):
    assert fitted(recipe(epochs=epochs, warmup_epochs=warmup), new).rate.warmup_epochs == pytest.approx(expected)


def test_the_rise_of_one_cycle_keeps_its_share():
    assert fitted(recipe(epochs=10, warmup_epochs=3.0, schedule="one_cycle"), 100).rate.warmup_epochs == 30.0


@pytest.mark.parametrize(("averaged", "new", "expected"), [(10, 15, 5), (10, 1, 0), (1, 2, 1), (0, 3, 0), (29, 2, 1)])
def test_averaged_epochs_keep_their_share_and_leave_one_before_them(averaged, new, expected):
    assert fitted(recipe(epochs=30, swa_epochs=averaged), new).averaging.swa_epochs == expected


@every_schedule
def test_fitting_a_run_to_its_own_length_changes_nothing(schedule):
    told = recipe(epochs=20, schedule=schedule, milestones=(5.0, 7.5), swa_epochs=4)
    assert fitted(told, 20) == told


def test_a_run_of_no_epoch_is_refused():
    with pytest.raises(UsageError, match=r"epochs \(=0\) must be 1 or more"):
        fitted(recipe(), 0)


# Cycles ---------------------------------------------------------------------------------------------------------------


def test_cycles_are_the_same_cosine_again_and_again():
    whole = rates(recipe(epochs=6, lr=0.2, warmup_epochs=0.0, cycles=3), 4)
    assert whole == pytest.approx(rates(recipe(epochs=2, lr=0.2, warmup_epochs=0.0), 4) * 3)
    assert whole[8] == 0.2


@pytest.mark.parametrize("cycles", [2, 3, 7, 100])
def test_every_cycle_begins_high_and_ends_low_also_where_the_steps_do_not_divide(cycles):
    found = rates(recipe(epochs=10, lr=0.2, warmup_epochs=1.0, cycles=cycles), 23)[23:]
    rises = sum(later > earlier for earlier, later in itertools.pairwise(found))
    assert rises == cycles - 1
    assert found[0] == 0.2


def test_only_cosine_begins_anew():
    with pytest.raises(UsageError, match=r"cycles \(=2\) must be 1 where schedule is polynomial"):
        recipe(schedule="polynomial", cycles=2)
    with pytest.raises(UsageError, match=r"cycles \(=0\) must be 1 or more"):
        recipe(cycles=0)
