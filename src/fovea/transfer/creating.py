"""A network with weights that are there already: as they are, or with a new head, other channels, another size."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from fovea import bundle as bundles
from fovea.architectures.catalogue import architecture_of, build
from fovea.errors import ModelError, UsageError
from fovea.runtime.checkpoint import is_checkpoint, judged_weights
from fovea.runtime.find import find_bundle
from fovea.transfer.importing import read_weights
from fovea.transfer.mapping import first_kernels, keys_of_classes, mapped
from fovea.transfer.preparations import for_channels

_log = logging.getLogger("fovea")
_TOLD = "%s: %s %s became %s: %s"


def create(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    **options: Any,
) -> nn.Module:
    """A network of the catalogue, initialised as its paper says, or with weights that are there already.

    With weights the numbers of classes and channels are theirs where none are given. For another number of classes the
    output layer is a fresh one, and for other channels the first kernels are added up (one channel) or repeated; both
    are told to the logger "fovea".

    Args:
        name: A name that `list_architectures` gives; or `file.py:Class`, `package.module:function` for a network of
            one's own, which is called with those of the sizes below that it takes.
        weights: A run folder, a bundle or a checkpoint of the same network; a .safetensors, .pth, .npz or .h5 file with
            our own, torchvision's or timm's names; "torchvision:NAME" or "timm:NAME". None for fresh ones.
        num_classes: Number of logits; the paper's, or the weights', where None.
        in_channels: Channels of the images; the paper's, or the weights', where None.
        image_size: Side of the square images in pixels; the paper's, or the bundle's, where None.
        seed: Makes fresh weights a function of this number, and leaves torch's generator as it was; where None they
            are drawn from torch's generator, as in torch's own layers.
        options: What the network's builder takes beside these; its docstring says.

    Raises:
        UsageError: an unknown name or option, or a number below 1.
        ShapeError: the network does not take this image_size.
        ModelError: weights that are damaged, hold code, or are of another network.
        MachineError: a library that is not installed, or cannot be reached.
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    if weights is None:
        return build(name, **sizes, seed=seed, **options)
    filled = _filled(name, weights, image_size, options)
    given = {size: value for size, value in sizes.items() if value is not None}
    return _adapted(filled, name, given, seed, str(weights))


def _adapted(filled: nn.Module, name: str, sizes: dict[str, int], seed: int | None, source: str) -> nn.Module:
    """The network for other classes, channels or another size, with all the tensors that keep their shapes."""
    made = architecture_of(filled)
    assert made is not None  # it was built by its name
    own = {"num_classes": made.num_classes, "in_channels": made.in_channels, "image_size": made.image_size}
    wanted = own | sizes
    if wanted == own:
        return filled
    network = build(name, **wanted, seed=seed, **made.options)
    taken, first = network.state_dict(), first_kernels(network)
    carried = filled.state_dict()
    if wanted["num_classes"] != own["num_classes"]:
        for key in keys_of_classes(network, name, {**wanted, **made.options}):
            del carried[key]
        _log.warning(_TOLD, source, "num_classes", own["num_classes"], wanted["num_classes"], "a fresh output layer")
    if wanted["in_channels"] != own["in_channels"]:
        carried[first] = for_channels(carried[first], wanted["in_channels"])
        how = "first kernels added up or repeated"
        _log.warning(_TOLD, source, "in_channels", own["in_channels"], wanted["in_channels"], how)
    other = [key for key, tensor in carried.items() if tensor.shape != taken[key].shape]
    if other:
        raise ModelError(f"{name} for {wanted} cannot take {source}: {', '.join(other[:10])} would have another shape")
    for key, tensor in carried.items():
        taken[key].copy_(tensor)
    return network


def _filled(name: str, weights: str | Path, image_size: int | None, options: dict[str, Any]) -> nn.Module:
    """The network with the weights as they are."""
    path = Path(weights)
    if path.is_dir():
        network = bundles.load(find_bundle(path)).network
        made = architecture_of(network)
        if made is None or made.name != name:
            raise ModelError(f"{weights}: holds {made.name if made else type(network).__name__}, not {name}")
        if options:
            raise UsageError(f"{weights}: knows its options; leave {', '.join(options)} away")
        return network
    tensors = judged_weights(path) if is_checkpoint(path) else read_weights(str(weights))[0].tensors
    sizes = {} if image_size is None else {"image_size": image_size}
    return mapped(name, tensors, sizes=sizes, options=options, source=str(weights)).network
