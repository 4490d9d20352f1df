"""What in the images that excite a unit most excites it: each patch projected back to the pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.errors import ModelError
from fovea.explain.aims import unit_of
from fovea.explain.options import ATTRIBUTIONS, ExplainOptions
from fovea.explain.places import Place, place_of
from fovea.explain.question import Question
from fovea.explain.rules import deconvnet, guided_backpropagation
from fovea.explain.units import Excited, Units
from fovea.explain.untouched import untouched
from fovea.runtime.model import Model

WAYS = {"deconvnet": deconvnet, "guided_backpropagation": guided_backpropagation}


class Projections(NamedTuple):
    """The patches of units, projected back.

    Args:
        words: The method, for people; nothing where none is defined for the network.
        patches: By channel one for each of its images, (c, h, w) as its crop, with sign.
    """

    words: str
    patches: dict[int, tuple[NDArray[np.float32], ...]]


def projections(model: Model, split: Split, found: Units) -> Projections:
    """Project by the deconvnet, by guided backpropagation where there are no switches, else not at all.

    Args:
        model: It runs in evaluation mode and is afterwards as it was.
        split: In which the units were sought.
        found: What excites them.

    Source: Zeiler and Fergus 2013, arXiv:1311.2901, Figure 2.
    """
    with untouched(model.network):
        place = place_of(model.network, _received(model, split, found.units[0]), found.place)
        for name in WAYS:
            try:
                patches = {unit.channel: _projected(model, split, place, unit, name) for unit in found.units}
            except ModelError:
                continue
            return Projections(ATTRIBUTIONS[name], patches)
    return Projections("", {})


def _projected(
    model: Model, split: Split, place: Place, unit: Excited, name: str
) -> tuple[Float32[NDArray[np.float32], "c h w"], ...]:
    images = _received(model, split, unit)
    options = ExplainOptions(batch_size=model.batch_size)
    question = Question(network=model.network, images=images, aim=unit_of(place, unit.channel), options=options)
    detail = WAYS[name](question).detail
    assert detail is not None  # both ways tell the channels of a pixel apart
    whole = detail.float().cpu().numpy()
    boxes = [each.box for each in unit.images]
    return tuple(own[:, top:bottom, left:right] for own, (top, bottom, left, right) in zip(whole, boxes, strict=True))


def _received(model: Model, split: Split, unit: Excited) -> torch.Tensor:
    spec = model.bundle.preprocessing
    fitted = Fitted(split.images, torch.zeros(len(split), dtype=torch.int64), spec, None)
    return spec.normalise(fitted.gather(np.array([each.row for each in unit.images])).to(model.device))
