"""What a network is to learn of some data, for the recipes that fit themselves to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fovea.architectures.catalogue import Usual, published
from fovea.training.recipes.task import Task

if TYPE_CHECKING:
    from fovea.data.sets import Data

LIKELY = 50_000  # training images, as long as nothing was opened
COLOURS = 3  # channels of what is taken for photographs


def likely(network: str, image_size: int | None = None) -> Task:
    """A task before the data is opened, so that what is wrong with a command is told at once.

    Args:
        network: Its name.
        image_size: Side of its images in pixels, where it is told.
    """
    return Task(network, images=LIKELY, side=image_size or _side(network))


def task_of(network: str, data: Data, image_size: int | None = None) -> Task:
    """A network and the data that was opened; images in colour are taken for photographs.

    Args:
        network: Its name.
        data: As it was opened.
        image_size: Side of the network's images in pixels, where it is told.
    """
    images = len(data.train) if data.train is not None else LIKELY
    side = image_size or _side(network, data.image_size)
    return Task(network, images=images, side=side, photographs=data.channels == COLOURS)


def _side(network: str, otherwise: int | None = None) -> int:
    """Pixels of the network's images; of one's own network those of the data, or the usual."""
    return published()[network].image_size if network in published() else otherwise or Usual().image_size
