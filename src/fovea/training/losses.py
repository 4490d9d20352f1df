"""What training minimises: a function of what the network gives and of the batch it was given.

Every loss sees each image's classes as shares that sum to 1, so that images may be mixed. Two things change the shares:

- A class's weight says how much its images count. Balanced weights are n / (k · count), of n images in k classes, so
  that an average image counts 1. An image's weight is the mean of its classes', by their shares.
- Label smoothing s leaves 1 - s of an image's weight where it was, and spreads s evenly over all classes.

The mean over the batch divides by the number of images, never by the sum of their weights: a batch in parts, or on
ranks, then has the gradient of the whole. PyTorch divides by the weights, and smooths in their proportions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.data.batch import Batch
from fovea.errors import DataError
from fovea.training.distillation import Teacher
from fovea.training.options import Objective

Outputs = Tensor | tuple[Tensor, dict[str, Tensor]]
"""Logits (n, k), or they and those of the auxiliary classifiers by the stage that each reads."""

Loss = Callable[[Outputs, Batch], Tensor]
"""The mean over the batch, a scalar in float32; lower is better."""

Measure = Callable[[Tensor, Tensor], Tensor]  # of logits, and of labels or shares

# The paper asks for a positive constant j and names no value. With ours, wrong classes push while their distance is
# not far above it.
RUBBISH_DISTANCE = 1.0


def objective(
    told: Objective, *, label_counts: Int[Tensor, "k"] | NDArray[np.integer[Any]], teacher: Teacher | None = None
) -> Loss:
    """The loss that the options name.

    The auxiliary classifiers have the same loss, of the same labels, and count `told.auxiliary` each. The teacher
    speaks of the network's own logits alone: (1 - share) · loss + share · distillation + auxiliary · their losses.

    Args:
        told: The options.
        label_counts: How many training images each class has, over all ranks; read where weights are balanced.
        teacher: Whose logits are learned too, by its share.

    Raises:
        DataError: weights are to be balanced, and no class has an image.
    """
    measure, share = _measure(told, label_counts), told.teacher_share

    def loss(outputs: Outputs, batch: Batch) -> Tensor:
        logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, {})
        logits = logits.float()  # they may come in bfloat16, whose sums are coarse
        targets = batch.targets(logits.shape[1])
        found = measure(logits, targets)
        if teacher is not None and share > 0:
            taught = distillation(logits, teacher(batch.images), temperature=told.temperature)
            found = (1 - share) * found + share * taught
        for each in auxiliary.values():
            found = found + told.auxiliary * measure(each.float(), targets)
        return found

    return loss


def balanced_weights(label_counts: Int[Tensor, "k"]) -> Float[Tensor, "k"]:
    """The balanced weights n / (k · count), of n images in the k classes that have any; their mean over images is 1.

    A class without images is not counted, and its weight is 0: no image asks for it.

    Raises:
        DataError: no class has an image.
    """
    counts = label_counts.double()
    present = counts > 0
    if not present.any():
        raise DataError("class_weights (=balanced) needs images of at least one class; label_counts has none")
    weights = counts.sum() / (present.sum() * counts)
    return torch.where(present, weights, 0.0).float()


def smoothed(
    shares: Float[Tensor, "n k"], *, smoothing: float = 0.0, weights: Float[Tensor, "k"] | None = None
) -> Float[Tensor, "n k"]:
    """Shares whose sum is the image's weight, of which the smoothed part is spread evenly over all classes.

    Source: of smoothing, Szegedy et al. 2015, "Rethinking the Inception architecture", arXiv:1512.00567, section 7.
    """
    if weights is not None:
        shares = shares * weights.to(shares.device)
    if smoothing == 0:
        return shares
    return (1 - smoothing) * shares + smoothing * shares.mean(dim=1, keepdim=True)


def cross_entropy(logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Minus the logarithm of each class's probability, by its share; the sum over classes, the mean over the batch."""
    return F.cross_entropy(logits, targets)


def binary_cross_entropy(logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Each class by itself, present or not, with the share as the probability that it is; the mean over all.

    The mean is over classes, too, as in the paper's code: gradients are k times smaller than a sum's, which LAMB and
    Adam do not notice, and for which SGD wants a larger learning rate. A smoothed label is 1 - s + s/k of its class and
    s/k of any other. The paper's recipes round mixed shares above 0.2 up to 1, the others down to 0; ours stay as
    they are.

    Source: Wightman, Touvron and Jégou 2021, "ResNet strikes back", arXiv:2110.00476.
    """
    weights = targets.sum(dim=1, keepdim=True)  # 1, or the image's weight
    return ((weights - targets) * logits - weights * F.logsigmoid(logits)).mean()


def focal(logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"], *, gamma: float = 2.0) -> Float[Tensor, ""]:
    """Cross-entropy whose every term counts (1 - p)^gamma: what is easy already counts little.

    The paper has it for two classes, with p from a sigmoid; here p is the softmax's. At gamma 0 it is cross-entropy.

    Source: Lin et al. 2017, "Focal loss for dense object detection", arXiv:1708.02002, equation 4.
    """
    log_p = F.log_softmax(logits, dim=1)
    # Of p = 1 exactly, a power below 1 has an infinite slope: keep off it.
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(targets * missing**gamma * log_p).sum(dim=1).mean()


def map_criterion(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, ""]:
    """LeNet-5's maximum a posteriori criterion, mean over the batch; lower is better, it can fall below 0.

    Logits are minus the distances y of a radial basis output. The loss is y of the true class plus
    log(exp(-j) + sum of exp(-y)): cross-entropy with one more class, rubbish, at the constant distance j, which keeps
    the codes from collapsing onto the features and stops pushing classes that are far away already.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", equation 9.
    """
    rubbish = logits.new_full((len(logits), 1), -RUBBISH_DISTANCE)
    return F.cross_entropy(torch.cat([logits, rubbish], dim=1), labels)


def distillation(
    logits: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"], *, temperature: float
) -> Float[Tensor, ""]:
    """T² · KL(teacher ‖ student) of the probabilities at temperature T, mean over the batch; 0 where they are equal.

    T² keeps the gradient's size, which falls with its square. Every image counts the same, whatever its classes weigh.

    Args:
        logits: The student's.
        teacher: The teacher's, which receive no gradient.
        temperature: What both are divided by before the softmax, above 0.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv:1503.02531, section 2.
    """
    ours = F.log_softmax(logits / temperature, dim=1)
    theirs = F.log_softmax(teacher.detach() / temperature, dim=1)
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def _measure(told: Objective, label_counts: Tensor | NDArray[np.integer[Any]]) -> Measure:
    if told.loss == "map":
        return map_criterion
    weights = balanced_weights(torch.as_tensor(label_counts)) if told.class_weights == "balanced" else None
    if told.loss == "cross_entropy" and weights is None:
        return partial(F.cross_entropy, label_smoothing=told.label_smoothing)  # the same, and the quickest
    of_shares: Measure = partial(focal, gamma=told.focal_gamma)
    if told.loss != "focal":
        of_shares = binary_cross_entropy if told.loss == "bce" else cross_entropy

    def measure(logits: Tensor, targets: Tensor) -> Tensor:
        shares = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        return of_shares(logits, smoothed(shares, smoothing=told.label_smoothing, weights=weights))

    return measure
