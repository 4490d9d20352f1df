"""Judging while training: the network, or the average of its weights, on a split, by all ranks together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from fovea.data.fitted import Fitted
from fovea.evaluation.scores import Scores, score
from fovea.layers.batch_norm import estimate_statistics
from fovea.runtime.model import network_logits
from fovea.training.averaging import StochasticAverage
from fovea.training.checkpoints import State
from fovea.training.planning import Prepared

STATISTICS = 10_000  # training images from which an average's batch statistics are estimated


def validation(made: Prepared, state: State) -> Callable[[], Scores]:
    """What judges the network as it is, or its average in its place, on the validation images."""
    split, average = made.splits["validation"], state.average

    def validate() -> Scores:
        state.gather()
        if average is None:
            return judge(made, split, "validation")
        with average.in_place():
            if isinstance(average, StochasticAverage):
                _estimate(made)
            return judge(made, split, "validation")

    return validate


def _estimate(made: Prepared) -> None:
    """Running statistics belong to the weights they were measured with; an average of weights needs its own."""
    norms = [m for m in made.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    whole = dataclasses.replace(made.batches, rank=0, ranks=1)  # the same ones in every process
    count = max(1, min(len(whole), STATISTICS // whole.batch_size))
    batches = whole.epoch(0)
    estimate_statistics(made.network, (next(batches).images for _ in range(count)))
    batches.close()


def judge(made: Prepared, fitted: Fitted, name: str) -> Scores:
    """Every rank judges its share of the batches; the sum, in which every image stands once, is scored by all."""
    fabric, ranks, classes = made.fabric, made.ranks, made.data.classes
    logits = network_logits(made.network, fitted, fabric.device, rank=ranks.rank, ranks=ranks.count)
    if ranks.count > 1:
        summed = fabric.all_reduce(logits.expand(-1, len(classes)).contiguous(), reduce_op="sum")
        assert isinstance(summed, torch.Tensor)
        logits = summed.cpu()
    return score(logits, fitted.labels, split=name, classes=classes)
