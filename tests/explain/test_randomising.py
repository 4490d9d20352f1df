"""Destroying weights from the top down: what depends on them changes, and what shows the image alone is found out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ModelError
from fovea.explain.randomising import AT_ONCE, Randomisation, _shuffle, randomised
from fovea.randomness import key, uniforms


def numbers(purpose: str, *shape: int) -> Tensor:
    """Uniform in [-1, 1)."""
    count = int(torch.tensor(shape).prod())
    return torch.from_numpy(2 * uniforms(key(0, purpose), range(count))[:, 0] - 1).float().view(*shape)


class Staged(nn.Module):
    """A network with named stages, of which one has no weights."""

    def __init__(self) -> None:
        super().__init__()
        conv1 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        conv2 = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.features = nn.ModuleDict({"conv1": conv1, "pool1": nn.MaxPool2d(2), "conv2": conv2})
        self.head = nn.Linear(8, 5)
        for name, parameter in self.named_parameters():
            parameter.data = numbers(name, *parameter.shape)

    def stage_outputs(self, images: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        found = {}
        for name, stage in self.features.items():
            images = found[name] = stage(images)
        return {name: found[name] for name in names}

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage_outputs(images, ("conv2",))["conv2"].mean((2, 3)))


def gradient(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the target's logit, summed over the channels."""
    images = images.clone().requires_grad_()
    score = network(images).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(score, images)[0].sum(1)


def edges(_: nn.Module, images: Tensor, __: Tensor) -> Tensor:
    """What only looks at the image."""
    grey = images.mean(1, keepdim=True)
    return F.pad(grey[:, 0, :, 1:] - grey[:, 0, :, :-1], (0, 1)).abs()


IMAGES, TARGETS = numbers("images", 4, 3, 12, 12), torch.tensor([0, 1, 2, 3])


def test_an_edge_filter_fails_and_is_told_so() -> None:
    found = randomised(Staged(), IMAGES, TARGETS, edges)
    assert found.similarities == pytest.approx((1.0, 1.0, 1.0))
    assert found.failed
    assert str(found) == (
        "edges: its picture hardly changes (rank correlation 1.00 with every weight destroyed): it has failed the "
        "test, it shows the image and not the network"
    )


def test_the_gradient_passes_and_the_groups_go_from_the_head_to_the_first_stage() -> None:
    found = randomised(Staged(), IMAGES, TARGETS, gradient, name="saliency")
    assert found.groups == ("head", "conv2", "conv1")
    assert found.similarities[-1] < 0.4
    assert not found.failed
    assert str(found).startswith("saliency: its picture changes as weights are destroyed (rank correlation 0.")
    assert "after head" in str(found)


def test_each_group_stays_destroyed_while_the_next_goes_and_the_intact_one_comes_first() -> None:
    states: list[dict[str, Tensor]] = []

    def watching(network: nn.Module, images: Tensor, _: Tensor) -> Tensor:
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return images[:, 0]

    randomised(Staged(), IMAGES, TARGETS, watching)
    changed = [{name for name, tensor in state.items() if not torch.equal(tensor, states[0][name])} for state in states]
    head, conv2 = {"head.weight", "head.bias"}, {"features.conv2.0.weight", "features.conv2.0.bias"}
    assert changed[:3] == [set(), head, head | conv2]
    conv1 = {f"features.conv1.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")}
    assert changed[3] == head | conv2 | conv1  # mean 0 and variance 1 are the same for every channel


def test_the_network_itself_is_untouched() -> None:
    network = Staged().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    randomised(network, IMAGES, TARGETS, gradient)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert all(each.requires_grad and each.grad is None for each in network.parameters())


def test_the_same_seed_gives_the_same_bits_and_another_others() -> None:
    network, before = Staged(), torch.random.get_rng_state()
    first, same, other = (randomised(network, IMAGES, TARGETS, gradient, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first.similarities != other.similarities
    assert torch.equal(before, torch.random.get_rng_state())


def test_shuffled_numbers_are_the_same_numbers_in_large_layers_too() -> None:
    layer = nn.Linear(AT_ONCE // 100, 250, bias=False)
    layer.weight.data = torch.arange(layer.weight.numel(), dtype=torch.float32).view_as(layer.weight)
    _shuffle(layer, "layer", 0)
    assert not torch.equal(layer.weight.flatten(), torch.arange(layer.weight.numel(), dtype=torch.float32))
    assert torch.equal(layer.weight.flatten().sort().values, torch.arange(layer.weight.numel(), dtype=torch.float32))
    moved = (layer.weight.flatten() - torch.arange(layer.weight.numel())).abs()
    assert moved.mean() > layer.weight.numel() / 4  # all over the layer, as by chance: a third of it


def test_the_channels_of_a_batch_normalisation_change_places_whole() -> None:
    norm = nn.BatchNorm2d(16)
    tensors = (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var)
    for tensor in tensors:
        tensor.copy_(torch.arange(16))
    _shuffle(norm, "norm", 0)
    assert not torch.equal(tensors[0], torch.arange(16.0))
    assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)


def test_maps_without_an_order_count_as_no_similarity() -> None:
    ones, broken = torch.ones(4, 12, 12), torch.full((4, 12, 12), torch.nan)
    flat = randomised(Staged(), IMAGES, TARGETS, lambda *_: ones, name="flat")
    nan = randomised(Staged(), IMAGES, TARGETS, lambda *_: broken, name="nan")
    assert flat.similarities == nan.similarities == (0.0, 0.0, 0.0)


def test_the_sign_of_a_map_does_not_count() -> None:
    signs = iter([1, -1, -1, 1])
    found = randomised(Staged(), IMAGES, TARGETS, lambda _, images, __: next(signs) * images[:, 0])
    assert found.similarities == pytest.approx((1.0, 1.0, 1.0))


def test_layers_without_stages_are_gathered_into_ten_groups_from_the_last() -> None:
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(12, 12) for _ in range(24)))
    images, targets = IMAGES[:, :1, :3, :4], TARGETS
    groups = randomised(network, images, targets, gradient).groups
    assert len(groups) == 10
    assert groups[0] == "24 to 23"
    assert groups[-1] == "3 to 1"
    assert randomised(network[:3], images, targets, gradient).groups == ("2", "1")


def test_a_network_without_weights_or_that_cannot_be_copied_is_refused() -> None:
    with pytest.raises(ModelError, match="Flatten has no weights"):
        randomised(nn.Flatten(), IMAGES, TARGETS, edges)
    network = Staged()
    network.lock = (each for each in ())  # a generator cannot be copied
    with pytest.raises(ModelError, match="Staged cannot be copied"):
        randomised(network, IMAGES, TARGETS, edges)


def test_the_threshold_decides() -> None:
    def at(last: float) -> Randomisation:
        return Randomisation(method="a", groups=("head",), similarities=(last,))

    assert not at(0.5).failed
    assert at(0.51).failed
    assert str(at(0.25)) == "a: its picture changes as weights are destroyed (rank correlation 0.25 in the end)"
