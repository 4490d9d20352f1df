"""Class activation maps: which places of a stage's maps speak for what is explained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ModelError
from fovea.explain.aims import Unit, logits_of
from fovea.explain.places import spatial_place, watched
from fovea.explain.question import Answer, Question, enlarged, gradient, joined, share_missed
from fovea.runtime.features import output_layer

Maps = Float[Tensor, "n k i j"]
Weighing = Callable[[Maps, Maps], Float[Tensor, "n i j"]]  # of maps and their gradient

EXACT = 1e-4  # relative: how near a head must be to a mean over places and a linear layer


def grad_cam(question: Question) -> Answer:
    """The layer's maps, weighted by the mean of their gradients; what is negative is cut off.

    Source: Selvaraju et al. 2016, arXiv:1610.02391, equations 1 and 2.
    """
    return _cam(question, "grad_cam", lambda maps, grown: _weighted(maps, grown.mean((2, 3), keepdim=True)))


def grad_cam_plus_plus(question: Question) -> Answer:
    """As Grad-CAM, a map's weight being a weighted mean of its positive gradients, so that several objects count alike.

    Source: Chattopadhyay et al. 2017, arXiv:1710.11063, equations 10 and 19 (of an exponential of the score).
    """
    return _cam(question, "grad_cam_plus_plus", _plus_plus)


def layer_cam(question: Question) -> Answer:
    """The layer's maps, each place weighted by its own positive gradient; serves early layers as well.

    Source: Jiang et al. 2021, "LayerCAM: Exploring hierarchical class activation maps for localization", IEEE
    Transactions on Image Processing 30.
    """
    return _cam(question, "layer_cam", lambda maps, grown: _weighted(maps, grown.clamp_min(0)))


def cam(question: Question) -> Answer:
    """The class activation map itself: what each place adds to the logit, with its sign, where the head allows it.

    The head must be the mean over all places and a linear layer, or the mean alone (Network in Network). The mean of
    the map over its places, and the layer's bias, then are the logit.

    Raises:
        ModelError: the head is another, or a unit is asked for.

    Source: Zhou et al. 2015, arXiv:1512.04150.
    """
    if isinstance(question.aim, Unit):
        raise ModelError(f"cam explains a class, not a unit ({question.aim}); take grad_cam")
    return joined([_exact(part) for part in question.parts()])


def _cam(question: Question, what: str, weighing: Weighing) -> Answer:
    place = spatial_place(question.network, question.images, question.layer, what)
    answers = []
    for part in question.parts():
        with watched(place, cut=True) as seen:
            score = part.score(part.images)
        maps = seen()
        map_ = weighing(maps.detach(), gradient(score, maps, f"layer {place.name}")).clamp_min(0)
        answers.append(Answer(enlarged(map_.detach(), part.images), layer=place.name))
    return joined(answers)


def _weighted(maps: Tensor, weights: Tensor) -> Tensor:
    return (weights * maps).sum(1)


def _plus_plus(maps: Tensor, grown: Tensor) -> Tensor:
    square, cube = grown**2, grown**3
    below = 2 * square + maps.sum((2, 3), keepdim=True) * cube
    alpha = torch.where(grown == 0, 0, square / torch.where(below == 0, 1, below))
    return _weighted(maps, (alpha * grown.clamp_min(0)).sum((2, 3), keepdim=True))


def _exact(question: Question) -> Answer:
    network, targets = question.network, torch.as_tensor(question.aim)
    place = spatial_place(network, question.images, question.layer, "cam")
    entered: list[Tensor] = []
    last = output_layer(network)
    handle = last.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    try:
        with torch.no_grad(), watched(place) as seen:
            logits = logits_of(network, question.images)
    finally:
        handle.remove()
    maps = seen()
    rows = torch.arange(len(maps), device=maps.device)
    targets = targets.to(maps.device)
    if _near(maps.mean((2, 3)), logits):
        map_, bias = maps[rows, targets], logits.new_zeros(len(maps))
    elif isinstance(last, nn.Linear) and entered and _near(maps.mean((2, 3)), entered[0]):
        map_ = torch.einsum("nk,nkij->nij", last.weight[targets], maps)
        bias = logits.new_zeros(len(maps)) if last.bias is None else last.bias[targets]
    else:
        raise ModelError(
            f"cam is exact where a linear layer reads the mean of the last maps, and behind {place.name} this network "
            "does something else; take grad_cam"
        )
    promised = logits[rows, targets] - bias
    pairs = zip((map_.mean((1, 2)) - promised).tolist(), promised.tolist(), strict=True)
    gap = torch.tensor([share_missed(*pair) for pair in pairs])
    return Answer(enlarged(map_, question.images), gap=gap, layer=place.name)


def _near(means: Tensor, found: Tensor) -> bool:
    return means.shape == found.shape and bool((means - found).abs().max() <= EXACT * found.abs().max())
