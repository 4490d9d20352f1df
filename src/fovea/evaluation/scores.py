"""The result of judging a model: a frozen value that prints itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.evaluation import calibration, metrics
from fovea.evaluation.intervals import bootstrap_intervals


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good a model is on one split.

    Args:
        split: The split's name.
        images: How many images were judged; each counts once.
        top1: Fraction right, in [0, 1].
        top1_interval: Its 95 % Wilson interval.
        k: 5, or the number of classes where there are fewer.
        top_k: Fraction whose label is among the k most probable.
        negative_log_likelihood: In nats; lower is better.
        classes: Class names.
        confusion: Counts, rows true, columns predicted.
        logits: Of every image (n, k), in the split's order, from which any other figure follows.
        labels: Indices into the classes (n).
    """

    split: str
    images: int
    top1: float
    top1_interval: tuple[float, float]
    k: int
    top_k: float
    negative_log_likelihood: float
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    logits: Float[Tensor, "n k"] = field(repr=False, compare=False)
    labels: Int[Tensor, "n"] = field(repr=False, compare=False)

    @property
    def right(self) -> Bool[NDArray[np.bool_], "n"]:
        """Whether each image's most probable class is its own, in the split's order."""
        found: NDArray[np.bool_] = (metrics.predicted(self.logits) == self.labels).numpy()
        return found

    @property
    def recall(self) -> dict[str, float | None]:
        """Of each class's images the fraction that was recognised; None for a class without images."""
        rows = self.confusion.sum(axis=1)
        return {name: float(self.confusion[i, i] / rows[i]) if rows[i] else None for i, name in enumerate(self.classes)}

    def summary(self) -> dict[str, Any]:
        """The numbers without the matrix, as they go into a bundle."""
        return {
            "images": self.images,
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            f"top{self.k}": self.top_k,
            "negative_log_likelihood": self.negative_log_likelihood,
        }

    def details(self, *, seed: int = 0) -> dict[str, Any]:
        """What a report says beyond the summary: every figure's interval, classes weighed alike, calibration, classes.

        Each `<figure>_interval` is [low, high] at 95 %; None stands for what is not defined.

        Args:
            seed: What the bootstrap's samples of the images are drawn from.
        """
        found = bootstrap_intervals(self.logits, self.labels, seed=seed)
        of_classes = zip(self.classes, metrics.by_class(self.logits, self.labels), found.f1, strict=True)
        top_k = metrics.wilson_interval(round(self.top_k * self.images), self.images)
        figures = {
            f"top{self.k}_interval": top_k,
            "negative_log_likelihood_interval": found.negative_log_likelihood,
            "balanced_accuracy": metrics.balanced_accuracy(self.confusion),
            "balanced_accuracy_interval": found.balanced_accuracy,
            "macro_f1": metrics.macro_f1(self.confusion),
            "macro_f1_interval": found.macro_f1,
            "brier_score": calibration.brier_score(self.logits, self.labels),
            "brier_score_interval": found.brier_score,
            "expected_calibration_error": calibration.reliability(self.logits, self.labels).expected_error,
            "expected_calibration_error_interval": found.expected_calibration_error,
        }
        return {
            **_known(figures),
            "bootstrap": {"samples": found.resamples, "seed": found.seed},
            "classes": {name: _known(asdict(each) | {"f1_interval": f1}) for name, each, f1 in of_classes},
            "hardest": [self.classes[place] for place in metrics.hardest(self.confusion)],
            "most_confused": [
                {"class": self.classes[row], "taken_for": self.classes[column], "images": count}
                for row, column, count in metrics.most_confused(self.confusion)
            ],
        }

    def __str__(self) -> str:
        low, high = self.top1_interval
        wrong = self.images - round(self.top1 * self.images)
        return (
            f"{self.split}: top-1 accuracy {self.top1:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"{wrong:,} of {self.images:,} images wrong; top-{self.k} {self.top_k:.2%}; "
            f"negative log-likelihood {self.negative_log_likelihood:.4f}"
        )


def score(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"], *, split: str, classes: tuple[str, ...]) -> Scores:
    """Scores from logits and labels.

    Raises:
        ShapeError: logits and labels disagree on the number of images.
    """
    k = min(5, len(classes))
    top1 = metrics.top_k_accuracy(logits, labels, k=1)
    images = len(labels)
    return Scores(
        split=split,
        images=images,
        top1=top1,
        top1_interval=metrics.wilson_interval(round(top1 * images), images),
        k=k,
        top_k=metrics.top_k_accuracy(logits, labels, k=k),
        negative_log_likelihood=metrics.negative_log_likelihood(logits, labels),
        classes=classes,
        confusion=metrics.confusion(logits, labels),
        logits=logits,
        labels=labels,
    )


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures and intervals as JSON has them: lists for pairs, None for NaN."""
    return {
        key: None if np.isnan(value).any() else list(value) if isinstance(value, tuple) else value
        for key, value in figures.items()
    }
