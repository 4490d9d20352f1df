"""Arguments: the grammar [NET] [DATA], short forms, starting points, and errors in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fovea.commands.parsing import parse
from fovea.commands.predict import Predict
from fovea.commands.train import Train, _parts_for_auto, _with_defaults, network_and_data
from fovea.errors import ModelError, UsageError
from fovea.training.recipes import recipe

CONFIGURATION = {
    "network": {"name": "lenet5_book", "num_classes": 10, "in_channels": 1, "image_size": 28},
    "data": {"source": {"source": "digits", "split": "0.5/0.5/0", "split_seed": 7}},
    "training": {"epochs": 4, "lr": 0.125, "mean": [0.5], "std": [0.25], "augmentation": {"shift": 2}},
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGURATION))
    return path


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ((None, None), ("lenet5", "digits")),
        (("lenet5_1998", None), ("lenet5_1998", "digits")),
        (("mnist", None), ("lenet5", "mnist")),
        (("./photos", None), ("lenet5", "./photos")),
        (("lenet5", "photos"), ("lenet5", "photos")),
    ],
)
def test_net_and_data_are_told_apart(words, meaning):
    assert network_and_data(*words) == meaning


def test_a_single_word_that_is_a_folder_is_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cats").mkdir()
    assert network_and_data("cats", None) == ("lenet5", "cats")


@pytest.mark.parametrize(("typed", "meant"), [("lenet", "lenet5"), ("minst", "mnist"), ("digit", "digits")])
def test_a_single_word_that_is_neither_gets_close_matches(typed, meant):
    with pytest.raises(UsageError, match=rf"'{typed}' is neither a network, nor a data set.* Did you mean .*{meant}"):
        network_and_data(typed, None)


def test_the_recipe_that_fits_is_where_options_start():
    assert _with_defaults([]).training == recipe("digits")
    assert _with_defaults(["mnist"]).training == recipe("mnist")
    assert _with_defaults(["lenet5_1998", "mnist"]).training == recipe("lenet5_1998")
    assert _with_defaults(["./somewhere"]).training == recipe("photos")


def test_flags_change_the_recipe_and_nothing_else():
    asked = _with_defaults(["--recipe", "mnist", "--lr", "0.5", "-b", "7", "-j=2", "--shift", "9", "--seed", "3"])
    assert asked.training == recipe("mnist").but(lr=0.5, batch_size=7, workers=2, seed=3, shift=9)
    assert (asked.net, asked.data) == ("lenet5", "digits")


def test_a_configuration_is_where_options_start_and_flags_win(config):
    asked = _with_defaults(["--config", str(config), "--epochs", "9"])
    assert (asked.net, asked.data, asked.image_size, asked.in_channels) == ("lenet5_book", "digits", 28, 1)
    assert (asked.source.split, asked.source.split_seed) == ("0.5/0.5/0", 7)
    told = asked.training.flat()
    assert [told[name] for name in ("epochs", "lr", "mean", "shift")] == [9, 0.125, (0.5,), 2]


@pytest.mark.parametrize("form", [["--batch-size", "auto"], ["-b", "auto"], ["--batch-size=auto"], ["-b=auto"]])
def test_batch_size_auto_keeps_the_batch_and_leaves_its_parts_open(form):
    asked = _with_defaults(_parts_for_auto(["lenet5", "mnist", *form, "--lr", "0.5"]))
    assert asked.training == recipe("mnist").but(accumulate=0, lr=0.5)
    assert _parts_for_auto([]) == []
    assert _parts_for_auto(["--out", "-b auto"]) == ["--out", "-b auto"]


def test_one_word_beside_a_configuration_changes_one_half(config):
    assert _half(config, "mnist") == ("lenet5_book", "mnist")
    told = CONFIGURATION | {"data": {"source": {"source": "mnist", "split": None, "split_seed": 1}}}
    config.write_text(json.dumps(told))
    assert _half(config, "lenet5") == ("lenet5", "mnist")


def _half(config, word):
    asked = _with_defaults([word, "--config", str(config)])
    return asked.net, asked.data


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe", "mnist", "--config", "c"],
        ["--resume", "r", "--config", "c"],
        ["--resume", "r", "--recipe", "mnist"],
    ],
)
def test_two_starting_points_are_refused(arguments):
    with pytest.raises(UsageError, match="three starting points; give one"):
        _with_defaults(arguments)


@pytest.mark.parametrize("more", [["lenet5"], ["lenet5", "digits"], ["--out", "x"]])
def test_resume_takes_everything_from_the_run(more):
    with pytest.raises(UsageError, match="leave NET, DATA and --out away"):
        _with_defaults([*more, "--resume", "r"])


def test_a_configuration_that_is_none_is_a_model_error(tmp_path, config):
    with pytest.raises(ModelError, match=r"holds no run \(no config\.json\)"):
        _with_defaults(["--resume", str(tmp_path / "nowhere")])
    config.write_text("{}")
    with pytest.raises(ModelError, match=r"is no configuration of a run \(field 'network'\)"):
        _with_defaults(["--config", str(config)])
    config.write_text("{")
    with pytest.raises(ModelError, match="is damaged, not valid JSON"):
        _with_defaults(["--config", str(config)])


@pytest.mark.parametrize("part", ["network", "data"])
def test_a_run_made_from_python_is_resumed_there(part, config):
    own = {"network": {"name": "MyNet"}, "data": {"source": None}}
    config.write_text(json.dumps(CONFIGURATION | {part: own[part]}))
    with pytest.raises(ModelError, match="was made from Python"):
        _with_defaults(["--config", str(config)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epoch", "3"], r"--epoch.*Did you mean .*--epochs.*'fovea train --help' explains\.$"),
        (["--epochs", "many"], r"epochs.*'fovea train --help' explains\.$"),
        (["--loss", "hinge"], r"hinge.*'fovea train --help' explains\.$"),
        (["--epochs", "0"], r"epochs \(=0\) must be 1 or more"),
        (["a", "b", "c"], r"c.*'fovea train --help' explains\.$"),
    ],
)
def test_an_argument_that_is_not_taken_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(UsageError, match=sentence) as refused:
        parse(Train, "train", arguments)
    assert "\n" not in str(refused.value)
    assert "│" not in str(refused.value)


def test_positional_words_may_follow_flags():
    asked = parse(Predict, "predict", ["--top", "2", "run", "a.png", "b.png"])
    assert (asked.model, asked.images, asked.top) == ("run", ("a.png", "b.png"), 2)


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "list"])
def test_help_goes_to_stdout_and_ends_with_0(verb, fovea):
    code, out, err = fovea(verb, "--help")
    assert (code or 0, err) == (0, "")
    assert f"usage: fovea {verb}" in out
    assert "--json" in out


def test_the_help_of_train_has_every_option_of_training(fovea):
    _, out, _ = fovea("train", "--help")
    for flag in ("--epochs", "--batch-size", "--lr", "--seed", "--resume", "--recipe", "--config", "--out", "--shift"):
        assert flag in out
