"""Maps of feature space: where a stage puts images, in two dimensions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.errors import DataError, NumbersError, UsageError, require
from fovea.randomness import key
from fovea.runtime.features import HEAD, stage_features
from fovea.runtime.model import Model

Way = Literal["tsne", "pca"]
WIDE = 50  # principal components that t-SNE starts from, as its authors do
MOST_TRUSTED = 5000  # images for which trustworthiness is worked out; its distances grow with the square
NEIGHBOURS = 5


@dataclass(frozen=True, kw_only=True)
class FeatureSpace:
    """Images in the plane, near each other where a stage makes nearly the same of them.

    Args:
        stage: Of the network.
        method: How the plane was found.
        places: Of each image.
        labels: Their classes.
        classes: The names.
        variance: The share of the features' variance that each axis has; for principal components alone.
        trustworthiness: How far neighbours in the plane are neighbours in feature space, in [0, 1]; 1 is best, NaN of
            more than 5,000 images.
        neighbour_accuracy: How far classes are apart: of the images that are not their class's only one the share whose
            nearest in the plane is of their class; NaN where there are none.
    """

    stage: str
    method: Way
    places: Float32[NDArray[np.float32], "n 2"]
    labels: Int[NDArray[np.int64], "n"]
    classes: tuple[str, ...]
    variance: tuple[float, ...]
    trustworthiness: float
    neighbour_accuracy: float

    def __str__(self) -> str:
        how = "t-SNE" if self.method == "tsne" else "principal components"
        trust = "" if np.isnan(self.trustworthiness) else f"; trustworthiness {self.trustworthiness:.3f}"
        shares = "".join(f", {share:.1%}" for share in self.variance)
        of = f" (variance{shares[1:]})" if shares else ""
        told = f"; nearest neighbour in the plane of the same class {self.neighbour_accuracy:.2%}"
        near = "" if np.isnan(self.neighbour_accuracy) else told
        return f"{how}{of} of {self.stage}, {len(self.places):,} images{trust}{near}"


def feature_space(
    model: Model, split: Split, *, stage: str = HEAD, method: Way = "tsne", perplexity: float = 30.0, seed: int = 0
) -> FeatureSpace:
    """Put images into the plane by what a stage makes of them, its maps averaged over their places.

    Features are taken as they are, not brought to one scale: the network weighs them, and so does the map.

    Args:
        model: It runs in evaluation mode and is afterwards as it was.
        split: The images.
        stage: A stage, a module's path, or "head": what the output layer receives.
        method: t-SNE, which keeps neighbours, or principal components, which keep the large distances.
        perplexity: Of t-SNE: about how many neighbours count; a third of the images at most.
        seed: Of t-SNE, and of the search for the components of many images.

    Raises:
        UsageError: no such stage or method.
        DataError: fewer than three images.
        NumbersError: features that are NaN or infinite.

    Source: van der Maaten and Hinton 2008, "Visualizing data using t-SNE", JMLR 9.
    """
    if len(split) < 3:
        raise DataError(f"{split.name} holds {len(split)} images; a map of feature space needs at least three")
    labels = torch.from_numpy(np.asarray(split.labels, np.int64))
    fitted = Fitted(split.images, labels, model.bundle.preprocessing, None, workers=os.cpu_count() or 1)
    rows = stage_features(model, fitted, [stage])[stage].flatten(1).numpy()
    if not np.isfinite(rows).all():
        raise NumbersError(f"{stage} gives NaN or infinity for some image; look at the network's weights")
    places, variance = embedded(rows, method=method, perplexity=perplexity, seed=seed)
    return FeatureSpace(
        stage=stage,
        method=method,
        places=places,
        labels=labels.numpy(),
        classes=tuple(split.classes),
        variance=variance,
        trustworthiness=_trust(rows, places),
        neighbour_accuracy=_neighbours(places, labels.numpy()),
    )


def embedded(
    rows: Float32[NDArray[np.float32], "n d"], *, method: Way, perplexity: float = 30.0, seed: int = 0
) -> tuple[Float32[NDArray[np.float32], "n 2"], tuple[float, ...]]:
    """Rows in the plane, and of principal components the share of variance of each axis.

    Raises:
        UsageError: another method, or a perplexity below 1.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if method not in ("tsne", "pca"):
        raise UsageError(f"method (={method}) must be tsne or pca")
    require("perplexity", perplexity, perplexity >= 1, "1 or more")
    if (rows == rows[0]).all():  # no axis has a share of no variance
        return np.zeros((len(rows), 2), np.float32), (0.0, 0.0) if method == "pca" else ()
    state = key(seed, "feature space") % 2**32
    narrow = PCA(min(2 if method == "pca" else WIDE, *rows.shape), svd_solver="full" if len(rows) < 500 else "auto")
    narrow.random_state = state
    found = narrow.fit_transform(rows.astype(np.float64))
    if method == "pca":
        return _two(found), tuple(float(share) for share in narrow.explained_variance_ratio_)
    if found.shape[1] < 2:
        return _two(found), ()
    near = max(1.0, min(perplexity, (len(rows) - 1) / 3))
    with threadpool_limits(1, user_api="openmp"):  # its steps are short: on a busy machine threads wait for each other
        return _two(TSNE(2, perplexity=near, init="pca", random_state=state).fit_transform(found)), ()


def _two(found: NDArray[np.floating]) -> NDArray[np.float32]:
    """Two columns, the second 0 where there is one."""
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))).astype(np.float32)


def _trust(rows: NDArray[np.float32], places: NDArray[np.float32]) -> float:
    from sklearn.manifold import trustworthiness

    near = min(NEIGHBOURS, (len(rows) - 1) // 2)
    return float("nan") if len(rows) > MOST_TRUSTED else float(trustworthiness(rows, places, n_neighbors=near))


def _neighbours(places: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1).fit(places).kneighbors(return_distance=False)[:, 0]  # of others
    company = np.bincount(labels)[labels] > 1
    return float((labels[nearest] == labels)[company].mean()) if company.any() else float("nan")
