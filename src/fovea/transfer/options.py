"""What a comparison of ways is told. Standard library only: the command line reads it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fovea.errors import require

Similar = Literal["auto", "yes", "no"]


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """Which ways are tried, and how."""

    ways: str = ""
    """scratch, lower:K, probe, svm, knn, finetune, gradual, both; probe:STAGE takes features of a stage, finetune:STAGE
    trains from one upwards. Where none are named: scratch,lower:3,probe,svm,knn,finetune."""
    image_size: int | None = None
    """Side of the network's images in pixels; that of the weights where none is given."""
    similar: Similar = "auto"
    """Whether the images are like those that the weights were made with; auto takes colour for yes, grey for no."""
    seed: int = 42
    """Fresh weights, folds, order and augmentation are functions of it."""
    epochs: int = 0
    """Of fine-tuning, and twice as many from scratch; 0 takes 300 / √images, from 3 to 30."""
    batch_size: int = 0
    """Images of a step (short: -b); 0 takes 32, or 64 from 10,000 images on."""
    lr: float = 0.0
    """Highest learning rate of fine-tuning, and five times as much from scratch; 0 takes 0.01."""
    precision: Literal["auto", "float32", "float32-fused", "bf16", "bf16-depthwise", "bf16-fused"] = "auto"
    """The arithmetic of training; features are always extracted in float32."""
    workers: int = 0
    """Threads that decode and vary images; 0 takes one a core (short: -j)."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            UsageError: with the value and the range.
        """
        for name in ("epochs", "batch_size", "lr", "workers"):
            require(name, getattr(self, name), 0 <= getattr(self, name) < float("inf"), "0 or more")
        if self.image_size is not None:
            require("image_size", self.image_size, self.image_size >= 1, "1 or more")

    def changes(self, *, fresh: bool) -> dict[str, Any]:
        """What of training is told otherwise than by the recipe.

        Args:
            fresh: From scratch, or with lower stages alone taken over.
        """
        told: dict[str, Any] = {"precision": self.precision, "workers": self.workers, "seed": self.seed}
        told |= {"epochs": self.epochs * (2 if fresh else 1)} if self.epochs else {}
        told |= {"batch_size": self.batch_size} if self.batch_size else {}
        return told | ({"lr": self.lr * (5 if fresh else 1)} if self.lr else {})
