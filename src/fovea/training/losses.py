"""What training minimises: a function of logits and labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from fovea.training.options import TrainingOptions

Criterion = Callable[[Tensor, Tensor], Tensor]

# The paper asks for a positive constant j and names no value. With ours, wrong classes push while their distance is
# not far above it.
RUBBISH_DISTANCE = 1.0


def criterion(options: TrainingOptions) -> Criterion:
    """The loss that the options name, of logits and labels; of mixed images, of logits and each class's share."""
    if options.loss == "map":
        return map_criterion
    return partial(F.cross_entropy, label_smoothing=options.label_smoothing)


def map_criterion(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, ""]:
    """LeNet-5's maximum a posteriori criterion, mean over the batch; lower is better, it can fall below 0.

    Logits are minus the distances y of a radial basis output. The loss is y of the true class plus
    log(exp(-j) + sum of exp(-y)): cross-entropy with one more class, rubbish, at the constant distance j, which keeps
    the codes from collapsing onto the features and stops pushing classes that are far away already.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", equation 9.
    """
    rubbish = logits.new_full((len(logits), 1), -RUBBISH_DISTANCE)
    return F.cross_entropy(torch.cat([logits, rubbish], dim=1), labels)
