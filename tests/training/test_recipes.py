"""The recipes: told in their docstrings, as their papers have them, and able to train."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch
from torch import nn

import fovea
from fovea.architectures.catalogue import list_architectures, published
from fovea.commands.recipes import source_of
from fovea.data.augmentation.presets import preset
from fovea.errors import UsageError
from fovea.training.recipes import FITTED, FURTHER, PAPERS, RECIPES, fitting, paper_of, recipe
from fovea.training.recipes.task import DEPTHWISE, ONE_SIZE, UNNORMALISED, Task
from fovea.training.schedules import learning_rate

SMALL = Task("cifar_resnet20", images=45_000, side=32)
LARGE = Task("resnet50", images=1_281_167, side=224)
GREY = Task("lenet5", images=1_079, side=32, photographs=False)
ALL = {**RECIPES, **FITTED}


@pytest.fixture(scope="module")
def colours():
    drawn = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = drawn.integers(0, 90, (30, 16, 16, 3)) + 80 * labels[:, None, None, None]
    return fovea.open_data((images.astype(np.uint8), labels), split="0.6/0.4/0.0")


class Tiny(nn.Sequential):
    """Two layers for any size of images; of so many filters that they can be whitening ones."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 24, 2, stride=2), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.append(nn.Flatten()).append(nn.Linear(24, 3))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ALL)
def test_every_recipe_takes_two_steps(name, colours, tmp_path):
    told = recipe(name, SMALL._replace(side=16)).but(batch_size=9, accumulate=1, max_steps=2, time_budget=0.0)
    torch.manual_seed(0)
    done = fovea.train(Tiny(), colours, told.but(precision="float32"), out=tmp_path / "run", quiet=True)
    assert len(done.history) == 1
    assert np.isfinite(done.history[0]["validation_loss"])


@pytest.mark.parametrize("name", ALL)
def test_every_docstring_names_source_command_and_figures_or_that_there_are_none(name):
    text = " ".join(inspect.cleandoc(ALL[name].__doc__ or "").split())
    first, _, rest = (ALL[name].__doc__ or "").partition("\n")
    assert first.endswith("."), "the first line is what a list shows"
    assert rest.startswith("\n")
    assert source_of(inspect.cleandoc(ALL[name].__doc__)) == "ours" or any(
        c in text for c in ("arXiv:", "NIPS", "Proc.")
    )
    assert re.search("Commands?: fovea train ", text)
    measured = any(words in text for words in ("the mean of 5 seeds", "the mean of 3 seeds", "Measured on"))
    assert measured != ("Not run by us" in text)
    assert measured or source_of(text.replace(first, first + "\n", 1)) == "ours" or "report" in text or "curves" in text


@pytest.mark.parametrize("name", [name for name in ALL if name in PAPERS.values()])
def test_the_command_of_a_paper_s_recipe_names_a_network_of_that_paper(name):
    command = " ".join((RECIPES[name].__doc__ or "").split()).partition("fovea train ")[2].split()
    assert paper_of(command[0]) == name


def test_every_pattern_names_networks_and_a_recipe_and_no_other_networks_are_left():
    assert all(list_architectures(pattern) for pattern in PAPERS)
    assert set(PAPERS.values()) | set(FURTHER.values()) <= set(RECIPES)
    assert all(name in RECIPES and name not in PAPERS.values() for name in FURTHER)
    without = {name for name in published() if not has_paper(name)}
    libraries = {"alexnet_one_tower", "googlenet_torchvision", *list_architectures("vgg*_bn")}
    libraries |= set(list_architectures("resnet*_v1_5"))
    silent = {"lenet5", "nin", "cifar_nin", *list_architectures("nasnet_*"), *list_architectures("amoebanet_*")}
    assert without == libraries | silent


def has_paper(name):
    try:
        return bool(paper_of(name))
    except UsageError:
        return False


@pytest.mark.parametrize("patterns", [DEPTHWISE, UNNORMALISED, ONE_SIZE])
def test_the_families_that_recipes_tell_apart_exist(patterns):
    assert all(list_architectures(pattern) for pattern in patterns)


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "googlenet", "resnet18", "mobilenet_v2", "cifar_nin", "vgg16_bn"])
def test_networks_without_normalisation_are_known_as_such(name):
    with torch.device("meta"):
        made = fovea.create(name)
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    assert normalised != Task(name, images=1, side=1).is_one_of(UNNORMALISED)


# As the papers have them ---------------------------------------------------------------------------------------------

