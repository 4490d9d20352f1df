"""How weights start and move."""

from __future__ import annotations

from torch import nn

from fovea.experiments.ideas.change import Change, Idea, InNetwork, Shape, told_otherwise
from fovea.layers.initialisation import WEIGHTED, Initialisation, gaussian, glorot_uniform, he_normal, initialise


def _started(scheme: Initialisation) -> InNetwork:
    def change(network: nn.Module, _shape: Shape) -> int:
        initialise(network, scheme)
        return sum(isinstance(part, WEIGHTED) for part in network.modules())

    return change


INITIALISATION = Idea(
    words="the network's own initialisation",
    source="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852",
    without={
        "gaussian": Change(words="deviation 0.01 everywhere, as AlexNet", network=_started(gaussian(0.01))),
        "glorot": Change(words="Glorot's", network=_started(glorot_uniform())),
        "he": Change(words="He's by fan-in", network=_started(he_normal())),
    },
    where="every network",
)
MOMENTUM = Idea(
    words="momentum",
    source="Polyak 1964; Sutskever et al. 2013",
    without={
        "nothing": Change(words="each gradient by itself", options=told_otherwise(momentum=0.0, nesterov=False)),
    },
    where="recipes with momentum",
)
WARMUP = Idea(
    words="a warm-up of the learning rate",
    source="He et al. 2015, arXiv:1512.03385, section 4.2; Goyal et al. 2017, arXiv:1706.02677",
    without={"nothing": Change(words="the whole rate at once", options=told_otherwise(warmup_epochs=0.0))},
    where="recipes with a warm-up",
)
WEIGHT_AVERAGE = Idea(
    words="averaged weights",
    source="Polyak and Juditsky 1992",
    without={"nothing": Change(words="the last weights", options=told_otherwise(ema=0.0, swa_epochs=0))},
    where="recipes with --ema or --swa-epochs",
)
