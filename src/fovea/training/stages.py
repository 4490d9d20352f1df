"""Which stages of a network learn, and how fast each: a function of the epoch alone, so that resuming needs no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from fovea.errors import UsageError, require, suggestion
from fovea.layers.whitening import first_convolution
from fovea.training.options import Stages

HEAD = "head"
BIAS_EPOCHS = 3  # in which the bias of a whitening convolution learns; its filters never do


class Stagewise:
    """The stages of a network, from below, of which some are frozen.

    What is frozen gets no gradient, and runs as it will predict: the statistics of its batch normalisation stay as they
    are, and its dropout drops nothing. Whatever did not learn before never does.

    Of a whitening first convolution the filters never learn, and the bias does in the first three epochs. Several
    ranks agree at the start on the gradients that they share: there a bias at rest still gets one; `resting` names it.

    Args:
        network: The stages of its `features`, then what stands beside them as one: the head with all auxiliary
            classifiers. Of a network without `features` they are its own parts, and the last one is the head.
        told: What is frozen, and for how long.
        shared: Whether several ranks share gradients.

    Raises:
        UsageError: there is no stage of that name or number, or nothing would be left to learn.
    """

    def __init__(self, network: nn.Module, told: Stages, *, shared: bool = False) -> None:
        self.network, self.told, self.shared = network, told, shared
        self.stages = stages_of(network)
        self.frozen = count_of(told.freeze, [name for name, _ in self.stages], "freeze")
        self.learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.whitening = first_convolution(network) if told.whiten else None
        self.resting: list[Tensor] = []  # what has a gradient in this epoch that is to be dropped

    def begin(self, epoch: int) -> None:
        """Put the network into training mode, with those stages frozen that are so in an epoch, counted from 0."""
        self.network.train()
        if not self.told.freeze and not self.told.thaw_epochs and self.whitening is None:
            return
        for parameter in self.learning:
            parameter.requires_grad_(True)
        if self.whitening is not None:
            self._rest(self.whitening, epoch)
        for _, modules in self.stages[: self.frozen_in(epoch)]:
            for module in modules:
                module.eval().requires_grad_(False)

    def begin_widest(self, epochs: int) -> None:
        """As in the epoch in which the most learns: what an optimiser and ranks are to know of."""
        self.begin(epochs - 1 if self.whitening is None else 0)

    def _rest(self, whitening: nn.Conv2d, epoch: int) -> None:
        """Take from the whitening convolution the gradients that it does not need in an epoch."""
        whitening.weight.requires_grad_(False)
        if whitening.bias is None or epoch < BIAS_EPOCHS:
            self.resting = []
        elif self.shared:
            self.resting = [whitening.bias]
        else:
            whitening.bias.requires_grad_(False)

    def frozen_in(self, epoch: int) -> int:
        """How many stages are frozen in an epoch, from below."""
        every = self.told.thaw_epochs
        return self.frozen if every == 0 else max(self.frozen, len(self.stages) - 1 - epoch // every)

    def head(self) -> set[nn.Parameter]:
        """The parameters of the head and the auxiliary classifiers."""
        return {parameter for module in self.stages[-1][1] for parameter in module.parameters()}

    def scales(self) -> dict[nn.Parameter, float]:
        """What each parameter's learning rate is multiplied by, where it is not 1."""
        if self.told.layer_decay == 1:
            return {}
        highest = len(self.stages) - 1
        return {
            parameter: self.told.layer_decay ** (highest - place)
            for place, (_, modules) in enumerate(self.stages)
            for module in modules
            for parameter in module.parameters()
        }

    @contextmanager
    def restored(self) -> Iterator[None]:
        """What learned before this learns again afterwards."""
        try:
            yield
        finally:
            for parameter in self.learning:
                parameter.requires_grad_(True)


def stages_of(network: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    """The stages from below by name, each with its modules; the head is the last."""
    features = getattr(network, "features", None)
    if isinstance(features, nn.Module) and any(True for _ in features.children()):
        below = [(name, [stage]) for name, stage in features.named_children()]
        return [*below, (HEAD, [module for module in network.children() if module is not features])]
    parts = [(name, [part]) for name, part in network.named_children() if any(True for _ in part.parameters())]
    return [*parts[:-1], (HEAD, parts[-1][1])] if parts else [(HEAD, [network])]


def count_of(stage: str, names: list[str], option: str) -> int:
    """How many stages from below are meant by their number, by the last one's name, or by "features", which is all.

    Args:
        stage: What was said; "" is none.
        names: Of the stages, the head last; it is never meant.
        option: What the message calls it.

    Raises:
        UsageError: there is no such stage, or not so many.
    """
    below = names[:-1]
    if stage in ("", "features"):
        return len(below) if stage else 0
    if stage.isascii() and stage.isdigit():
        require(option, stage, int(stage) <= len(below), f"at most {len(below)}, the stages below the head")
        return int(stage)
    if stage not in below:
        raise UsageError(
            f"{option} (={stage}) must be a stage, how many from below, or features for all of them; there are "
            f"{', '.join(below)}.{suggestion(stage, below)}"
        )
    return below.index(stage) + 1
