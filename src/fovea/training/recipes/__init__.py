"""Recipes: each a function whose docstring is the experiment. Torch-free, so that the command line can list them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable

from fovea.errors import UsageError, suggestion
from fovea.training.options import TrainingOptions
from fovea.training.recipes.alexnet import alexnet
from fovea.training.recipes.amoebanet import cifar_amoebanet, cifar_nasnet
from fovea.training.recipes.book import alexnet_book, lenet5_book, vgg11_book
from fovea.training.recipes.densenet import cifar_densenet, densenet
from fovea.training.recipes.efficientnet import efficientnet
from fovea.training.recipes.finetuning import finetune
from fovea.training.recipes.folder import photos
from fovea.training.recipes.googlenet import bn_inception, googlenet, googlenet_quick
from fovea.training.recipes.inception_v3 import inception_v3
from fovea.training.recipes.lenet import digits, lenet5_1998, mnist
from fovea.training.recipes.mnasnet import mnasnet
from fovea.training.recipes.mobilenet_v2 import mobilenet_v1, mobilenet_v2
from fovea.training.recipes.modern import modern
from fovea.training.recipes.quick import quick
from fovea.training.recipes.resnet import cifar_preact_resnet, cifar_resnet, cifar_resnet_warmup, preact_resnet, resnet
from fovea.training.recipes.senet import senet
from fovea.training.recipes.speedrun import speedrun
from fovea.training.recipes.task import Task
from fovea.training.recipes.vgg import vgg
from fovea.training.recipes.zfnet import zfnet

PAPER = "paper"  # instead of a recipe's name: that of the network's own paper

RECIPES: dict[str, Callable[[], TrainingOptions]] = {
    each.__name__: each
    for each in (
        *(digits, mnist, photos),
        *(lenet5_1998, lenet5_book, alexnet, alexnet_book, zfnet, vgg, vgg11_book),
        *(googlenet, googlenet_quick, bn_inception, inception_v3),
        *(resnet, cifar_resnet, cifar_resnet_warmup, preact_resnet, cifar_preact_resnet, densenet, cifar_densenet),
        *(mobilenet_v1, senet, cifar_nasnet, cifar_amoebanet, mobilenet_v2, mnasnet, efficientnet),
        speedrun,
    )
}
FITTED: dict[str, Callable[[Task], TrainingOptions]] = {"modern": modern, "quick": quick, "finetune": finetune}
"""Those that fit themselves to the network and to the data."""

# fmt: off
PAPERS: dict[str, str] = {  # the networks of a paper, as patterns, and the recipe that is its own; the first one holds
    "lenet5_1998":             "lenet5_1998",
    "lenet5_book":             "lenet5_book",
    "alexnet":                 "alexnet",
    "alexnet_ungrouped":       "alexnet",
    "alexnet_book":            "alexnet_book",
    "zfnet*":                  "zfnet",
    "vgg1[1369]":              "vgg",
    "vgg11_lrn":               "vgg",
    "vgg16_c":                 "vgg",
    "vgg11_book*":             "vgg11_book",
    "googlenet":               "googlenet",
    "googlenet_separable_*":   "googlenet",
    "bn_inception*":           "bn_inception",
    "inception_v3":            "inception_v3",
    "resnet??":                "resnet",
    "resnet???":               "resnet",
    "plain*":                  "resnet",
    "cifar_resnet110":         "cifar_resnet_warmup",
    "cifar_resnet1202":        "cifar_resnet_warmup",
    "cifar_resnet*":           "cifar_resnet",
    "cifar_plain*":            "cifar_resnet",
    "preact_resnet*":          "preact_resnet",
    "cifar_preact_resnet*":    "cifar_preact_resnet",
    "densenet*":               "densenet",
    "cifar_densenet_*":        "cifar_densenet",
    "mobilenet_v1*":           "mobilenet_v1",
    "se_resne*":               "senet",
    "cifar_nasnet_*":          "cifar_nasnet",
    "cifar_amoebanet_*":       "cifar_amoebanet",
    "mobilenet_v2*":           "mobilenet_v2",
    "mnasnet_*":               "mnasnet",
    "efficientnet_*":          "efficientnet",
    "cifar_airbench94":        "speedrun",
}
# fmt: on
FURTHER: dict[str, str] = {"googlenet_quick": "googlenet"}  # another recipe of the same paper, and its first one


def recipe(name: str, task: Task | None = None) -> TrainingOptions:
    """The options of a recipe.

    Args:
        name: Of `RECIPES`; of `FITTED`; or "paper", the recipe of the network's own paper.
        task: What is to be learned; those of `FITTED`, and "paper", ask for it.

    Raises:
        UsageError: no recipe is called so, or none is the network's paper's, or it asks for a task and none is given.
    """
    names = (*RECIPES, *FITTED, PAPER)
    if name not in names:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(names)}.{suggestion(name, names)}")
    if name in RECIPES:
        return RECIPES[name]()
    if task is None:
        raise UsageError(f"the recipe {name} fits itself to network and data: give recipe({name!r}, task)")
    return RECIPES[paper_of(task.network)]() if name == PAPER else FITTED[name](task)


def paper_of(network: str) -> str:
    """The name of the recipe of a network's own paper.

    Raises:
        UsageError: there is none.
    """
    found = next((name for pattern, name in PAPERS.items() if fnmatch.fnmatchcase(network, pattern)), None)
    if found is None:
        there = ", ".join(PAPERS)
        raise UsageError(f"{network} has no recipe of its paper; there are those of {there}. Take --recipe modern")
    return found


def fitting(network: str, data: str) -> str:
    """The recipe's name that a network on a data set starts from when none is asked for."""
    if network == "lenet5_1998":
        return "lenet5_1998"
    if data in ("digits", "mnist"):
        return data
    return "mnist" if data == "fashion_mnist" else "photos"
