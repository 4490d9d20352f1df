"""A network with weights that are there already: as they are, or with a new head, other channels, another size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fovea import bundle as bundles
from fovea.architectures.catalogue import architecture_of, build
from fovea.errors import ModelError, UsageError
from fovea.files import sha256
from fovea.runtime.checkpoint import is_checkpoint, judged_weights
from fovea.runtime.find import find_bundle
from fovea.transfer.deepening import deepened, deepens
from fovea.transfer.importing import preparation, read_weights, turn_round
from fovea.transfer.mapping import first_kernels, keys_of_classes, mapped
from fovea.transfer.preparations import SAYS, for_channels
from fovea.transfer.starting import Start, adjusted

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
        weights: A run folder, a bundle or a checkpoint of the same network; a run folder or bundle of vgg11 for a
            deeper VGG, which takes of it what the paper takes; a .safetensors, .pth, .npz or .h5 file with our own,
            torchvision's or timm's names; "torchvision:NAME" or "timm:NAME". None for fresh ones.
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
    return started(name, weights, sizes=sizes, seed=seed, **options).network


def started(
    name: str,
    weights: str | Path | None,
    *,
    sizes: Mapping[str, int | None],
    classes: Sequence[str] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Start:
    """As `create`, with what is known of the weights: how images were prepared for them, and where they come from.

    Args:
        name: As there.
        weights: As there.
        sizes: `num_classes`, `in_channels` and `image_size`, each as there.
        classes: The names that the network will tell apart: where the weights have as many others, or the same in
            another order, their output layer is made anew.
        seed: As there.
        options: As there.

    Raises:
        UsageError, ShapeError, ModelError, MachineError: as there.
    """
    if weights is None:
        return Start(build(name, **sizes, seed=seed, **options))
    filled = _filled(name, weights, sizes.get("image_size"), options, seed)
    given = {size: value for size, value in sizes.items() if value is not None}
    others = classes is not None and filled.classes is not None and tuple(classes) != filled.classes
    return adapted(filled, name, given, seed=seed, source=str(weights), fresh_head=others)


def adapted(
    filled: Start,
    name: str,
    sizes: Mapping[str, int],
    *,
    seed: int | None,
    source: str = "",
    fresh_head: bool = False,
) -> Start:
    """A filled network for other classes, channels or another size, and its preprocessing with it.

    Args:
        filled: As the weights were made.
        name: The network's.
        sizes: Those of `num_classes`, `in_channels` and `image_size` that are wanted.
        seed: Of what is fresh.
        source: What messages call the weights; "" logs nothing of what is made fresh.
        fresh_head: Make a new output layer for as many classes, too: they are others.

    Raises:
        ModelError: a tensor would have another shape, beside those of the classes and the first kernels.
    """
    network = _resized(filled.network, name, sizes, seed, source, fresh_head)
    made, spec = architecture_of(network), filled.preprocessing
    assert made is not None  # it was built by its name
    if spec is not None:
        spec = adjusted(spec, image_size=made.image_size, in_channels=made.in_channels)
    network.origin = filled.origin  # type: ignore[assignment]  # a plain attribute, not a submodule
    return filled._replace(network=network, preprocessing=spec)


def _resized(
    filled: nn.Module, name: str, sizes: Mapping[str, int], seed: int | None, source: str, fresh_head: bool
) -> nn.Module:
    """The network for other classes, channels or another size, with all the tensors that keep their shapes."""
    made = architecture_of(filled)
    assert made is not None  # it was built by its name
    own = {"num_classes": made.num_classes, "in_channels": made.in_channels, "image_size": made.image_size}
    wanted = own | dict(sizes)
    if wanted == own and not fresh_head:
        return filled
    network = build(name, **wanted, seed=seed, **made.options)
    taken, first = network.state_dict(), first_kernels(network)
    carried = filled.state_dict()
    if wanted["num_classes"] != own["num_classes"] or fresh_head:
        for key in keys_of_classes(network, name, {**wanted, **made.options}):
            del carried[key]
        if source:
            _log.warning(
                _TOLD, source, "num_classes", own["num_classes"], wanted["num_classes"], "a fresh output layer"
            )
    if wanted["in_channels"] != own["in_channels"]:
        carried[first] = for_channels(carried[first], wanted["in_channels"])
        how = "first kernels added up or repeated"
        if source:
            _log.warning(_TOLD, source, "in_channels", own["in_channels"], wanted["in_channels"], how)
    other = [key for key, tensor in carried.items() if tensor.shape != taken[key].shape]
    if other:
        whose = source or "the weights"
        raise ModelError(f"{name} for {wanted} cannot take {whose}: {', '.join(other[:10])} would have another shape")
    for key, tensor in carried.items():
        taken[key].copy_(tensor)
    return network


def _filled(name: str, weights: str | Path, image_size: int | None, options: dict[str, Any], seed: int | None) -> Start:
    """The network with the weights as they are, or with those of the shallower one that its paper starts it from."""
    path = Path(weights)
    if path.is_dir():
        start = of_bundle(path)
        made = architecture_of(start.network)
        deeper = made is not None and deepens(made.name, name)
        if made is None or not (made.name == name or deeper):
            raise ModelError(f"{weights}: holds {made.name if made else type(start.network).__name__}, not {name}")
        if options:
            raise UsageError(f"{weights}: knows its options; leave {', '.join(options)} away")
        if deeper:
            return start._replace(network=deepened(start.network, name, seed=seed, source=str(weights)))
        return start
    spec = None
    if is_checkpoint(path):
        tensors = judged_weights(path)
    else:
        foreign, spec = read_weights(str(weights))
        tensors = foreign.tensors
    sizes = {} if image_size is None else {"image_size": image_size}
    found = mapped(name, tensors, sizes=sizes, options=options, source=str(weights))
    network = found.network
    if spec is None and (found.table.preparation in SAYS or found.inputs):  # Keras's networks, whose images are known
        made = architecture_of(network)
        assert made is not None  # it was built by its name
        spec, convention, _ = preparation(found, None, made.image_size, str(weights))
        if convention == "caffe":
            turn_round(network)
    origin = {"file": path.name, "sha256": sha256(path)} if path.is_file() else {"from": str(weights)}
    return Start(network, spec, origin | {"source": _place(weights)})


def of_bundle(folder: Path) -> Start:
    """What a bundle or a run folder holds.

    Raises:
        UsageError, ModelError: it holds none, or one that is damaged.
    """
    place = find_bundle(folder)
    found = bundles.load(place)
    origin = {
        "network": found.name,
        "sha256": sha256(place / bundles.WEIGHTS),
        "imported": found.provenance.get("imported"),
        "source": _place(folder),
    }
    return Start(found.network, found.preprocessing, origin, found.classes)


def _place(weights: str | Path) -> str:
    """A file or folder wherever one stands; a library's name as it is."""
    return str(Path(weights).absolute()) if Path(weights).exists() else str(weights)
