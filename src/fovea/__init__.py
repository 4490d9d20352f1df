"""fovea: a workbench for convolutional image recognition.

The public names, and nothing else. They are loaded when first used, so that importing fovea imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fovea.architectures.catalogue import list_architectures
    from fovea.bundle import Bundle
    from fovea.cost.report import Report, inspect
    from fovea.data.checking import check
    from fovea.data.opening import open_data
    from fovea.data.preprocessing import Preprocessing
    from fovea.data.sets import Data
    from fovea.errors import FoveaError
    from fovea.evaluation.judge import evaluate
    from fovea.evaluation.scores import Scores
    from fovea.explain.attributing import Attribution, attribute
    from fovea.runtime.features import features
    from fovea.runtime.model import Model, load
    from fovea.runtime.predict import Prediction, predict
    from fovea.style.stylising import stylise
    from fovea.training.options import TrainingOptions
    from fovea.training.train import Run, train
    from fovea.transfer.comparing import compare_ways
    from fovea.transfer.creating import create
    from fovea.transfer.transformer import FeatureTransformer

_HOMES = {
    "Attribution": "fovea.explain.attributing",
    "Bundle": "fovea.bundle",
    "Data": "fovea.data.sets",
    "FeatureTransformer": "fovea.transfer.transformer",
    "FoveaError": "fovea.errors",
    "Model": "fovea.runtime.model",
    "Prediction": "fovea.runtime.predict",
    "Preprocessing": "fovea.data.preprocessing",
    "Report": "fovea.cost.report",
    "Run": "fovea.training.train",
    "Scores": "fovea.evaluation.scores",
    "TrainingOptions": "fovea.training.options",
    "attribute": "fovea.explain.attributing",
    "check": "fovea.data.checking",
    "compare_ways": "fovea.transfer.comparing",
    "create": "fovea.transfer.creating",
    "evaluate": "fovea.evaluation.judge",
    "features": "fovea.runtime.features",
    "inspect": "fovea.cost.report",
    "list_architectures": "fovea.architectures.catalogue",
    "load": "fovea.runtime.model",
    "open_data": "fovea.data.opening",
    "predict": "fovea.runtime.predict",
    "stylise": "fovea.style.stylising",
    "train": "fovea.training.train",
}

__all__ = [
    "Attribution",
    "Bundle",
    "Data",
    "FeatureTransformer",
    "FoveaError",
    "Model",
    "Prediction",
    "Preprocessing",
    "Report",
    "Run",
    "Scores",
    "TrainingOptions",
    "attribute",
    "check",
    "compare_ways",
    "create",
    "evaluate",
    "features",
    "inspect",
    "list_architectures",
    "load",
    "open_data",
    "predict",
    "stylise",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fovea' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
