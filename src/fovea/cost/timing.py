"""How long a forward pass and a training step take: the bound, the estimate, and where it is wanted the measurement.

The bound is a roofline from this machine's own ceilings, the estimate a sum of prices from its calibration. Both are
known without running the network; `measured` runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from fovea.cost.calibration import Calibration
from fovea.cost.measuring import Workout
from fovea.cost.prices import Prices
from fovea.cost.recorder import Call, Operation
from fovea.cost.rows import Row, owner_of
from fovea.cost.step import Setting, forward_pass, training_step

Seconds = Callable[[Operation], float]
Place = tuple[str, int]  # a layer's path, and which run of it


@dataclass(frozen=True, kw_only=True)
class Time:
    """Seconds for a batch, in one of the three ways of knowing them.

    Args:
        forward: Of a forward pass in evaluation mode.
        step: Of a training step: forward, backward and update.
        phases: The step's seconds by phase.
        rows: Of every layer: seconds of its part in a forward pass, and of its part in a step.
    """

    forward: float
    step: float
    phases: dict[str, float]
    rows: dict[Place, tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        """The totals, as plain values; the rows stand with the report's."""
        return {"forward": self.forward, "step": self.step, "phases": self.phases}


def expected(network: nn.Module, setting: Setting, calibration: Calibration) -> tuple[Time, Time]:
    """The bound and the estimate, without running the network; for SGD with momentum."""
    prices = calibration.prices
    trace = forward_pass(network, setting)
    step = training_step(network, setting).trace
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    found = []
    for seconds, update in ((prices.bound, _bound_of_update), (prices.estimate, _price_of_update)):
        found.append(_time(trace.operations, step.operations, seconds, update(prices, learning)))
    return found[0], found[1]


def measured(network: nn.Module, setting: Setting) -> Time:
    """What it takes when it runs: a copy of the network is trained for a few steps on noise.

    Rows are timed operation by operation, the totals as a whole, so that these hold what Python needs too.

    Raises:
        ModelError: the network has no weights.
    """
    workout = Workout(network, setting)
    forward = workout.operations(workout.forward)
    step = workout.operations(workout.step)
    found = _time(forward, step, lambda operation: operation.seconds, 0.0)
    return replace(found, forward=workout.timed(workout.forward), step=workout.timed(workout.step))


def with_times(rows: Sequence[Row], times: dict[str, Time]) -> list[Row]:
    """The rows with their seconds; of several operations between layers of one module the first has those of all."""
    taken: set[Place] = set()
    found = []
    for row in rows:
        place = (row.path, row.nth)
        values: dict[str, Any] = {}
        for name, time in times.items() if row.runs and place not in taken else ():
            values[name], values[f"step_{name}"] = time.rows.get(place, (None, None))
        taken.add(place)
        found.append(replace(row, **values))
    return found


def _time(forward: Iterable[Operation], step: Iterable[Operation], seconds: Seconds, update: float) -> Time:
    step = list(step)
    rows: dict[Place, tuple[float, float]] = {}
    total = 0.0
    for operation in forward:
        total += (took := seconds(operation))
        _add(rows, operation, took, 0.0)
    phases = {"forward": 0.0, "backward": 0.0, "update": update}
    for operation in step:
        phases[operation.phase] += (took := seconds(operation))
        _add(rows, operation, 0.0, took)
    return Time(forward=total, step=sum(phases.values()), phases=phases, rows=rows)


def _add(rows: dict[Place, tuple[float, float]], operation: Operation, forward: float, step: float) -> None:
    owner: Call = owner_of(operation.call) or operation.call
    place = (owner.path, owner.nth)
    before = rows.get(place, (0.0, 0.0))
    rows[place] = (before[0] + forward, before[1] + step)


def _price_of_update(prices: Prices, parameters: int) -> float:
    count = 12 * parameters  # weights, gradients, momentum
    return prices.price("movement/_fused_sgd_", (math.log2(max(count, 1)),), 0, count)


def _bound_of_update(prices: Prices, parameters: int) -> float:
    return prices.ceilings.bound(0, 12 * parameters)
