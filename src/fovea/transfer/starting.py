"""Where training starts with weights that are there: the network, how its images were prepared, where it comes from."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from torch import nn

from fovea.data.preprocessing import Preprocessing
from fovea.training.options import TrainingOptions


class Start(NamedTuple):
    """A network with weights, and what is known of them.

    Args:
        network: Filled, for the classes, channels and size that are wanted.
        preprocessing: What its images went through where the weights were made, at the network's size; None where
            nobody knows.
        origin: Where the weights come from, for the configuration and the bundle; "source" is the place, which a bundle
            leaves out. None for fresh ones.
        classes: What the weights' own logits are for; None where nobody knows.
    """

    network: nn.Module
    preprocessing: Preprocessing | None = None
    origin: dict[str, Any] | None = None
    classes: tuple[str, ...] | None = None


def adjusted(spec: Preprocessing, *, image_size: int, in_channels: int | None = None) -> Preprocessing:
    """The same preparation for another size and other channels: the margin around the centre in proportion.

    A mean image of another size becomes its mean over all pixels. Between one channel and three the numbers of all
    channels become their mean.

    Args:
        spec: As the weights were made.
        image_size: Side of the network's images in pixels.
        in_channels: Channels of them; as they were where None.
    """
    channels = in_channels or spec.in_channels
    alike = (image_size, channels) == (spec.image_size, spec.in_channels)
    mean, std = spec.mean if alike else _by_channel(spec), spec.std
    if channels != spec.in_channels:
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    resize = round(spec.resize * image_size / spec.image_size)
    return dataclasses.replace(
        spec, image_size=image_size, in_channels=channels, resize=resize, mean=tuple(mean), std=tuple(std)
    )


def adopted(options: TrainingOptions, spec: Preprocessing) -> TrainingOptions:
    """Options by which images are prepared for training as they were where the weights were made.

    Args:
        options: The recipe; the rest of it stays.
        spec: At the network's size; of a mean image its mean over all pixels is taken.
    """
    told = {"mean": _by_channel(spec), "std": tuple(spec.std), "mean_image": False}
    return options.but(**told, resize=spec.resize, interpolation=spec.interpolation)


def _by_channel(spec: Preprocessing) -> tuple[float, ...]:
    """The mean of each channel, of a mean image too."""
    if len(spec.mean) <= spec.in_channels:
        return tuple(spec.mean)
    pixels = spec.image_size**2
    return tuple(sum(spec.mean[c * pixels : (c + 1) * pixels]) / pixels for c in range(spec.in_channels))
