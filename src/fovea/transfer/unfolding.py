"""Batch normalisation that was folded away gets statistics again, so that the network can be trained on.

Whoever exports a network for prediction alone often folds each normalisation into the convolution before it, and leaves
one that only adds a bias. In training it would divide by the batch's deviation, of which the weights know nothing: the
network would forget all at once.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fovea.data.fitted import Fitted
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Chosen, Split
from fovea.randomness import key, permutation
from fovea.runtime.model import batch_of

IMAGES = 256  # of which the statistics are taken


def folded_norms(network: nn.Module) -> list[nn.Module]:
    """The batch normalisations that only add a bias: mean 0, the same deviation for all channels, gain 1."""
    return [module for module in network.modules() if _is_folded(module)]


def unfolded(network: nn.Module, split: Split, spec: Preprocessing, *, seed: int = 0) -> int:
    """Give folded normalisations the statistics of images, and the gain and bias with which they do what they did.

    The network's logits stay as they are, up to rounding; in training, batches are normalised by about what they were
    before the weights were folded.

    Args:
        network: Changed in place; its mode stays.
        split: Training images, of which 256 are drawn.
        spec: How they are prepared.
        seed: Draws them.

    Returns:
        How many normalisations were changed.
    """
    norms = folded_norms(network)
    if not norms:
        return 0
    chosen = np.sort(permutation(key(seed, "unfolding"), len(split))[:IMAGES])
    images = Fitted(Chosen(split.images, chosen), torch.from_numpy(split.labels[chosen]), spec, None)
    sums = {norm: _Sums() for norm in norms}
    with ExitStack() as stack, torch.no_grad():
        stack.callback(network.train, network.training)
        network.eval()
        for norm, each in sums.items():
            stack.callback(norm.register_forward_pre_hook(each.of).remove)
        for pixels in images.batches(batch_of(spec.image_size)):
            network(spec.normalise(pixels))
        for norm, each in sums.items():
            _restore(norm, *each.moments())
    return len(norms)


class _Sums:
    """Per channel: how many values, their sum and that of their squares."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def of(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps = inputs[0].double().transpose(0, 1).flatten(1)
        self.count += maps.shape[1]
        self.first = self.first + maps.sum(1)
        self.second = self.second + maps.square().sum(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.first / self.count
        return mean, (self.second / self.count - mean.square()).clamp(min=0)


def _is_folded(module: Any) -> bool:
    if (
        not isinstance(module, nn.modules.batchnorm._BatchNorm)
        or module.running_mean is None
        or module.running_var is None
    ):
        return False
    mean, variance = module.running_mean, module.running_var
    alike = not mean.any() and bool((variance == variance[0]).all()) and bool((module.weight == 1).all())
    return alike and bool(module.bias.any())  # a fresh one adds nothing yet


def _restore(norm: Any, mean: Tensor, variance: Tensor) -> None:
    gain = (norm.running_var.double() + norm.eps).rsqrt()  # what it multiplied by
    deviation = (variance + norm.eps).sqrt()
    norm.bias.copy_(norm.bias + gain * mean)
    norm.weight.copy_(gain * deviation)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
