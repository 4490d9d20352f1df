"""A network's features as a step of a scikit-learn pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import nn

from fovea.errors import UsageError
from fovea.runtime.features import HEAD, features
from fovea.runtime.model import Model, load


class FeatureTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Images in, one row of pooled features an image out: `make_pipeline(FeatureTransformer("runs/latest"), SVC())`.

    Nothing is learned: `fit` reads the model. It can be cloned, searched over (`stage`) and pickled as any transformer.

    Args:
        model: A run folder or bundle, or what `fovea.load` gives.
        stage: The stage whose outputs are the features, as `fovea.features` takes it.
    """

    def __init__(self, model: Model | nn.Module | Path | str = "runs/latest", *, stage: str = HEAD) -> None:
        self.model = model
        self.stage = stage

    def fit(self, X: Any, y: Any = None) -> FeatureTransformer:  # noqa: ARG002, N803  # scikit-learn's names
        """Read the model.

        Args:
            X: Images; the first one tells how many features there are.
            y: Ignored.

        Raises:
            UsageError: no image, or a stage that there is not.
            ModelError: no bundle, or one that is damaged.
        """
        if len(X) == 0:
            raise UsageError("there is no image to tell how many features there are; give one at least")
        self.model_ = load(self.model) if isinstance(self.model, str | Path) else self.model
        self.n_features_out_ = self.transform(X[:1]).shape[1]
        return self

    def transform(self, X: Any) -> Float32[NDArray[np.float32], "n d"]:  # noqa: N803
        """Pooled features.

        Args:
            X: Images as `fovea.features` takes them: an array (n, h, w) or (n, h, w, c) of uint8, or paths.

        Raises:
            DataError: images that cannot be read.
        """
        check_is_fitted(self, "model_")
        found = features(self.model_, X, stages=[self.stage])[self.stage]
        return found.reshape(len(found), -1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """The stage's name and a number, for each feature."""
        check_is_fitted(self, "model_")
        return np.asarray([f"{self.stage}_{number}" for number in range(self.n_features_out_)], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """Images, not tables; nothing is learned."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.requires_fit, tags.no_validation = True, True
        return tags
