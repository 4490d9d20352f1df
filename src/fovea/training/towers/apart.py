"""Model parallelism as AlexNet has it: two towers, each with half of every layer's filters, on two devices or ranks.

Where the towers see each other (AlexNet's conv3, fc6 and fc7), the halves of the feature maps are exchanged before the
layer; elsewhere nothing is sent. The output layer is cut along its inputs instead: each tower says what its own half of
fc7 contributes, and only the sum of the logits is sent. So any number of classes will do.

The gradient going backward through an exchange is exchanged the other way: what both towers say about a map is added up
where the map was made. Both ranks compute the same loss of the same logits, so nothing is divided and no gradient of a
weight is ever sent: data parallelism sends every weight's gradient, model parallelism feature maps.

Source: Krizhevsky, Sutskever and Hinton 2012, NIPS, section 3.2 and Figure 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from fovea.errors import MachineError, ModelError, ShapeError, UsageError
from fovea.training.towers.exchange import TOWERS, InOneProcess, Maps, OverRanks
from fovea.training.towers.halving import cuts_of, half_of, towers_of
from fovea.training.towers.states import by_kind, by_parameter, remember


class TowersApart(nn.Module):
    """A network with two towers, whose halves lie on different devices; from images to the whole network's logits.

    Parameters are called as in the whole network, after `halves.0.` or `halves.1.`. Dropout draws the mask of both
    towers and takes its own part, so that a seed gives the numbers that it gives on one device. Where there are ranks,
    both must call `forward`, `gradient_norm`, and whatever merges.

    Made by `apart` and `across_ranks`.

    Args:
        network: The whole network; its tensors are copied.
        devices: Where the towers of this process lie, by their number, 0 or 1.
        exchange: How the towers reach each other.

    Raises:
        UsageError: the network has no two towers.
    """

    def __init__(self, network: nn.Module, devices: Mapping[int, torch.device], exchange: InOneProcess) -> None:
        super().__init__()
        layers = towers_of(network)
        self.in_channels = int(next(iter(network.parameters())).shape[1])
        self.devices, self._exchange = dict(devices), exchange
        self._kinds = [(layer.name, layer.kind) for layer in layers]
        self._cuts = {name: dim for layer in layers for name, dim in cuts_of(layer)}
        self._shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        self.halves = nn.ModuleDict({str(tower): half_of(network, layers, tower) for tower in devices})
        self.load_state_dict(self.halved(network.state_dict()), assign=True)
        for name, parameter in network.named_parameters():
            for tower in devices:
                self.halves[str(tower)].get_parameter(name).requires_grad_(parameter.requires_grad)
        self.train(network.training)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of a batch of images, on the device of this process's first tower.

        Raises:
            ShapeError: the images have another number of channels than the network.
        """
        if images.shape[1] != self.in_channels:
            raise ShapeError(f"images have {images.shape[1]} channels, but the network takes {self.in_channels}")
        maps = [images.to(device) for device in self.devices.values()]
        for name, kind in self._kinds:
            if kind == "dropout":
                maps = self._dropped(name, maps)
                continue
            if kind == "both":
                maps = self._exchange.gathered(maps)
            halves = [half.get_submodule(name) for half in self.halves.values()]
            maps = [half(each) for half, each in zip(halves, maps, strict=True)]
        return self._exchange.total(maps)

    def merged(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by the whole network's names, on the CPU, from halves by the names that they have here.

        The halves are shaped as the parameters are: weights, averages of them, or an optimiser's moments. Numbers
        without dimensions are taken from the first tower of this process.

        Raises:
            ModelError: a tensor has another shape than its parameter's half.
        """
        found: dict[str, Tensor] = {}
        for name in self._cuts:
            keys = {tower: f"halves.{tower}.{name}" for tower in self.devices}
            if all(key in tensors for key in keys.values()):
                found[name] = self._whole(name, {tower: tensors[key].detach() for tower, key in keys.items()})
        return found

    def halved(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `merged` was made from: this process's halves of whole tensors, copied to their devices.

        Raises:
            ModelError: a tensor has another shape than the whole network's parameter.
        """
        found: dict[str, Tensor] = {}
        for tower, device in self.devices.items():
            for name in (name for name in self._cuts if name in tensors):
                self._check(name, tensors[name], self._shapes[name])
                part = self._part(name, tensors[name].detach(), tower).clone()
                found[f"halves.{tower}.{name}"] = part.to(device) if part.dim() else part
        return found

    def merge_into(self, network: nn.Module) -> None:
        """Put the weights as they are now into the whole network, which may lie anywhere."""
        targets = dict(network.named_parameters())
        with torch.no_grad():
            for name, whole in self.merged(self.state_dict()).items():
                targets[name].copy_(whole)

    def take_from(self, network: nn.Module) -> None:
        """Take the whole network's weights, as after a checkpoint was read into it."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, half in self.halved(dict(network.named_parameters())).items():
                own[name].copy_(half)

    def merge_state(self, optimiser: torch.optim.Optimizer, network: nn.Module, whole: torch.optim.Optimizer) -> None:
        """Put what an optimiser of the halves remembers into one of the whole network, as checkpoints hold it.

        Args:
            optimiser: Of this module's parameters.
            network: The whole network.
            whole: Of its parameters; nothing but its state changes.

        Raises:
            ModelError: something remembered has another shape than its parameter, or the optimisers differ.
        """
        remember(whole, network, by_parameter(by_kind(optimiser, self), self.merged))

    def take_state(self, whole: torch.optim.Optimizer, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """The way back: the halves of what an optimiser of the whole network remembers.

        Args:
            whole: Of the network's parameters.
            network: The whole network.
            optimiser: Of this module's parameters; nothing but its state changes.

        Raises:
            ModelError: something remembered has another shape than its parameter, or the optimisers differ.
        """
        remember(optimiser, self, by_parameter(by_kind(whole, network), self.halved))

    def gradient_norm(self) -> Float[Tensor, ""]:
        """The Euclidean norm of both towers' gradients, the same on both ranks."""
        device = next(iter(self.devices.values()))
        square = torch.zeros((), device=device)
        for parameter in self.parameters():
            if parameter.grad is not None:
                square += torch.linalg.vector_norm(parameter.grad.float()).square().to(device)
        return self._exchange.summed(square).sqrt()

    def scale_gradients(self, factor: Float[Tensor, ""]) -> None:
        """Multiply both towers' gradients by a number, as clipping does, wherever they lie."""
        for half in self.halves.values():
            gradients = [parameter.grad for parameter in half.parameters() if parameter.grad is not None]
            if gradients:
                torch._foreach_mul_(gradients, factor.to(gradients[0].device))

    def _dropped(self, name: str, maps: Maps) -> Maps:
        """Drop as one device would: one mask over the units of both towers, of which each takes its own part."""
        dropout = next(iter(self.halves.values())).get_submodule(name)
        if not dropout.training or not isinstance(dropout, nn.Dropout):
            return maps
        images, units = maps[0].shape[0], maps[0].shape[1]
        kept = F.dropout(maps[0].new_ones((images, TOWERS * units, *maps[0].shape[2:])), dropout.p)
        masks = kept.chunk(TOWERS, dim=1)
        return [each * masks[tower].to(each.device) for tower, each in zip(self.devices, maps, strict=True)]

    def _part(self, name: str, tensor: Tensor, tower: int) -> Tensor:
        return tensor if tensor.dim() == 0 else tensor.tensor_split(TOWERS, dim=self._cuts[name])[tower]

    def _whole(self, name: str, own: Mapping[int, Tensor]) -> Tensor:
        first = next(iter(own.values()))
        if first.dim() == 0:
            return first.cpu()
        outline = torch.empty(self._shapes[name], dtype=first.dtype, device="meta")
        shapes = [self._part(name, outline, tower).shape for tower in range(TOWERS)]
        for tower, half in own.items():
            self._check(name, half, shapes[tower])
        return torch.cat([each.cpu() for each in self._exchange.collected(own, shapes)], dim=self._cuts[name])

    def _check(self, name: str, tensor: Tensor, shape: torch.Size) -> None:
        if tensor.dim() > 0 and tensor.shape != shape:
            raise ModelError(
                f"{name}: a tensor {tuple(tensor.shape)} is not shaped as the parameter {tuple(shape)}, and cannot be "
                "cut or joined with it; train with another optimiser, or without towers apart"
            )


def apart(network: nn.Module, devices: tuple[torch.device, torch.device]) -> TowersApart:
    """The network's towers on two devices of this process, which may be one and the same.

    Args:
        network: With two towers; it is copied, and stays as it is until `merge_into`.
        devices: Of the first tower, where the logits come out, and of the second.

    Raises:
        UsageError: the network has no two towers.
    """
    return TowersApart(network, dict(enumerate(devices)), InOneProcess())


def across_ranks(network: nn.Module, device: torch.device, *, group: dist.ProcessGroup | None = None) -> TowersApart:
    """This rank's tower of the network; both ranks must see the same images, the same seed and the same loss.

    Both begin with the first rank's weights, which the network of the second receives as well.

    Args:
        network: With two towers; its halves are copied.
        device: Where this rank computes.
        group: The two ranks; all where None.

    Raises:
        UsageError: the network has no two towers, or there are not two ranks.
    """
    ranks = dist.get_world_size(group)
    if ranks != TOWERS:
        raise UsageError(
            f"two towers need two ranks, and there are {ranks}; start them with torchrun --nproc-per-node 2"
        )
    towers_of(network)
    for tensor in network.state_dict().values():
        sent = tensor.to(device).contiguous()
        dist.broadcast(sent, group=group, group_src=0)
        tensor.copy_(sent)
    exchange = OverRanks(group)
    return TowersApart(network, {exchange.rank: device}, exchange)


def two_devices(device: torch.device) -> tuple[torch.device, torch.device]:
    """Where the towers of one process lie: on two GPUs, or both on the CPU, which shows the same numbers.

    Raises:
        MachineError: there are no two devices of this kind.
    """
    if device.type == "cpu":
        return device, device
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if count < TOWERS:
        raise MachineError(f"towers apart need two devices, and there is {count} ({device.type}); leave them together")
    first = device.index or 0
    return torch.device(device.type, first), torch.device(device.type, (first + 1) % count)
