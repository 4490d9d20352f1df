"""Deeper VGGs from a trained shallow one: its first four convolutions and its full layers, the rest drawn."""

from __future__ import annotations

import logging
from typing import Final

from torch import nn

from fovea.architectures.catalogue import architecture_of, build
from fovea.errors import ModelError

SHALLOW: Final = "vgg11"  # the paper's net A
DEEPER: Final = ("vgg13", "vgg16_c", "vgg16", "vgg19")  # B to E
STAGES: Final = ("conv1", "conv2", "conv3")  # where the four convolutions of A lie: one, one, and two

_log = logging.getLogger("fovea")


def deepens(shallow: str, deeper: str) -> bool:
    """Whether the paper starts the deeper of two networks from the other one."""
    return shallow == SHALLOW and deeper in DEEPER


def deepened(shallow: nn.Module, name: str, *, seed: int | None, source: str) -> nn.Module:
    """A deeper VGG with the first four convolutions and the three full layers of a trained vgg11.

    The first four convolutions of a deeper net have other channels than those of A (64, 64, 128, 128 against 64, 128,
    256, 256), so that "the first four" cannot be meant by their number. Here each goes to its own place in its own
    stage: the first of conv1 and conv2, and the first two of conv3. What lies between starts as it does without A. What
    was taken is told to the logger "fovea".

    Args:
        shallow: vgg11 with its weights; sizes and options are taken from it.
        name: One of `DEEPER`.
        seed: Of what is drawn.
        source: What messages call the weights.

    Raises:
        ModelError: a tensor would have another shape.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.1.
    """
    made = architecture_of(shallow)
    assert made is not None  # it was built by its name
    sizes = {"num_classes": made.num_classes, "in_channels": made.in_channels, "image_size": made.image_size}
    network = build(name, **sizes, seed=seed, **made.options)
    own, given = network.state_dict(), shallow.state_dict()
    places = (*(f"features.{stage}." for stage in STAGES), "head.")
    taken = [key for key in given if key.startswith(places)]
    other = [key for key in taken if key not in own or own[key].shape != given[key].shape]
    if other:
        raise ModelError(f"{name} cannot start from {source}: {', '.join(other[:10])} would have another shape")
    for key in taken:
        own[key].copy_(given[key])
    drawn = len(own) - len(taken)
    _log.warning(
        "%s: of its %s, %s takes the first four convolutions and the full layers, %d tensors; %d are drawn",
        *(source, made.name, name, len(taken), drawn),
    )
    return network
