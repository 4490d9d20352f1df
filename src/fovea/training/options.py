"""What a training run is told. Standard library only: the command line reads it without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fovea.data.options import Augmentation, Interpolation
from fovea.errors import UsageError, require

Loss = Literal["cross_entropy", "map"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """A recipe: everything that decides what a training run computes, and where it computes it."""

    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 64
    """Images of one step, over all ranks (short: -b)."""
    lr: float = 0.05
    """Learning rate at its peak, after the warm-up."""
    momentum: float = 0.9
    """Momentum of stochastic gradient descent."""
    nesterov: bool = True
    """Nesterov's form of the momentum."""
    weight_decay: float = 5e-4
    """L2 penalty on weights; biases and normalisation are left out."""
    warmup_epochs: float = 1.0
    """The learning rate rises linearly for so long, then falls with half a cosine to zero."""
    loss: Loss = "cross_entropy"
    """cross_entropy; or map, LeNet-5's own maximum a posteriori criterion of 1998."""
    label_smoothing: float = 0.0
    """How much of each label is spread evenly over all classes, from 0 to below 1."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    resize: int = 0
    """Shorter side of an image in pixels before the centre is cut for the network; 0 is the network's size."""
    interpolation: Interpolation = "bilinear"
    """How images are resized."""
    cache: int = 0
    """Keep the images decoded on disk with this shorter side (256), so that later epochs decode nothing; 0 does not."""
    mean_image: bool = False
    """Subtract the mean of each pixel, as AlexNet did, not of each channel."""
    mean: tuple[float, ...] | None = None
    """Subtracted from pixels scaled to [0, 1], per channel; measured on the training images where none is given."""
    std: tuple[float, ...] | None = None
    """Divides after the mean is subtracted, per channel; measured where none is given."""
    seed: int = 42
    """Weights, order, augmentation and dropout are functions of it."""
    device: Device = "auto"
    """Where the network runs."""
    precision: Precision = "32-true"
    """Lightning Fabric's name of the arithmetic."""
    workers: int = 0
    """Threads that read and vary images ahead; 0 takes one a core where images are decoded or varied one by one, and
    none where whole batches lie in memory. The result does not depend on it (short: -j)."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            UsageError: with the value and the range.
        """
        for name in ("epochs", "batch_size"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("weight_decay", "warmup_epochs", "workers", "resize", "cache"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("momentum", "label_smoothing"):
            require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
        require("lr", self.lr, 0 < self.lr < float("inf"), "above 0 and finite")
        require("nesterov", self.nesterov, not self.nesterov or self.momentum > 0, "off where momentum is 0")
        given = (self.mean is None) == (self.std is None)
        require("mean and std", (self.mean, self.std), given, "given together or not at all")
        free = self.mean is None or not self.mean_image
        require("mean_image", self.mean_image, free, "off where mean is given")
        mixing = self.augmentation.mixup > 0 or self.augmentation.cutmix > 0
        require("loss", self.loss, not (mixing and self.loss == "map"), "cross_entropy where images are mixed")
        if self.std is not None:
            require("std", self.std, all(s > 0 for s in self.std), "above 0")

    def meaning(self) -> dict[str, Any]:
        """The options that decide the result, as JSON: all but the number of workers."""
        return {key: value for key, value in asdict(self).items() if key != "workers"}


def from_json(values: dict[str, Any]) -> TrainingOptions:
    """Options from what `dataclasses.asdict` made of them.

    Raises:
        UsageError: a name that is no option, or a value outside its range.
    """
    try:
        known = _with_tuples(values)
        known["augmentation"] = Augmentation(**_with_tuples(known.get("augmentation", {})))
        return TrainingOptions(**known)
    except TypeError as error:
        raise UsageError(f"configuration: {error}") from error


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