# What the papers print, in this file's own words: batch, rate, momentum, weight decay, epochs.
PRINTED = {
    "alexnet": (128, 0.01, 0.9, 5e-4, 90),
    "vgg": (256, 0.01, 0.9, 5e-4, 74),
    "resnet": (256, 0.1, 0.9, 1e-4, 120),
    "cifar_resnet": (128, 0.1, 0.9, 1e-4, 182),
    "densenet": (256, 0.1, 0.9, 1e-4, 90),
    "cifar_densenet": (64, 0.1, 0.9, 1e-4, 300),
    "senet": (1024, 0.6, 0.9, 1e-4, 100),
    "cifar_amoebanet": (128, 0.024, 0.9, 5e-4, 600),
    "mobilenet_v2": (96, 0.045, 0.9, 4e-5, 300),
    "mnasnet": (4096, 0.256, 0.9, 1e-5, 350),
    "efficientnet": (4096, 0.256, 0.9, 1e-5, 350),
    "inception_v3": (32, 0.045, 0.9, 4e-5, 100),
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_figures_are_the_paper_s(name):
    told = recipe(name)
    update = told.update
    assert (told.batch_size, update.lr, update.momentum, update.weight_decay, told.epochs) == PRINTED[name]


def test_what_sets_the_papers_apart():
    alexnet, vgg, efficientnet = recipe("alexnet"), recipe("vgg"), recipe("efficientnet")
    assert alexnet.augmentation == preset("alexnet")
    assert vgg.augmentation == preset("vgg")
    for told in (alexnet, vgg):  # a tenth, three times, where validation stands still
        assert (told.rate.schedule, told.rate.factor, told.update.nesterov) == ("plateau", 0.1, False)
        assert told.rate.lowest_lr == pytest.approx(told.update.lr / 1000)
    assert (efficientnet.update.optimiser, efficientnet.update.second_moment) == ("rmsprop", 0.9)
    assert (efficientnet.rate.factor, efficientnet.rate.decay_epochs, efficientnet.rate.warmup_epochs) == (0.97, 2.4, 5)
    assert efficientnet.augmentation.policy == "autoaugment"
    inception = recipe("inception_v3")
    assert (inception.update.epsilon, inception.update.clip, inception.objective.label_smoothing) == (1.0, 2.0, 0.1)
    assert recipe("densenet").update.nesterov
    assert recipe("senet").rate.milestones == (30, 60, 90)
    assert recipe("googlenet").objective.auxiliary == 0.3
    assert (recipe("alexnet_book").update.lr, recipe("vgg11_book").update.lr) == (0.01, 0.05)


def test_resnet_on_cifar_falls_at_32000_and_48000_of_64000_steps():
    told, per_epoch = recipe("cifar_resnet"), 352  # 45,000 images in batches of 128
    rates = [learning_rate(step, per_epoch, told) for step in (0, 31_999, 32_100, 47_999, 48_100, 64_000)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (told.augmentation, told.input.mean_image, told.update.decay_all) == (preset("cifar"), True, True)
    warm = recipe("cifar_resnet_warmup")
    rates = [learning_rate(step, per_epoch, warm) for step in (0, 399, 400)]
    assert rates == pytest.approx([0.01, 0.01, 0.1])
    assert warm.but(warmup="linear", warmup_epochs=0.0) == told


# Those that fit themselves -------------------------------------------------------------------------------------------


def test_modern_trains_small_data_for_longer_and_mirrors_photographs_alone():
    small, large, grey = (recipe("modern", task) for task in (SMALL, LARGE, GREY))
    assert large.epochs < small.epochs < grey.epochs
    assert (small.augmentation.flip, small.augmentation.shift, small.augmentation.crop) == (True, 4, "centre")
    assert (large.augmentation.flip, large.augmentation.crop, large.augmentation.cutmix) == (True, "area", 1.0)
    assert (grey.augmentation.flip, grey.augmentation.policy, grey.augmentation.cutmix) == (False, "none", 0.0)
    assert small.averaging.ema < large.averaging.ema
    depthwise = recipe("modern", SMALL._replace(network="mobilenet_v2"))
    assert depthwise.update.lr < small.update.lr
    assert depthwise.update.weight_decay < small.update.weight_decay


def test_quick_has_a_budget_and_grows_large_images_where_the_network_takes_other_sizes():
    told = recipe("quick", LARGE)
    assert (told.time_budget, told.rate.schedule, told.input.smallest_size) == (3.0, "one_cycle", 128)
    assert recipe("quick", SMALL).input.smallest_size == 0
    assert recipe("quick", LARGE._replace(network="vgg16")).input.smallest_size == 0


def test_fine_tuning_is_as_long_as_the_images_want():
    assert recipe("finetune", LARGE).epochs < recipe("finetune", GREY).epochs
    assert not recipe("finetune", GREY).augmentation.flip


def test_paper_is_the_network_s_own_and_its_absence_says_what_there_is():
    assert recipe("paper", Task("vgg16", images=10, side=224)) == recipe("vgg")
    assert recipe("paper", Task("cifar_resnet110", images=10, side=32)) == recipe("cifar_resnet_warmup")
    with pytest.raises(
        UsageError, match=r"vgg16_bn has no recipe of its paper; there are those of lenet5_1998, .*zfnet"
    ):
        recipe("paper", Task("vgg16_bn", images=10, side=224))
    with pytest.raises(UsageError, match="the recipe modern fits itself"):
        recipe("modern")
    assert fitting("resnet50", "cifar10") == "photos"
