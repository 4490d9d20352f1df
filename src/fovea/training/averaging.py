"""Averages of the weights, which are judged and kept in the weights' stead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fovea.training.options import Averaging


class WeightAverage:
    """The mean of a network's weights and running statistics over steps or epochs; counts stay the network's.

    Args:
        network: Whose weights, on the device where they are trained.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.averages = {name: tensor.detach().clone() for name, tensor in _floating(network)}

    def step(self, done: int) -> None:
        """After an update; `done` counts it and all before."""

    def epoch(self, done: int) -> None:
        """After an epoch; `done` counts it and all before."""

    def tensors(self) -> dict[str, Tensor]:
        """The averages, by the names of the network's tensors."""
        return self.averages

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        for name, average in self.averages.items():
            average.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averages for its weights, and its own again afterwards."""
        current = [tensor.detach() for _, tensor in _floating(self.network)]
        own = [tensor.clone() for tensor in current]
        averages = list(self.averages.values())
        torch._foreach_copy_(current, averages)
        try:
            yield
        finally:
            torch._foreach_copy_(averages, current)  # whoever estimates statistics meanwhile changes the averages
            torch._foreach_copy_(current, own)

    def adopt(self) -> None:
        """The network takes the averages for good."""
        torch._foreach_copy_([tensor.detach() for _, tensor in _floating(self.network)], list(self.averages.values()))

    def _move(self, share: float) -> None:
        """Go so far from the average towards the weights as they are: 1 is all the way."""
        current = [tensor.detach() for _, tensor in _floating(self.network)]
        torch._foreach_lerp_(list(self.averages.values()), current, share)


class ExponentialAverage(WeightAverage):
    """The moving average over steps; while it is young it forgets faster, so that it does not remember the start.

    Args:
        network: Whose weights.
        decay: How much of the average stays at each step, in (0, 1); at first (1 + step) / (10 + step), where less.

    Source: Tan and Le 2019, arXiv:1905.11946, section 5 (0.9999); the young average as in TensorFlow's
    ExponentialMovingAverage with num_updates.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay

    def step(self, done: int) -> None:
        """Move by one step."""
        self._move(1 - min(self.decay, (1 + done) / (10 + done)))


class StochasticAverage(WeightAverage):
    """The even mean of the weights at the ends of the last epochs; before them it is the weights themselves.

    Args:
        network: Whose weights.
        first: The epoch after which the mean begins, counted from 1.

    Source: Izmailov et al. 2018, arXiv:1803.05407.
    """

    def __init__(self, network: nn.Module, first: int) -> None:
        super().__init__(network)
        self.first = first

    def epoch(self, done: int) -> None:
        """Take in the weights as they are now."""
        self._move(1 / max(1, done - self.first + 1))


def average_of(network: nn.Module, options: Averaging, epochs: int) -> WeightAverage | None:
    """What the options ask for, or None.

    Args:
        network: Whose weights.
        options: Which average.
        epochs: Of the run.
    """
    if options.ema > 0:
        return ExponentialAverage(network, options.ema)
    if options.swa_epochs > 0:
        return StochasticAverage(network, epochs - options.swa_epochs + 1)
    return None


def _floating(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in network.state_dict(keep_vars=True).items() if tensor.is_floating_point()]
