"""A network with weights that are there already: as they are, or with a new head, other channels, another size."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from fovea import bundle as bundles
from fovea.architectures.catalogue import architecture_of, build
from fovea.errors import ModelError, UsageError
from fovea.files import RUN_FILE
from fovea.runtime.checkpoint import judged_weights
from fovea.runtime.find import find_model
from fovea.transfer.importing import read_weights
from fovea.transfer.mapping import mapped
from fovea.transfer.preparations import for_channels

_log = logging.getLogger("fovea")


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
    made = architecture_of(filled)
    assert made is not None  # it was built by its name
    own = {"num_classes": made.num_classes, "in_channels": made.in_channels, "image_size": made.image_size}
    wanted = {size: own[size] if value is None else value for size, value in sizes.items()}
    if wanted == own:
        return filled
    network = build(name, **wanted, seed=seed, **made.options)
    taken, fresh = network.state_dict(), set()
    first = next(key for key, tensor in taken.items() if tensor.ndim == 4)
    for key, tensor in filled.state_dict().items():
        carried = for_channels(tensor, wanted["in_channels"]) if key == first else tensor
        if carried.shape == taken[key].shape:
            taken[key].copy_(carried)
        else:
            fresh.add(key)
    head = {key for key in fresh if _is_output(network, key)}
    if fresh - head:
        some = ", ".join(sorted(fresh - head)[:10])
        raise ModelError(f"{name} for {wanted} cannot take {weights}: {some} would have another shape")
    for size in ("num_classes", "in_channels"):
        if wanted[size] != own[size]:
            what = "a fresh output layer" if size == "num_classes" else "first kernels added up or repeated"
            _log.warning("%s: %s %s became %s: %s", weights, size, own[size], wanted[size], what)
    return network


def _filled(name: str, weights: str | Path, image_size: int | None, options: dict[str, Any]) -> nn.Module:
    """The network with the weights as they are."""
    path = Path(weights)
    if path.is_dir() or any((folder / RUN_FILE).is_file() for folder in path.absolute().parents[:2]):
        found = find_model(path)
        network = bundles.load(found.bundle).network
        if found.checkpoint is not None:
            bundles.fill(network, judged_weights(found.checkpoint), str(found.checkpoint))
        made = architecture_of(network)
        if made is None or made.name != name:
            raise ModelError(f"{weights}: holds {made.name if made else type(network).__name__}, not {name}")
        if options:
            raise UsageError(f"{weights}: knows its options; leave {', '.join(options)} away")
        return network
    foreign, _ = read_weights(str(weights))
    sizes = {} if image_size is None else {"image_size": image_size}
    return mapped(name, foreign.tensors, sizes=sizes, options=options, source=str(weights)).network


def _is_output(network: nn.Module, key: str) -> bool:
    """Whether it is a tensor of a layer that gives logits."""
    heads = [network.get_submodule("head"), *network.get_submodule("auxiliary").children()]
    names = ["head", *(f"auxiliary.{name}" for name, _ in network.get_submodule("auxiliary").named_children())]
    return any(
        key.startswith(f"{prefix}.{list(head.named_children())[-1][0]}.")
        for prefix, head in zip(names, heads, strict=True)
    )
