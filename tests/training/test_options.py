"""Options: every value outside its range is refused with value and rule; JSON there and back changes nothing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from fovea.errors import UsageError
from fovea.training.options import TrainingOptions, from_json, options
from fovea.training.recipes import RECIPES, fitting, recipe

REFUSED = {
    "epochs": (0, "epochs (=0) must be 1 or more"),
    "batch_size": (0, "batch_size (=0) must be 1 or more"),
    "weight_decay": (-1e-4, "weight_decay (=-0.0001) must be 0 or more"),
    "warmup_epochs": (-1.0, "warmup_epochs (=-1.0) must be 0 or more"),
    "workers": (-1, "workers (=-1) must be 0 or more"),
    "momentum": (1.0, "momentum (=1.0) must be from 0 to below 1"),
    "label_smoothing": (1.0, "label_smoothing (=1.0) must be from 0 to below 1"),
    "lr": (0.0, "lr (=0.0) must be above 0 and finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_outside_its_range_is_refused_with_the_rule(name):
    value, sentence = REFUSED[name]
    with pytest.raises(UsageError) as refused:
        options(**{name: value})
    assert str(refused.value) == sentence


@pytest.mark.parametrize("lr", [float("inf"), float("nan"), -1.0])
def test_a_learning_rate_that_is_no_positive_number_is_refused(lr):
    with pytest.raises(UsageError, match="above 0 and finite"):
        options(lr=lr)


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "warmup_epochs", "label_smoothing"])
def test_nan_is_outside_every_range(name):
    with pytest.raises(UsageError, match=rf"{name} \(=nan\)"):
        options(**{name: float("nan")})


def test_nesterov_needs_momentum():
    with pytest.raises(UsageError, match="nesterov"):
        options(momentum=0.0)
    assert options(momentum=0.0, nesterov=False).update.momentum == 0
    assert options(momentum=0.0, optimiser="adam").update.nesterov


def test_mean_and_std_come_together_and_std_is_positive():
    with pytest.raises(UsageError, match="given together or not at all"):
        options(mean=(0.5,))
    with pytest.raises(UsageError, match=r"std \(=\(0\.0,\)\) must be above 0"):
        options(mean=(0.5,), std=(0.0,))


def test_options_survive_json():
    told = options(mean=(0.1,), std=(0.2,), shift=2, flip=True, seed=7, milestones=(3.0, 5.0), ema=0.9)
    assert from_json(json.loads(json.dumps(dataclasses.asdict(told)))) == told


def test_an_unknown_option_in_json_is_named():
    with pytest.raises(UsageError, match="learning_rate"):
        from_json({"learning_rate": 0.1})
    with pytest.raises(UsageError, match="blur"):
        from_json({"augmentation": {"blur": 1}})


def test_every_option_has_a_name_of_its_own_over_all_groups_and_is_found_by_it():
    names = list(leaves(TrainingOptions()))
    assert len(names) == len(set(names)) == len(TrainingOptions().flat())
    assert TrainingOptions().but(**TrainingOptions().flat()) == TrainingOptions()


def leaves(group):
    for each in dataclasses.fields(group):
        value = getattr(group, each.name)
        yield from leaves(value) if dataclasses.is_dataclass(value) else [each.name]


def test_a_changed_option_leaves_the_others_of_its_group_as_they_are():
    told = options(lr=0.3, momentum=0.5).but(lr=0.1, flip=True)
    assert (told.update.lr, told.update.momentum, told.augmentation.flip) == (0.1, 0.5, True)
    with pytest.raises(UsageError, match=r"no option of training is called 'label_smooth'. Did you mean label_smooth"):
        told.but(label_smooth=0.1)


def test_the_meaning_leaves_out_where_it_runs_and_what_is_kept_alone():
    free = {
        "workers": 3,
        "device": "cpu",
        "save_steps": 5,
        "save_minutes": 1.0,
        "snapshot_epochs": 2,
        "watch": True,
        "tensorboard": True,
        "pictures": False,
    }
    free |= {"teacher": "runs/large"}
    assert options(**free).meaning() == options().meaning()
    told = set(options().flat()) - set(free)
    assert set(leaves_of(options().meaning())) == told


def leaves_of(values):
    for name, value in values.items():
        yield from leaves_of(value) if isinstance(value, dict) else [name]


def test_what_a_run_has_chosen_stands_in_for_what_is_left_open_alone():
    ran = options(precision="float32", accumulate=4, batch_size=64, epochs=7)
    chosen = {"precision": "auto", "accumulate": 0, "epochs": 30}
    again = options(accumulate=0).settled_as(chosen, dataclasses.asdict(ran))
    assert again == ran
    other = options(accumulate=0, precision="bf16").settled_as(chosen, dataclasses.asdict(ran))
    assert other.execution.precision == "bf16"


TOGETHER = {
    "ema": ({"ema": 0.9, "swa_epochs": 2}, "0 where swa_epochs is given"),
    "swa_epochs": ({"epochs": 3, "swa_epochs": 3}, r"below epochs \(=3\)"),
    "accumulate": ({"batch_size": 10, "accumulate": 3}, r"a divisor of batch_size \(=10\)"),
    "lowest_lr": ({"lr": 0.1, "lowest_lr": 0.2}, r"at most lr \(=0.1\)"),
    "warmup": ({"warmup": "constant", "schedule": "one_cycle"}, "linear where schedule is one_cycle"),
    "no warmup": ({"warmup": "constant", "warmup_epochs": 0.0}, "linear where warmup_epochs is 0"),
    "milestones": ({"milestones": (5.0, 3.0)}, "epochs above 0, each later than the one before"),
    "loss": ({"loss": "focal", "mixup": 0.2}, "cross_entropy or bce where images are mixed"),
    "class_weights": ({"loss": "map", "class_weights": "balanced"}, "equal where the loss is map"),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_options_that_do_not_go_together_are_refused_with_the_rule(name):
    changes, rule = TOGETHER[name]
    with pytest.raises(UsageError, match=rf"^{name.rpartition(' ')[2]} \(=.*\) must be {rule}"):
        options(**changes)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_told_in_its_docstring_and_survives_json(name):
    told = recipe(name)
    assert RECIPES[name].__doc__
    assert from_json(json.loads(json.dumps(dataclasses.asdict(told)))) == told


def test_an_unknown_recipe_gets_the_close_one_offered():
    with pytest.raises(UsageError, match=r"no recipe is called 'minst'.* Did you mean mnist"):
        recipe("minst")


def test_the_recipe_follows_network_and_data():
    pairs = [("lenet5_1998", "mnist"), ("lenet5", "digits"), ("lenet5", "mnist"), ("lenet5", "fashion_mnist")]
    assert [fitting(*pair) for pair in pairs] == ["lenet5_1998", "digits", "mnist", "mnist"]
    assert fitting("lenet5", "my/photos") == "photos"


def test_options_and_recipes_import_no_torch():
    code = "import sys, fovea.training.options, fovea.training.recipes; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
