"""A network run no further than a place, on images in [0, 1] of whatever size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError, NumbersError, ShapeError
from fovea.explain.places import Place
from fovea.runtime.features import stages_of
from fovea.runtime.model import Model

Reach = Callable[[Float[Tensor, "n c h w"]], Tensor]  # from images to what leaves a place, differentiable


class _Reached(Exception):
    """No error: the way out of a network whose rest need not run."""


def reach(network: nn.Module, place: Place) -> Reach:
    """From images, as the network receives them, to what leaves the place; what lies behind it does not run.

    So images may be of sizes that only the rest of the network would refuse. What the network does to its images in
    place, it does to a copy.
    """
    staged: Any = network
    if stages_of(network).get(place.name) is place.module:
        return lambda images: staged.stage_outputs(images.clone(), [place.name])[place.name]

    def run(images: Tensor) -> Tensor:
        found: list[Tensor] = []

        def leaving(_: nn.Module, __: object, output: Tensor) -> None:
            found.append(output)
            raise _Reached

        handle = place.module.register_forward_hook(leaving)
        try:
            network(images.clone())
        except _Reached:
            pass
        finally:
            handle.remove()
        if not found:
            raise ModelError(f"{place.name} did not run for these images; choose another stage or layer")
        return found[0]

    return run


def fits(read: Reach, images: Float[Tensor, "n c h w"]) -> bool:
    """Whether images of this size get as far as the place, and leave something there."""
    try:
        with torch.no_grad():
            return read(images[:1]).numel() > 0
    except (RuntimeError, ShapeError):  # torch's own words for a kernel larger than its map
        return False


def received(model: Model, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images in [0, 1] as the model's network receives them, differentiable.

    Of other sizes than the network's they may be, too: where its mean is an image, each channel's mean takes its place.
    """
    return normalised(model.bundle.preprocessing, images.to(model.device))


def normalised(spec: Preprocessing, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """As `received`, by the preprocessing alone, on the images' own device."""
    spec = _at(spec, (images.shape[2], images.shape[3]))
    return spec.normalise((images * spec.scale).contiguous(memory_format=torch.channels_last))


def black(model: Model) -> Float[Tensor, "1 c s s"]:
    """A black image as the model's network receives it."""
    spec = model.bundle.preprocessing
    return received(model, torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size))


def rounded(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images in [0, 1] as pictures of 8 bits keep them."""
    return (images.detach() * 255).round() / 255


def pictures_of(images: Float[Tensor, "n c h w"]) -> NDArray[np.uint8]:
    """Images in [0, 1] as pictures (n, h, w, c)."""
    return (images.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def require_finite(numbers: Tensor, what: str, step: int) -> None:
    """Refuse to go on with what is no number.

    Raises:
        NumbersError: NaN or infinity is among them.
    """
    if not bool(torch.isfinite(numbers).all()):
        raise NumbersError(
            f"{what} became NaN or infinite at step {step}; take a smaller step, or see that the weights are finite"
        )


def _at(spec: Preprocessing, size: tuple[int, int]) -> Preprocessing:
    if size == (spec.image_size, spec.image_size) or len(spec.mean) in (1, spec.in_channels):
        return spec
    mean = torch.tensor(spec.mean).view(spec.in_channels, -1).mean(1)
    return replace(spec, mean=tuple(mean.tolist()))
