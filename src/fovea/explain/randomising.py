"""Whether an explanation shows the network or only the image: does it change as the weights are destroyed?"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fovea import randomness
from fovea.errors import ModelError
from fovea.explain.faithfulness import Explainer, maps_of
from fovea.runtime.features import HEAD, stages_of

GROUPS = 10  # at most so many, of a network without stages
THRESHOLD = 0.5  # of the rank correlation with every weight destroyed, above which a picture hardly changed
AT_ONCE = 2**18  # numbers shuffled at a time: a large layer's order would take more memory than the layer

Groups = dict[str, list[tuple[str, nn.Module]]]  # by name the modules with weights of their own, with their paths


@dataclass(frozen=True, kw_only=True)
class Randomisation:
    """How far a method's maps stay as the weights are destroyed, from the top down.

    Args:
        method: Its name.
        groups: What was destroyed in turn: the head, then the stages from the last to the first.
        similarities: After each of them, how much the maps are still ordered as the intact network's: the mean over the
            images of Spearman's rank correlation of absolute values, in [-1, 1]; 1 is unchanged.
        threshold: The similarity in the end above which the method fails.
    """

    method: str
    groups: tuple[str, ...]
    similarities: tuple[float, ...]
    threshold: float = THRESHOLD

    @property
    def failed(self) -> bool:
        """Whether the maps hardly change though every weight is destroyed: they show the image, not the network."""
        return self.similarities[-1] > self.threshold

    def __str__(self) -> str:
        first, last = self.similarities[0], self.similarities[-1]
        if self.failed:
            return (
                f"{self.method}: its picture hardly changes (rank correlation {last:.2f} with every weight destroyed): "
                "it has failed the test, it shows the image and not the network"
            )
        after = f"{first:.2f} after {self.groups[0]}, " if len(self.groups) > 1 else ""
        return (
            f"{self.method}: its picture changes as weights are destroyed (rank correlation {after}{last:.2f} in "
            "the end)"
        )


def randomised(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    targets: Int[Tensor, "n2"],
    explain: Explainer,
    *,
    name: str | None = None,
    seed: int = 0,
) -> Randomisation:
    """Destroy a network's weights from the top down, and explain the same classes of the same images each time.

    A map that depends on what the network has learned must change. Destroyed are the head, then the stages from the
    last to the first, each staying so; of a network without stages its layers, in the reverse of the order in which it
    defines them, in ten groups at most. A layer's numbers are shuffled among their places, so that their scale stays,
    and numbers that are all the same, such as biases of zero, stay as they are. The channels of a batch normalisation
    change places whole: gain, shift, mean and variance together.

    A map that is the same everywhere, or not finite, has no order, and counts as a similarity of 0: where a destroyed
    network answers every image with the same, that is what a method may show.

    Args:
        network: Any module from images to logits; a copy is destroyed.
        images: As it receives them.
        targets: The class of each, such as the intact network says.
        explain: The method; it sees all images at once and cuts them into batches itself.
        name: The method's; its function's where None.
        seed: Of the shuffling.

    Raises:
        ShapeError: targets, or the maps that the method gives, do not fit the images.
        ModelError: the network has no weights, or cannot be copied.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292, section 3, the cascading
    randomisation; they draw weights anew. The threshold is ours.
    """
    destroyed = _copied(network)
    groups = _groups(destroyed)
    intact = _orders(maps_of(network, images, targets, explain))
    similarities = []
    for group in groups.values():
        for path, module in group:
            _shuffle(module, path, seed)
        found = _orders(maps_of(destroyed, images, targets, explain))
        similarities.append(float((intact * found).sum(axis=1).mean()))
    return Randomisation(
        method=name or str(getattr(explain, "__name__", "the method")),
        groups=tuple(groups),
        similarities=tuple(similarities),
    )


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever a module's parts raise that do not allow it
        raise ModelError(
            f"{type(network).__name__} cannot be copied ({error}), and only a copy's weights may be destroyed; keep "
            "in it nothing but parameters, buffers and modules"
        ) from error


def _groups(network: nn.Module) -> Groups:
    """The modules with weights of their own, in the groups in which they are destroyed."""
    own = [(path, module) for path, module in network.named_modules() if any(True for _ in module.parameters(False))]
    if not own:
        raise ModelError(f"{type(network).__name__} has no weights that could be destroyed")
    stages = stages_of(network)
    if not stages:
        return _gathered([(path or type(network).__name__, module) for path, module in reversed(own)])
    groups: Groups = {HEAD: [], **{stage: [] for stage in reversed(stages)}}
    for path, module in own:
        stage = next((each for each in stages if f"{path}.".startswith(f"features.{each}.")), HEAD)
        groups[stage].append((path, module))
    return {name: group for name, group in groups.items() if group}


def _gathered(own: list[tuple[str, nn.Module]]) -> Groups:
    """Neighbours together, in groups of about equal numbers of modules."""
    count = min(GROUPS, len(own))
    ends = [place * len(own) // count for place in range(count + 1)]
    parts = [own[start:end] for start, end in itertools.pairwise(ends)]
    return {part[0][0] if len(part) == 1 else f"{part[0][0]} to {part[-1][0]}": part for part in parts}


@torch.no_grad()
def _shuffle(module: nn.Module, path: str, seed: int) -> None:
    if isinstance(module, _BatchNorm):
        order = _permutation(seed, path, module.num_features)
        for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
            if tensor is not None:
                tensor.copy_(tensor[order.to(tensor.device)])
        return
    for name, parameter in module.named_parameters(recurse=False):
        flat = parameter.flatten().clone()
        parts = math.ceil(len(flat) / AT_ONCE)
        for part in range(parts):  # every so-manyth number, so that each part comes from the whole of the layer
            some = flat[part::parts]
            order = _permutation(seed, f"{path}.{name}", len(some), part)
            flat[part::parts] = some[order.to(flat.device)]
        parameter.copy_(flat.view_as(parameter))


def _permutation(seed: int, path: str, length: int, part: int = 0) -> Int[Tensor, "m"]:
    return torch.from_numpy(randomness.permutation(randomness.key(seed, f"randomised {path}", part), length))


def _orders(maps: Float[Tensor, "n h w"]) -> Float[NDArray[np.float64], "n m"]:
    """The ranks of each map's absolute values, centred and of length 1: their product is Spearman's correlation.

    Zeros where a map has no order, as it is constant or not finite.
    """
    from scipy.stats import rankdata  # slow to load

    values = maps.abs().flatten(1).double().numpy()
    ordered = np.isfinite(values).all(axis=1) & (values.min(axis=1) < values.max(axis=1))
    found = np.zeros_like(values)
    for place in np.flatnonzero(ordered):
        ranks = rankdata(values[place])
        ranks -= ranks.mean()
        found[place] = ranks / np.linalg.norm(ranks)
    return found
