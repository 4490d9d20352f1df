"""Where in a network one looks: a stage or module by name, what leaves it, and the place that is meant by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ModelError, UsageError
from fovea.runtime.features import module_of, stages_of


class Place(NamedTuple):
    """A module of a network, and how it is called.

    Args:
        name: As the user says it: a stage such as "conv4_x", or a module's path.
        module: It.
        shape: Of what leaves it for one image: (channels, height, width), or (length,) behind the maps.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def maps(self) -> bool:
        """Whether maps leave it, be it of one place."""
        return len(self.shape) == 3

    @property
    def spatial(self) -> bool:
        """Whether what leaves it still has places: maps of more than one."""
        return self.maps and self.shape[1] * self.shape[2] > 1


def place_of(network: nn.Module, images: Float[Tensor, "n c h w"], name: str | None = None) -> Place:
    """The named place; where None, the last feature stage whose maps still have places.

    Args:
        network: In evaluation mode.
        images: Such as it takes; the first is run.
        name: A stage of the network's features such as "conv4_x", or any module's path such as "features.conv4_x.0".

    Raises:
        UsageError: there is no such place; the message has close matches.
        ModelError: the module does not run, runs more than once, or gives no tensor; or no place has maps.
    """
    return _default(network, images) if name is None else places_of(network, images, [name])[0]


def places_of(network: nn.Module, images: Float[Tensor, "n c h w"], names: Sequence[str]) -> list[Place]:
    """The named places, in the order of the names; the network runs once.

    Raises:
        UsageError, ModelError: as `place_of`.
    """
    modules = []
    for name in names:
        module, enters = module_of(network, name)
        if enters:
            raise UsageError(f"{name} names what enters the output layer; name a stage, or a module by its path")
        modules.append(module)
    return [_place(*each) for each in zip(names, modules, _run(network, images, modules), strict=True)]


def spatial_place(network: nn.Module, images: Float[Tensor, "n c h w"], name: str | None, what: str) -> Place:
    """As `place_of`, refusing a place without maps.

    Args:
        network: In evaluation mode.
        images: Such as it takes.
        name: As in `place_of`.
        what: Wants maps: the words before "needs".

    Raises:
        ModelError: what leaves the place has no extent.
    """
    place = place_of(network, images, name)
    if not place.spatial:
        told = "×".join(map(str, place.shape))
        last = _default(network, images).name
        raise ModelError(
            f"{place.name} gives {told} for an image, which has no spatial extent, and {what} needs maps; take an "
            f"earlier layer: the last with maps is {last}"
        )
    return place


@contextmanager
def watched(place: Place, *, cut: bool = False) -> Iterator[Callable[[], Tensor]]:
    """What leaves a place, as it leaves it; what follows works on a copy, so that nothing changes it in place.

    Args:
        place: Where.
        cut: What follows depends on it alone: the gradient goes back to it and no further, and what lies before it
            keeps nothing for the gradient.

    Yields:
        A function that gives the tensor once the network has run.
    """
    found: list[Tensor] = []

    def leaving(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept = output.detach().requires_grad_() if cut else output
        found[:] = [kept]
        return kept.clone()

    def last() -> Tensor:
        if not found:
            raise ModelError(f"{place.name} did not run for these images; choose another stage or layer")
        return found[0]

    handle = place.module.register_forward_hook(leaving)
    try:
        yield last
    finally:
        handle.remove()


def _default(network: nn.Module, images: Tensor) -> Place:
    """The last stage of the features that still has places; of other modules the last to end with such maps."""
    own = stages_of(network)
    named = own or {name: module for name, module in network.named_modules() if name}
    found = [
        (order, Place(name, module, shapes[0]))
        for (name, module), (order, shapes) in zip(
            named.items(), _ordered(network, images, list(named.values())), strict=True
        )
        if len(shapes) == 1
    ]
    with_maps = [each for each in found if each[1].spatial]
    if not with_maps:
        raise ModelError(f"{type(network).__name__} has no layer whose maps have more than one place")
    return max(with_maps, key=lambda each: each[0])[1]


def _place(name: str, module: nn.Module, shapes: list[tuple[int, ...]]) -> Place:
    if not shapes:
        raise ModelError(f"{name} did not run for this image; choose another stage or layer")
    if len(shapes) > 1:
        raise ModelError(
            f"{name} runs {len(shapes)} times for one image, so it is not one place; choose a stage or layer around it"
        )
    if not shapes[0]:
        raise ModelError(f"{name} ({type(module).__name__}) gives no single tensor; choose a stage or layer within it")
    return Place(name, module, shapes[0])


def _run(network: nn.Module, images: Tensor, modules: list[nn.Module]) -> list[list[tuple[int, ...]]]:
    return [shapes for _, shapes in _ordered(network, images, modules)]


def _ordered(network: nn.Module, images: Tensor, modules: list[nn.Module]) -> list[tuple[int, list[tuple[int, ...]]]]:
    """Of each module when it ended last, and the shapes it gave, one for each run; () where that was no tensor."""
    ends: dict[nn.Module, tuple[int, list[tuple[int, ...]]]] = {module: (-1, []) for module in modules}
    clock = iter(range(10**9))

    def leaving(module: nn.Module, _: object, output: object) -> None:
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        ends[module] = (next(clock), [*ends[module][1], shape])

    handles = [module.register_forward_hook(leaving) for module in ends]
    try:
        with torch.no_grad():
            network(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    return [ends[module] for module in modules]
