"""fovea recipes, and train by recipes that fit themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fovea.commands import expectations
from fovea.commands.recipes import differing, networks_of, source_of
from fovea.training.options import TrainingOptions
from fovea.training.recipes import FITTED, RECIPES, recipe


def test_every_recipe_has_a_line_with_its_length_and_source(fovea):
    code, out, err = fovea("recipes")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["recipe", *RECIPES, *FITTED]
    assert all(part in lines["cifar_resnet"] for part in ("cifar_resnet*", "He et al. 2015", "182", "128"))
    assert "fits" in lines["modern"]


def test_json_holds_networks_and_text(fovea):
    found = {each["name"]: each for each in json.loads(fovea("recipes", "--json")[1])}
    assert found["vgg"]["networks"] == ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_lrn", "vgg16_c"]
    assert found["vgg"]["batch_size"] == 256
    assert "Simonyan" in found["vgg"]["text"]
    assert found["quick"]["epochs"] is None


def test_a_recipe_named_is_told_in_full_with_what_it_changes(fovea):
    out = fovea("recipes", "cifar_resnet_warmup")[1]
    assert "Command: fovea train cifar_resnet110 cifar10" in out
    assert "networks: cifar_resnet110, cifar_resnet1202" in out
    assert [line.split() for line in out.splitlines() if " warmup " in line] == [
        ["warmup", "constant", "(default", "linear)"]
    ]
    told = json.loads(fovea("recipes", "cifar_resnet_warmup", "--json")[1])
    assert told["options"]["warmup"] == "constant"
    assert "momentum" not in told["options"]
    assert "here for cifar_resnet20 on cifar10" in fovea("recipes", "modern")[1]


def test_the_cost_of_a_network_on_data_is_three_passes_of_all_images_seen(fovea, monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path))
    code, out, err = fovea("recipes", "cifar_resnet20", "cifar10", "--json")
    found = {each["name"]: each for each in json.loads(out)}
    assert (code, list(found)) == (0, ["cifar_resnet", "photos", *FITTED])
    paper = found["cifar_resnet"]
    assert paper["images"] == 182 * 45_000
    assert paper["macs"] == 3 * 40_551_040 * 182 * 45_000
    assert paper["flops"] == 2 * paper["macs"]
    assert paper["hours"] is None
    assert found["quick"]["minutes"] == 3.0
    out, err = fovea("recipes", "lenet5")[1:]
    assert out.splitlines()[1].split()[:7] == ["digits", "lenet5", "ours", "60", "32", "64,740", "8.09e+10"]
    assert "calibrate this machine once by fovea inspect lenet5 --time" in err


def test_data_alone_has_every_paper_s_first_network(fovea):
    found = {each["name"]: each for each in json.loads(fovea("recipes", "cifar10", "--json")[1])}
    assert found["resnet"]["network"] == "resnet18"
    assert set(found) == {name for name in RECIPES if networks_of(name)}


def test_a_folder_is_counted(fovea, photos, monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "cache"))
    found = {each["name"]: each for each in json.loads(fovea("recipes", "resnet18", photos, "--json")[1])}
    images = found["resnet"]["images"] // 120
    assert 0 < images < 100
    assert found["photos"]["images"] == 40 * images


def test_hours_come_from_the_machine_s_calibration(monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path))
    told = recipe("digits")
    runs = [(told, expectations.expectation(told, 1079, "lenet5"))]
    assert expectations.hours_of("lenet5", runs) == [None]
    (tmp_path / "calibration-float32-of-another-machine.json").write_text("{}")
    assert expectations.hours_of("lenet5", runs) == [None]
    monkeypatch.setattr(expectations, "_kept", lambda: (machine_of(1e9), False))
    (slow,) = expectations.hours_of("lenet5", runs)
    monkeypatch.setattr(expectations, "_kept", lambda: (machine_of(1e12), False))
    (fast,) = expectations.hours_of("lenet5", runs)
    assert 0 < fast < slow < 1


def machine_of(flops):
    """A calibration whose convolutions are as fast as its ceiling says."""
    from fovea.cost.calibration import Calibration
    from fovea.cost.prices import Ceilings

    ceilings = Ceilings(flops=flops, bandwidth=((1 << 18, 1e10), (1 << 28, 1e10)), overhead=0.0)
    return Calibration("test", "2026-01-01", ceilings, ())


def test_the_sets_known_by_name_have_as_many_images_as_they_say():
    import fovea

    assert len(fovea.open_data("digits").train) == expectations.KNOWN_SETS["digits"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("alexnot",), "'alexnot' is neither a recipe, nor a network, nor data"),
        (("lenet6", "digits"), "no network is called 'lenet6'"),
        (("lenet5", "minst"), "'minst' is neither a folder nor a known data set"),
    ],
)
def test_what_is_not_there_is_a_usage_error(fovea, arguments, sentence):
    code, out, err = fovea("recipes", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"fovea: {sentence}")


def test_sources_are_short():
    assert source_of("x.\n\nTan and Le 2019, arXiv:1, section 5.") == "Tan and Le 2019"
    assert source_of("x.\n\nHe, Zhang, Ren and Sun 2015, arXiv:1512.03385.") == "He et al. 2015"
    assert source_of("x.\n\nOurs, after Smith 2017.") == "ours"
    with pytest.raises(ValueError, match="source"):
        source_of("x.\n\nSomebody told us.")


def test_the_defaults_differ_in_nothing():
    assert differing(TrainingOptions()) == {}
    assert differing(TrainingOptions().but(lr=0.1)) == {"lr": (0.1, 0.05)}


# Training by them ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pictures")
def test_a_recipe_that_fits_itself_sees_the_data(fovea):
    arguments = ("lenet5", "digits", "--recipe", "modern", "--image-size", "16", "--max-steps", "1", "--lr", "0.5")
    code, _, err = fovea("train", *arguments, "--out", "run")
    assert code == 0, err
    told = json.loads(Path("run/config.json").read_text())["training"]
    assert (told["epochs"], told["batch_size"], told["update"]["lr"]) == (300, 32, 0.5)
    assert (told["augmentation"]["flip"], told["augmentation"]["shift"]) == (False, 1)


def test_paper_is_refused_where_there_is_none_before_anything_is_opened(fovea):
    code, _, err = fovea("train", "vgg16_bn", "digits", "--recipe", "paper")
    assert code == 2
    assert err.startswith("fovea: vgg16_bn has no recipe of its paper; there are those of ")
    code, _, err = fovea("train", "vgg61", "digits", "--recipe", "paper")
    assert err.startswith("fovea: no network is called 'vgg61'")
    code, _, err = fovea("train", "lenet5", "digits", "--recipe", "modern", "--swa-epochs", "3")
    assert (code, "ema" in err) == (2, True)
