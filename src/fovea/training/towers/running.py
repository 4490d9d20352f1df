"""A run with the towers apart: what trains are the halves, what is judged and saved is the whole network."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from fovea.errors import UsageError
from fovea.training import optimisers
from fovea.training.averaging import WeightAverage, average_of
from fovea.training.checkpoints import State
from fovea.training.options import TrainingOptions
from fovea.training.towers.apart import TowersApart, across_ranks, apart, two_devices
from fovea.training.towers.halving import towers_of


@dataclass(frozen=True)
class ApartState(State):
    """The whole network's state, made of its halves before it is saved, and given to them after it is read.

    Args:
        halves: What trains.
        own_optimiser: What updates the halves.
        own_average: Of the halves' weights.
    """

    halves: TowersApart = field(kw_only=True)
    own_optimiser: torch.optim.Optimizer = field(kw_only=True)
    own_average: WeightAverage | None = None

    def gather(self) -> None:
        """Bring the halves into the whole; with two ranks, both must."""
        assert self.optimiser is not None
        self.halves.merge_into(self.network)
        self.halves.merge_state(self.own_optimiser, self.network, self.optimiser)
        if self.average is not None and self.own_average is not None:
            self.average.load(self.halves.merged(self.own_average.tensors()))

    def spread(self) -> None:
        """Give the whole to the halves."""
        assert self.optimiser is not None
        self.halves.take_from(self.network)
        self.halves.take_state(self.optimiser, self.network, self.own_optimiser)
        if self.average is not None and self.own_average is not None:
            self.own_average.load(self.halves.halved(self.average.tensors()))


def check_apart(network: nn.Module, options: TrainingOptions, ranks: int) -> None:
    """Refuse what cannot be trained with its towers apart.

    Raises:
        UsageError: the network has no two towers, or an option does not go with it.
    """
    towers_of(network)
    told = options.execution
    if ranks not in (1, 2):
        raise UsageError(f"towers_apart takes one process with two devices, or 2 ranks, not {ranks}")
    refused = {
        "optimiser muon": options.update.optimiser == "muon",  # half a matrix is orthogonalised otherwise
        "compile": told.compile,
        "recompute": told.recompute,
        "watch": options.keeping.watch,
    }
    for name, asked in refused.items():
        if asked:
            raise UsageError(f"towers_apart does not go with {name}; leave one of them away")


def state_apart(network: nn.Module, options: TrainingOptions, device: torch.device, ranks: int) -> ApartState:
    """The halves of a network with what trains them.

    Raises:
        MachineError: there are no two devices.
    """
    halves = apart(network, two_devices(device)) if ranks == 1 else across_ranks(network, device)
    return ApartState(
        network,
        optimisers.build(network, options.update),
        average_of(network, options.averaging, options.epochs),
        halves=halves,
        own_optimiser=optimisers.build(halves, options.update),
        own_average=average_of(halves, options.averaging, options.epochs),
    )
