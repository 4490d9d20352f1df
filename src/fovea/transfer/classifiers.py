"""Classifiers on fixed features: linear probe, linear SVM, nearest neighbours; folds of train make every choice."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.splits import folded, thinned
from fovea.evaluation.calibration import fitted_temperature
from fovea.evaluation.metrics import negative_log_likelihood, top_k_accuracy

Kind = Literal["probe", "svm", "knn"]
KINDS: tuple[Kind, ...] = ("probe", "svm", "knn")
FOLDS = 5
LARGEST = 4_000  # images that choices are made on; of more, a stratified share
STRENGTHS = tuple(10.0**power for power in range(-6, 2))  # C of probe and SVM, on standardised features
PATIENCE = 2  # settings in a row that are worse than the best, after which no weaker regularisation is tried
NEIGHBOURS = (1, 3, 5, 9, 17, 33)
TEMPERATURE = 0.07  # of the cosine similarities that neighbours are weighed by (Wu et al. 2018, arXiv:1805.01978)

Rows = Float32[NDArray[np.float32], "n d"]


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A fitted classifier of features.

    Args:
        kind: Which.
        setting: What the folds chose: C of probe and SVM, the number of neighbours of knn.
        images: How many images the folds had.
        cross_validated: Top-1 accuracy over the folds at that choice, in [0, 1].
        logits: From features to logits.
        linear: Weight (k, d) and bias (k) that give the very logits; None for what is no linear function.
    """

    kind: Kind
    setting: float
    images: int
    cross_validated: float
    logits: Callable[[Rows], Float[Tensor, "n k"]]
    linear: tuple[Float[Tensor, "k d"], Float[Tensor, "k"]] | None

    def __str__(self) -> str:
        return f"k = {self.setting:g}" if self.kind == "knn" else f"C = {self.setting:g}"


def fitted(kind: Kind, features: Rows, labels: Int[NDArray[np.int64], "n"], *, classes: int, seed: int) -> Classifier:
    """The classifier whose setting is best over five stratified folds of these very images, fitted on all of them.

    The probe is a logistic regression, chosen by its likelihood; SVM (linear, each class against the rest) and
    neighbours by their accuracy. Of equal settings the most strongly regularised one wins. The SVM's decisions are
    scaled to probabilities by one temperature, fitted on what the folds left out.

    Args:
        kind: probe, svm or knn.
        features: One row an image.
        labels: Class indices.
        classes: How many there are.
        seed: Deals the folds.
    """
    chosen = thinned(labels, min(1.0, LARGEST / len(labels)), seed)
    settings = tuple(float(k) for k in NEIGHBOURS if k < len(chosen) * 0.8) if kind == "knn" else STRENGTHS
    if kind == "knn":
        settings = settings[::-1]  # the strongest regularisation first
    known = torch.from_numpy(labels[chosen])
    held_out: list[Tensor] = []
    worth: list[float] = []
    for setting in settings:
        held_out.append(_held_out(kind, setting, features[chosen], labels[chosen], classes, seed))
        worth.append(_worth(kind, held_out[-1], known))
        if len(worth) - 1 - worth.index(max(worth)) == PATIENCE:
            break  # it only gets worse from here, and slower
    best = worth.index(max(worth))  # of equals the first
    temperature = fitted_temperature(held_out[best], known) if kind == "svm" else 1.0
    logits, linear = _fit(kind, settings[best], features, labels, classes)
    if linear is not None:
        linear = (linear[0] / temperature, linear[1] / temperature)
    return Classifier(
        kind=kind,
        setting=settings[best],
        images=len(chosen),
        cross_validated=top_k_accuracy(held_out[best], known, k=1),
        logits=lambda rows: logits(rows) / temperature,
        linear=linear,
    )


def _held_out(kind: Kind, setting: float, features: Rows, labels: NDArray[np.int64], classes: int, seed: int) -> Tensor:
    """The logits of every image by a fit on the other folds."""
    folds = folded(labels, FOLDS, seed)
    found = torch.zeros(len(labels), classes)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        logits, _ = _fit(kind, setting, features[inside], labels[inside], classes)
        found[outside] = logits(features[outside])
    return found


def _worth(kind: Kind, logits: Tensor, labels: Tensor) -> float:
    return -negative_log_likelihood(logits, labels) if kind == "probe" else top_k_accuracy(logits, labels, k=1)


Fit = tuple[Callable[[Rows], Tensor], tuple[Tensor, Tensor] | None]


def _fit(kind: Kind, setting: float, features: Rows, labels: NDArray[np.int64], classes: int) -> Fit:
    if kind == "knn":
        return _neighbours(int(setting), features, labels, classes), None
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-12), 0.0).astype(np.float32)
    weight, bias = _linear(kind, setting, (features - mean) * scale, labels, classes)
    weight = weight * scale  # the standardisation becomes part of the linear function
    bias = bias - weight @ mean
    linear = (torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))
    return lambda rows: torch.from_numpy(rows) @ linear[0].T + linear[1], linear


def _linear(
    kind: Kind, strength: float, rows: Rows, labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight (k, d) and bias (k) over all classes; one that has no image here is never chosen."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    logistic = kind == "probe"
    model: Any = LogisticRegression(C=strength, max_iter=1000) if logistic else LinearSVC(C=strength, max_iter=5000)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # it is compared as it then is
        model.fit(rows, labels)
    weight, bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    if len(model.classes_) == 2:  # one function whose sign tells: half of it for each class
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    whole, shift = np.zeros((classes, rows.shape[1])), np.full(classes, -1e4)
    whole[model.classes_], shift[model.classes_] = weight, bias
    return whole, shift


def _neighbours(k: int, features: Rows, labels: NDArray[np.int64], classes: int) -> Callable[[Rows], Tensor]:
    """Votes of the k most similar images by cosine, weighed by similarity, as logarithms of their shares."""
    known, answers = _unit(features), torch.from_numpy(labels)

    def logits(rows: Rows) -> Tensor:
        found = torch.zeros(len(rows), classes)
        for start in range(0, len(rows), 1024):
            similar, places = (_unit(rows[start : start + 1024]) @ known.T).topk(min(k, len(known)), dim=1)
            votes = torch.exp((similar - 1) / TEMPERATURE)
            found[start : start + 1024].scatter_add_(1, answers[places], votes)
        return torch.log(found / found.sum(dim=1, keepdim=True).clamp(min=1e-30) + 1 / (classes * (k + 1)))

    return logits


def _unit(rows: Rows) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rows), dim=1)
