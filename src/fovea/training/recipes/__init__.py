"""Recipes: each a function whose docstring is the experiment. Torch-free, so that the command line can list them."""

from __future__ import annotations

from collections.abc import Callable

from fovea.errors import UsageError, suggestion
from fovea.training.options import TrainingOptions
from fovea.training.recipes.finetuning import finetune
from fovea.training.recipes.folder import photos
from fovea.training.recipes.lenet import digits, lenet5_1998, mnist

RECIPES: dict[str, Callable[[], TrainingOptions]] = {
    "digits": digits,
    "mnist": mnist,
    "lenet5_1998": lenet5_1998,
    "photos": photos,
    "finetune": finetune,
}


def recipe(name: str) -> TrainingOptions:
    """The options of a recipe.

    Raises:
        UsageError: no recipe is called so.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}.{suggestion(name, RECIPES)}")
    return RECIPES[name]()


def fitting(network: str, data: str) -> str:
    """The recipe's name that a network on a data set starts from when none is asked for."""
    if network == "lenet5_1998":
        return "lenet5_1998"
    if data in ("digits", "mnist"):
        return data
    return "mnist" if data == "fashion_mnist" else "photos"
