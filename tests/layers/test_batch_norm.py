"""Frozen and exact statistics of batch normalisation."""

import pickle

import pytest
import torch
from torch import nn

from fovea.errors import UsageError
from fovea.layers.batch_norm import FrozenBatchNorm2d, ZeroGammaBatchNorm2d, estimate_statistics, freeze_statistics


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )


def batches(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 3, 8, 8, generator=generator) * (k + 1) + k for k, n in enumerate(sizes)]


def statistics(net):
    return {key: value.clone() for key, value in net.state_dict().items() if "running" in key}


def test_frozen_statistics_stay_and_are_used_in_training_too():
    net = network()
    net(batches(8)[0])
    before, keys = statistics(net), list(net.state_dict())
    freeze_statistics(net)
    net.train()
    images = batches(8)[0]
    once = net[1](net[0](images))
    assert torch.equal(once, net.eval()[1](net[0](images)))
    net.train()(images)
    assert all(torch.equal(before[key], value) for key, value in statistics(net).items())
    assert list(net.state_dict()) == keys
    assert net[3].training
    assert isinstance(net[1], FrozenBatchNorm2d)
    assert not pickle.loads(pickle.dumps(net)).train()[1].training


@pytest.mark.parametrize("affine", [False, True])
def test_gains_and_shifts_are_frozen_on_request(affine):
    net = network()
    freeze_statistics(net, affine=affine)
    assert all(net[n].weight.requires_grad is net[n].bias.requires_grad is not affine for n in (1, 5))
    assert net[0].weight.requires_grad


def test_one_normalisation_alone_is_frozen_in_place():
    norm = nn.BatchNorm1d(3)
    freeze_statistics(norm)
    assert not norm.train().training
    assert torch.equal(norm(torch.ones(2, 3)), torch.ones(2, 3) / (1 + norm.eps) ** 0.5)


def test_estimated_statistics_are_those_of_all_values_together():
    net, given = network(), batches(4, 7, 2)
    estimate_statistics(net, given)
    values = torch.cat([net[0](images) for images in given]).transpose(0, 1).flatten(1)
    assert torch.allclose(net[1].running_mean, values.mean(dim=1), atol=1e-5)
    assert torch.allclose(net[1].running_var, values.var(dim=1), rtol=1e-5)
    # The second layer sees what the first normalises by each batch's own statistics.
    first = [nn.functional.batch_norm(net[0](images), None, None, training=True).relu() for images in given]
    values = torch.cat([net[4](maps) for maps in first]).transpose(0, 1).flatten(1)
    assert torch.allclose(net[5].running_mean, values.mean(dim=1), atol=1e-4)
    assert torch.allclose(net[5].running_var, values.var(dim=1), rtol=1e-4)


def test_estimating_leaves_modes_weights_and_frozen_layers_alone():
    net = network()
    freeze_statistics(net[1])
    net.train()[2].eval()
    before, weights = statistics(net), [p.clone() for p in net.parameters()]
    estimate_statistics(net, batches(4, 4))
    after = statistics(net)
    assert torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert not torch.equal(before["5.running_mean"], after["5.running_mean"])
    assert [part.training for part in net] == [True, False, False, True, True, True]
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
    assert net[5].num_batches_tracked == 0
    assert not any(part._forward_pre_hooks for part in net)


def test_a_failing_batch_leaves_everything_as_it_was():
    net = network()
    before = statistics(net)
    with pytest.raises(RuntimeError):
        estimate_statistics(net, [*batches(4), torch.zeros(1, 2, 8, 8)])
    assert all(torch.equal(before[key], value) for key, value in statistics(net).items())
    assert net.training


def test_no_batch_is_refused():
    with pytest.raises(UsageError, match="at least one batch"):
        estimate_statistics(network(), [])


def test_a_gain_that_starts_at_zero_is_reset_to_zero():
    norm = ZeroGammaBatchNorm2d(3)
    assert norm.weight.tolist() == [0, 0, 0]
    nn.init.ones_(norm.weight)
    norm.reset_parameters()
    assert norm.weight.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]
