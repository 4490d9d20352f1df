"""The ideas of the lectures, each of which can be switched off. The names are read without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fovea.errors import UsageError, suggestion

if TYPE_CHECKING:
    from fovea.experiments.ideas.change import Idea

# What `fovea ablate --without` takes, in the order of their story, and the file and name of each.
IDEAS = {
    "relu": "activations:RELU",
    "dropout": "regularising:DROPOUT",
    "augmentation": "regularising:AUGMENTATION",
    "overlapping_pooling": "pooling:OVERLAPPING_POOLING",
    "max_pooling": "pooling:MAX_POOLING",
    "lrn": "normalising:LRN",
    "shared_weights": "sharing:SHARED_WEIGHTS",
    "small_kernels": "blocks:SMALL_KERNELS",
    "reductions": "blocks:REDUCTIONS",
    "batch_norm": "normalising:BATCH_NORM",
    "skips": "blocks:SKIPS",
    "bottlenecks": "blocks:BOTTLENECKS",
    "separable": "blocks:SEPARABLE",
    "squeeze_excitation": "blocks:SQUEEZE_EXCITATION",
    "stochastic_depth": "regularising:STOCHASTIC_DEPTH",
    "initialisation": "updating:INITIALISATION",
    "momentum": "updating:MOMENTUM",
    "warmup": "updating:WARMUP",
    "weight_decay": "regularising:WEIGHT_DECAY",
    "label_smoothing": "regularising:LABEL_SMOOTHING",
    "weight_average": "updating:WEIGHT_AVERAGE",
}


def idea(name: str) -> Idea:
    """The idea of a name.

    Raises:
        UsageError: there is none.
    """
    check_idea(name)
    module, _, attribute = IDEAS[name].partition(":")
    found: Idea = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found


def check_idea(name: str) -> None:
    """Refuse a name that no idea has.

    Raises:
        UsageError: with what there is.
    """
    if name not in IDEAS:
        raise UsageError(f"no idea is called {name!r}; there are {', '.join(IDEAS)}.{suggestion(name, IDEAS)}")
