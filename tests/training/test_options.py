"""Options: every value outside its range is refused with value and rule; JSON there and back changes nothing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from fovea.data.options import Augmentation
from fovea.errors import UsageError
from fovea.training.options import TrainingOptions, from_json
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
        TrainingOptions(**{name: value})
    assert str(refused.value) == sentence


@pytest.mark.parametrize("lr", [float("inf"), float("nan"), -1.0])
def test_a_learning_rate_that_is_no_positive_number_is_refused(lr):
    with pytest.raises(UsageError, match="above 0 and finite"):
        TrainingOptions(lr=lr)


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "warmup_epochs", "label_smoothing"])
def test_nan_is_outside_every_range(name):
    with pytest.raises(UsageError, match=rf"{name} \(=nan\)"):
        TrainingOptions(**{name: float("nan")})


def test_nesterov_needs_momentum():
    with pytest.raises(UsageError, match="nesterov"):
        TrainingOptions(momentum=0.0)
    assert TrainingOptions(momentum=0.0, nesterov=False).momentum == 0


def test_mean_and_std_come_together_and_std_is_positive():
    with pytest.raises(UsageError, match="given together or not at all"):
        TrainingOptions(mean=(0.5,))
    with pytest.raises(UsageError, match=r"std \(=\(0\.0,\)\) must be above 0"):
        TrainingOptions(mean=(0.5,), std=(0.0,))


def test_options_survive_json():
    options = TrainingOptions(mean=(0.1,), std=(0.2,), augmentation=Augmentation(shift=2, flip=True), seed=7)
    assert from_json(json.loads(json.dumps(dataclasses.asdict(options)))) == options


def test_an_unknown_option_in_json_is_named():
    with pytest.raises(UsageError, match="learning_rate"):
        from_json({"learning_rate": 0.1})
    with pytest.raises(UsageError, match="blur"):
        from_json({"augmentation": {"blur": 1}})


def test_the_meaning_leaves_out_the_workers_alone():
    options = TrainingOptions(workers=3)
    assert set(dataclasses.asdict(options)) - set(options.meaning()) == {"workers"}
    assert options.meaning() == TrainingOptions(workers=0).meaning()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_told_in_its_docstring_and_survives_json(name):
    options = recipe(name)
    assert RECIPES[name].__doc__
    assert from_json(json.loads(json.dumps(dataclasses.asdict(options)))) == options


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
