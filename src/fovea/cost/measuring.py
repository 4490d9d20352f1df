"""A training step or a forward pass run for real, and how long it and each of its operations took."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fovea.cost.recorder import Operation, Recorder
from fovea.cost.running import dtype_of, evaluating, image_batch
from fovea.cost.step import Setting, loss_of
from fovea.errors import ModelError

REPEATS = 3


class Workout:
    """A network with images and an optimiser, ready to take steps; a copy, so that the network stays as it is.

    Args:
        network: With weights.
        setting: How it is trained.
        optimiser: "sgd" with momentum, or "adam".
        noise: Random numbers to make the images of, at least as many; drawn where None.

    Raises:
        ModelError: the network has no weights.
    """

    def __init__(
        self, network: nn.Module, setting: Setting, *, optimiser: str = "sgd", noise: Tensor | None = None
    ) -> None:
        if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
            raise ModelError("a network without weights cannot be measured: build it off the meta device")
        form = torch.channels_last if setting.channels_last else torch.contiguous_format
        self.network = copy.deepcopy(network).to(memory_format=form)
        self.setting = setting
        shape = image_batch(setting.in_channels, setting.image_size, setting.batch_size).shape
        if noise is None:
            noise = torch.randn(shape.numel(), generator=torch.Generator().manual_seed(0))
        self.images = noise[: shape.numel()].view(shape).to(dtype_of(network), memory_format=form)
        self.labels = torch.zeros(setting.batch_size, dtype=torch.int64)
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimiser: torch.optim.Optimizer | None = None
        if learning and optimiser == "sgd":
            self.optimiser = torch.optim.SGD(learning, lr=1e-9, momentum=0.9, fused=True)
        elif learning:
            self.optimiser = torch.optim.Adam(learning, lr=1e-9, fused=True)

    def step(self, recorder: Recorder | None = None) -> None:
        """Forward, backward, update; the gradients are let go before the next step, as training does."""
        if self.optimiser is not None:
            self.optimiser.zero_grad()
        with self._autocast(), evaluating(self.network, training=True):
            loss = loss_of(self.network(self.images), self.labels)
        if recorder is not None:
            recorder.phase = "backward"
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]  # torch types it not
        if recorder is not None:
            recorder.phase = "update"
        if self.optimiser is not None:
            self.optimiser.step()

    def forward(self, recorder: Recorder | None = None) -> None:
        """A forward pass in evaluation mode."""
        if recorder is not None:
            recorder.phase = "evaluation"
        with self._autocast(), torch.no_grad(), evaluating(self.network):
            self.network(self.images)

    def timed(self, run: Callable[[], None]) -> float:
        """The fewest seconds of some runs, after one that warms up."""
        run()
        found = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
        return min(found)

    def operations(self, run: Callable[[Recorder], None]) -> list[Operation]:
        """The operations of a run, each with the fewest seconds that it took in some runs, after one that warms up."""
        run(Recorder(run=timed_call))
        runs = [self._observed(run) for _ in range(REPEATS)]
        if len({len(found) for found in runs}) > 1:
            return runs[-1]
        for together in zip(*runs, strict=True):
            together[-1].seconds = min(operation.seconds for operation in together)
        return runs[-1]

    def _observed(self, run: Callable[[Recorder], None]) -> list[Operation]:
        recorder = Recorder(run=timed_call)
        with recorder.watching(self.network):
            run(recorder)
        return recorder.trace.operations

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self.setting.precision == "bf16" else nullcontext()


def timed_call(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, float]:
    """An operation's output and its seconds."""
    began = time.perf_counter()
    output = function(*args, **kwargs)
    return output, time.perf_counter() - began
