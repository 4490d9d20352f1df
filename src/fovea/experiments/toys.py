"""Two demonstrations to follow by hand: gradients through four nodes, and an image that depends on its batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

NODES = 4
WEIGHTS = (0.5, 1.0, 2.0, 5.0)
FIRST = 0.5  # what the first node is given
BATCHES = 3  # in which the same image is seen


class Chain(NamedTuple):
    """Four nodes in a row, each a function of a weight times the node before.

    Args:
        function: What each node computes.
        weight: The one weight of all.
        values: What each node gives.
        gradients: How the last node's value changes with what goes into each node, from the first to the last.
    """

    function: str
    weight: float
    values: tuple[float, ...]
    gradients: tuple[float, ...]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Each function, and its derivative by what it gives.
FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "sigmoid": (_sigmoid, lambda y: y * (1 - y)),
    "tanh": (math.tanh, lambda y: 1 - y * y),
    "relu": (lambda x: max(x, 0.0), lambda y: float(y > 0)),
}


def chain(function: str, weight: float) -> Chain:
    """The chain's values going forward, and its gradients going back: at each node a factor of weight times slope.

    A sigmoid's slope is at most 1/4, so four nodes pass on at most (weight / 4)⁴: the gradient vanishes for weights
    below 4. ReLU passes on weight⁴: it neither vanishes nor explodes at 1, and explodes above.

    Args:
        function: "sigmoid", "tanh" or "relu".
        weight: Of every node.
    """
    compute, slope = FUNCTIONS[function]
    values: list[float] = []
    for _ in range(NODES):
        values.append(compute(weight * (values[-1] if values else FIRST)))
    gradient, gradients = 1.0, []
    for value in reversed(values):
        gradient *= slope(value) * weight
        gradients.append(gradient)
    return Chain(function, weight, tuple(values), tuple(reversed(gradients)))


def chains() -> str:
    """A table of the chains of every function and weight."""
    from fovea.experiments.ablation import table

    head = ("function", "weight", *(f"gradient at node {node}" for node in range(1, NODES + 1)))
    made = [chain(function, weight) for function in FUNCTIONS for weight in WEIGHTS]
    lines = [(each.function, f"{each.weight:g}", *(f"{value:.3g}" for value in each.gradients)) for each in made]
    said = "a factor of weight × slope at each node: a sigmoid's slope is at most 1/4, tanh's and ReLU's at most 1"
    return "\n".join([table([head, *lines]), said])


def batches(seed: int = 42) -> str:
    """A table: the logits of one image among others, evaluated as trained and as one should."""
    import torch
    from torch import nn

    from fovea.experiments.ablation import table

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        image = torch.rand(1, 1, 8, 8)
        others = [torch.rand(7, 1, 8, 8) * (place + 1) for place in range(BATCHES)]
    lines = [("mode", "its batch", "logits of the same image")]
    with torch.no_grad():
        for mode, training in (("train", True), ("eval", False)):
            network.train(training)
            for place, more in enumerate(others, start=1):
                kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
                logits = network(torch.cat([image, more]))[0]
                network.load_state_dict(kept, strict=False)
                lines.append((mode, f"among batch {place}", "  ".join(f"{value:+.4f}" for value in logits.tolist())))
    said = "in training mode the others of its batch decide what is said of an image: switch before you judge"
    return "\n".join([table(lines), said])
