"""Half of a network: which layers see both towers, and along which dimension their tensors are cut."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.local_response_norm import LocalResponseNorm
from fovea.training.towers.exchange import TOWERS

MAP_BY_MAP = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)

Kind = Literal["images", "own", "both", "dropout", "output"]


class Layer(NamedTuple):
    """One layer of the whole network, and what it reads when the towers lie apart."""

    name: str
    module: nn.Module
    kind: Kind  # all images, its own tower's maps, those of both; a mask is drawn for both; the logits are a sum


class HalfOutput(nn.Linear):
    """Half of an output layer: the contribution of half of the features to all logits, and of half of the biases.

    Args:
        features: Of this tower.
        num_classes: Of the whole network.
        tower: 0 or 1.
        bias: Whether the whole layer has biases.
    """

    def __init__(self, features: int, num_classes: int, *, tower: int, bias: bool) -> None:
        super().__init__(features, num_classes, bias=False, device="meta")
        own = num_classes // TOWERS + (num_classes % TOWERS if tower == 0 else 0)
        self.place = (0, num_classes - own) if tower == 0 else (num_classes - own, 0)
        if bias:
            self.bias = nn.Parameter(torch.empty(own, device="meta"))

    def forward(self, features: Float[Tensor, "n m"]) -> Float[Tensor, "n k"]:
        """This tower's part of the logits."""
        return F.linear(features, self.weight, None if self.bias is None else F.pad(self.bias, self.place))


def towers_of(network: nn.Module) -> list[Layer]:
    """The layers in order, and what each reads when the towers lie apart.

    A network has two towers where its stages and its head are layers one after another, some convolution has two
    groups, every normalisation has as many, and every layer's filters can be halved.

    Raises:
        UsageError: it has none; the message names the layer.
    """
    if not isinstance(network, ConvNet) or len(network.auxiliary):
        raise _no_towers(f"{type(network).__name__} is not one row of stages and a head")
    leaves = [*_leaves(network.features, "features"), *_leaves(network.head, "head")]
    layers = [Layer(name, module, _kind(name, module)) for name, module in leaves]
    if not any(isinstance(layer.module, nn.Conv2d) and layer.module.groups == TOWERS for layer in layers):
        raise _no_towers("no convolution has two groups")
    first, last = layers[0], layers[-1]
    if first.kind != "both" or not isinstance(last.module, nn.Linear):
        raise _no_towers(f"it begins with {first.name} and ends with {last.name}, not with a convolution and logits")
    if last.module.in_features % TOWERS:
        raise _no_towers(f"{last.name} has {last.module.in_features} features, which cannot be halved")
    for layer in layers[:-1]:
        filters = next((parameter.shape[0] for parameter in layer.module.parameters()), TOWERS)
        if filters % TOWERS:
            raise _no_towers(f"{layer.name} has {filters} filters, which cannot be halved")
    return [first._replace(kind="images"), *layers[1:-1], last._replace(kind="output")]


def _no_towers(reason: str) -> UsageError:
    return UsageError(f"this network has no two towers to be set apart: {reason}; alexnet (towers=2) has them")


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module).forward is not nn.Sequential.forward:
        yield path, module
        return
    for name, child in module.named_children():
        yield from _leaves(child, f"{path}.{name}")


def _kind(name: str, module: nn.Module) -> Kind:
    groups = getattr(module, "groups", TOWERS)
    if isinstance(module, nn.Conv2d) and groups == 1:
        return "both"
    if isinstance(module, (nn.Conv2d, LocalResponseNorm)) and groups == TOWERS:
        return "own"
    if isinstance(module, nn.Linear):
        return "both"
    if isinstance(module, nn.Dropout):
        return "dropout"
    if isinstance(module, MAP_BY_MAP) and getattr(module, "start_dim", 1) == 1:
        return "own"
    raise _no_towers(f"{name} is {module}")


def cuts_of(layer: Layer) -> Iterator[tuple[str, int]]:
    """Each parameter of a layer by its name in the network, and the dimension along which it is halved."""
    for name, _ in layer.module.named_parameters():
        yield f"{layer.name}.{name}", 1 if layer.kind == "output" and name == "weight" else 0


def half_of(network: nn.Module, layers: list[Layer], tower: int) -> nn.Module:
    """A tower with the whole network's names; its tensors have no memory yet."""
    made = {layer.name: _half_layer(layer, tower) for layer in layers}

    def tree(module: nn.Module, path: str) -> nn.Module:
        if path in made:
            return made[path]
        return nn.Sequential(OrderedDict((n, tree(child, f"{path}.{n}")) for n, child in module.named_children()))

    half = nn.Module()
    for name in ("features", "head"):
        half.add_module(name, tree(network.get_submodule(name), name))
    return half


def _half_layer(layer: Layer, tower: int) -> nn.Module:
    module = layer.module
    if isinstance(module, nn.Conv2d):
        return nn.Conv2d(
            module.in_channels // module.groups,
            module.out_channels // TOWERS,
            module.kernel_size,  # type: ignore[arg-type]  # torch keeps tuples of any length
            module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
            module.dilation,  # type: ignore[arg-type]
            bias=module.bias is not None,
            padding_mode=module.padding_mode,
            device="meta",
        )
    if isinstance(module, nn.Linear):
        bias = module.bias is not None
        if layer.kind == "output":
            return HalfOutput(module.in_features // TOWERS, module.out_features, tower=tower, bias=bias)
        return nn.Linear(module.in_features, module.out_features // TOWERS, bias, device="meta")
    own = copy.deepcopy(module)
    if isinstance(own, LocalResponseNorm):
        own.groups = 1
    return own
