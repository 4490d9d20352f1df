"""What keeps a network from learning its images by heart."""

from __future__ import annotations

from typing import Any

from torch import nn

from fovea.data.options import Augmentation
from fovea.experiments.ideas.change import Change, Idea, Shape, replaced, told_otherwise
from fovea.layers.drop_path import DropPath
from fovea.layers.stochastic_depth import StochasticDepth

DROPOUTS = (nn.Dropout, nn.Dropout2d)


def _kept(network: nn.Module, _shape: Shape) -> int:
    return replaced(network, lambda part: nn.Identity() if isinstance(part, DROPOUTS) and part.p > 0 else None)


def _whole_depth(network: nn.Module, _shape: Shape) -> int:
    def kept(part: Any) -> nn.Module | None:
        drops = (isinstance(part, StochasticDepth) and part.survival < 1) or isinstance(part, DropPath)
        return nn.Identity() if drops else None

    return replaced(network, kept)


DROPOUT = Idea(
    words="dropout",
    source="Hinton et al. 2012, arXiv:1207.0580",
    without={"nothing": Change(words="every unit kept", network=_kept)},
    where="networks with hidden full layers, GoogLeNet, MobileNet, EfficientNet",
)
STOCHASTIC_DEPTH = Idea(
    words="branches left out at random while training",
    source="Huang et al. 2016, arXiv:1603.09382; Larsson et al. 2016, arXiv:1605.07648",
    without={"nothing": Change(words="every branch kept", network=_whole_depth)},
    where="EfficientNet, NASNet and AmoebaNet",
)
AUGMENTATION = Idea(
    words="varied training images",
    source="LeCun et al. 1998, section III; Krizhevsky, Sutskever and Hinton 2012, section 4.1",
    without={"nothing": Change(words="images as they are", options=told_otherwise(augmentation=Augmentation()))},
    where="recipes that vary their images",
)
LABEL_SMOOTHING = Idea(
    words="smoothed labels",
    source="Szegedy et al. 2015, arXiv:1512.00567, section 7",
    without={"nothing": Change(words="labels as they are", options=told_otherwise(label_smoothing=0.0))},
    where="recipes that smooth labels",
)
WEIGHT_DECAY = Idea(
    words="weight decay",
    source="Krogh and Hertz 1991",
    without={"nothing": Change(words="none", options=told_otherwise(weight_decay=0.0))},
    where="recipes that decay weights",
)
