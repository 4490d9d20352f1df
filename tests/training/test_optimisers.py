"""The optimiser's groups and the learning rate of each step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.training.optimisers import learning_rate, sgd
from fovea.training.options import TrainingOptions


def test_biases_and_normalisation_are_not_decayed_and_nothing_is_left_out():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2))
    decayed, free = sgd(network, TrainingOptions(weight_decay=0.25)).param_groups
    names = {id(p): name for name, p in network.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"0.weight", "3.weight"}
    assert {names[id(p)] for p in free["params"]} == {
        "0.bias", "1.weight", "1.bias", "3.bias", "4.weight", "4.bias",
    }  # fmt: skip
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.25, 0.0)


def test_frozen_parameters_are_left_alone():
    network = build("lenet5", seed=0)
    network.features.requires_grad_(requires_grad=False)
    chosen = [p for group in sgd(network, TrainingOptions()).param_groups for p in group["params"]]
    assert {id(p) for p in chosen} == {id(p) for p in network.head.parameters()}


def test_with_no_gradient_decay_shrinks_kernels_and_leaves_biases():
    layer = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimiser = sgd(layer, TrainingOptions(lr=0.1, weight_decay=0.5, momentum=0.0, nesterov=False))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * 0.95)
    assert torch.equal(layer.bias.detach(), before["bias"])


def test_warm_up_and_cosine_at_steps_found_by_hand():
    options = TrainingOptions(epochs=3, lr=1.0, warmup_epochs=1.0)
    rates = [learning_rate(step, 4, options) for step in range(12)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1.0
    assert rates[8] == pytest.approx(0.5)
    assert rates[6] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert rates[11] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0, 2.0, 5.0, 500.0])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 7), (5, 3)])
def test_the_rate_is_never_negative_and_its_peak_is_lr(epochs, steps, warmup):
    options = TrainingOptions(epochs=epochs, lr=0.3, warmup_epochs=warmup)
    rates = [learning_rate(step, steps, options) for step in range(epochs * steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    assert max(rates) == 0.3
    peak = rates.index(0.3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, 10, TrainingOptions(epochs=2, lr=0.3, warmup_epochs=0.0)) == 0.3
