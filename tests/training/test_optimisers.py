"""Every optimiser: what it decays, what it computes, what it keeps, and that a masked step changes nothing."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build as build_network
from fovea.errors import ModelError, UsageError
from fovea.training import optimisers
from fovea.training.muon import Muon, blocks_of, newton_schulz, orthogonalised
from fovea.training.options import Update, options
from fovea.training.rmsprop import RMSProp

EVERY = ("sgd", "rmsprop", "adam", "adamw", "muon")
every_optimiser = pytest.mark.parametrize("name", EVERY)


def small(seed=0):
    """Convolutions, plain, grouped and depthwise, in channels-last format; normalisation; two matrices."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, groups=2),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.Conv2d(12, 6, 3),
        nn.Flatten(),
        nn.Linear(6, 7),
        nn.Linear(7, 4),
    )
    return network.to(memory_format=torch.channels_last)


def gradients(network, seed, value=None):
    random = torch.Generator().manual_seed(seed)
    for p in network.parameters():
        noise = torch.randn(p.shape, generator=random) if value is None else torch.full(p.shape, value)
        p.grad = torch.empty_like(p).copy_(noise)


def stepped(network, update, steps=3, optimiser=None, first=0):
    optimiser = optimiser or optimisers.build(network, update)
    for seed in range(first, first + steps):
        gradients(network, seed)
        optimiser.step()
    return optimiser


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def names_of(network, groups):
    names = {id(p): name for name, p in network.named_parameters()}
    return [{names[id(p)] for p in group["params"]} for group in groups]


@every_optimiser
def test_biases_and_normalisation_are_not_decayed_and_nothing_is_left_out(name):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2))
    groups = optimisers.build(network, Update(optimiser=name, weight_decay=0.25)).param_groups
    decayed, free = names_of(network, groups)
    assert decayed == {"0.weight", "3.weight"}
    assert free == {"0.bias", "1.weight", "1.bias", "3.bias", "4.weight", "4.bias"}
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]


@every_optimiser
def test_all_is_decayed_where_that_is_asked(name):
    network = small()
    groups = optimisers.build(network, Update(optimiser=name, weight_decay=0.25, decay_all=True)).param_groups
    assert set().union(*names_of(network, groups)) == {name for name, _ in network.named_parameters()}
    assert {group["weight_decay"] for group in groups} == {0.25}


@every_optimiser
def test_frozen_parameters_are_left_alone(name):
    network = build_network("lenet5", seed=0)
    network.features.requires_grad_(requires_grad=False)
    chosen = [p for group in optimisers.build(network, Update(optimiser=name)).param_groups for p in group["params"]]
    assert {id(p) for p in chosen} == {id(p) for p in network.head.parameters()}


@every_optimiser
def test_a_network_that_trains_nothing_is_refused(name):
    network = small().requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match=r"none of the network's [\d,]+ parameters is trained"):
        optimisers.build(network, Update(optimiser=name))


@pytest.mark.parametrize(("name", "factor"), [("sgd", 0.95), ("adamw", 0.95), ("muon", 0.95)])
def test_with_no_gradient_decay_shrinks_kernels_and_leaves_biases(name, factor):
    layer = nn.Linear(3, 2)
    before = weights(layer)
    optimiser = optimisers.build(layer, Update(optimiser=name, lr=0.1, weight_decay=0.5, momentum=0.0, nesterov=False))
    gradients(layer, 0, value=0.0)
    optimiser.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * factor)
    assert torch.equal(layer.bias.detach(), before["bias"])


@every_optimiser
def test_a_parameter_without_a_gradient_stays(name):
    network = small()
    before = weights(network)
    optimiser = optimisers.build(network, Update(optimiser=name))
    gradients(network, 0)
    network[4].weight.grad = None
    optimiser.step()
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(before) - {"4.weight"}


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_torchs_to_the_bit_although_its_state_is_made_beforehand(nesterov):
    ours, theirs = small(), small()
    stepped(ours, Update(lr=0.1, nesterov=nesterov, weight_decay=0.01, decay_all=True))
    parameters = theirs.parameters()
    rates = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.01}
    stepped(theirs, None, optimiser=torch.optim.SGD(parameters, **rates, fused=True))
    assert equal(weights(ours), weights(theirs))


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_is_torchs_to_the_bit_although_its_state_is_made_beforehand(name, kind):
    ours, theirs = small(), small()
    stepped(ours, Update(optimiser=name, lr=0.01, weight_decay=0.1, decay_all=True, second_moment=0.99))
    rates = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    stepped(theirs, None, optimiser=kind(theirs.parameters(), **rates, fused=True))
    assert equal(weights(ours), weights(theirs))


# A masked step -------------------------------------------------------------------------------------------------------


@every_optimiser
@pytest.mark.parametrize("before", [0, 2])
def test_where_found_inf_is_one_a_step_changes_neither_weights_nor_state(name, before):
    network = small()
    optimiser = stepped(network, Update(optimiser=name), steps=before)
    was = weights(network), {key: tensor.clone() for key, tensor in optimisers.state_tensors(optimiser).items()}
    optimiser.found_inf = torch.ones(())
    gradients(network, 0, value=float("nan"))
    optimiser.step()
    assert equal(weights(network), was[0])
    assert equal(optimisers.state_tensors(optimiser), was[1])


@every_optimiser
def test_where_found_inf_is_zero_a_step_is_what_it_is_without(name):
    plain, flagged = small(), small()
    update = Update(optimiser=name)
    optimiser = stepped(plain, update)
    other = optimisers.build(flagged, update)
    other.found_inf = torch.zeros(())
    stepped(flagged, update, optimiser=other)
    assert equal(weights(plain), weights(flagged))
    assert equal(optimisers.state_tensors(optimiser), optimisers.state_tensors(other))


@every_optimiser
def test_after_a_masked_first_step_training_goes_on_as_if_it_had_not_been(name):
    plain, masked = small(), small()
    update = Update(optimiser=name)
    optimiser = optimisers.build(masked, update)
    optimiser.found_inf = torch.ones(())
    gradients(masked, 0, value=float("inf"))
    optimiser.step()
    optimiser.found_inf.zero_()
    stepped(masked, update, optimiser=optimiser)
    stepped(plain, update)
    assert equal(weights(plain), weights(masked))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["rmsprop", "muon"])
def test_what_a_gpu_would_do_with_the_flag_changes_nothing_where_it_is_up_and_little_where_not(name, momentum):
    update = Update(optimiser=name, momentum=momentum, nesterov=momentum > 0, weight_decay=0.1)
    plain, flagged = small(), small()
    stepped(plain, update, steps=1)
    optimiser = optimisers.build(flagged, update)
    for flag, value in ((0.0, None), (1.0, float("nan"))):
        was = weights(flagged), {key: tensor.clone() for key, tensor in optimisers.state_tensors(optimiser).items()}
        gradients(flagged, 0, value)
        for group in optimiser.param_groups:
            with torch.no_grad():
                optimiser._update(group, torch.tensor(flag))
        if flag:
            assert equal(weights(flagged), was[0])
            assert equal(optimisers.state_tensors(optimiser), was[1])
        else:
            torch.testing.assert_close(weights(flagged), weights(plain))


def test_a_kernel_that_does_not_heed_found_inf_is_made_to():
    class Heedless(torch.optim.SGD):
        def step(self):
            flag, self.found_inf = self.found_inf, None
            torch.optim.SGD.step.__wrapped__(self)
            self.found_inf = flag

    network, twin = small(), small()
    optimiser = Heedless(network.parameters(), lr=0.1, momentum=0.9, foreach=False)
    optimisers.mask(optimiser)
    optimiser.found_inf = None
    stepped(network, None, steps=1, optimiser=optimiser)
    was = weights(network), {key: tensor.clone() for key, tensor in optimisers.state_tensors(optimiser).items()}
    gradients(network, 1, value=float("nan"))
    optimiser.found_inf = torch.ones(())
    optimiser.step()
    assert equal(weights(network), was[0])
    assert equal(optimisers.state_tensors(optimiser), was[1])
    optimiser.found_inf.zero_()
    stepped(network, None, steps=1, optimiser=optimiser, first=1)
    stepped(twin, None, steps=2, optimiser=torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, foreach=False))
    assert equal(weights(network), weights(twin))


# State ---------------------------------------------------------------------------------------------------------------


@every_optimiser
def test_state_is_laid_out_in_memory_as_its_parameter(name):
    network = small()
    optimiser = stepped(network, Update(optimiser=name))
    assert network[4].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[4].weight.is_contiguous()
    for parameter, state in optimiser.state.items():
        assert all(tensor.stride() == parameter.stride() for tensor in state.values() if tensor.ndim)


@every_optimiser
def test_a_state_restored_from_plain_memory_continues_to_the_bit(name):
    network, update = small(), Update(optimiser=name, lr=0.01)
    optimiser = stepped(network, update)
    held, kept = copy.deepcopy(network), {}
    for key, tensor in optimisers.state_tensors(optimiser).items():
        index, what = key.split(".")
        kept.setdefault(int(index), {})[what] = tensor.clone(memory_format=torch.contiguous_format)
    assert kept
    stepped(network, update, optimiser=optimiser, first=7)

    resumed = optimisers.build(held, update)
    optimisers.load_state(resumed, kept)
    stepped(held, update, optimiser=resumed, first=7)
    assert equal(weights(network), weights(held))
    assert equal(optimisers.state_tensors(optimiser), optimisers.state_tensors(resumed))


@every_optimiser
def test_state_has_the_same_names_before_the_first_step_as_after_it(name):
    network = small()
    optimiser = optimisers.build(network, Update(optimiser=name))
    names = set(optimisers.state_tensors(optimiser))
    stepped(network, None, optimiser=optimiser)
    assert set(optimisers.state_tensors(optimiser)) == names
    assert {int(key.split(".")[0]) for key in names} == set(range(len(list(network.parameters()))))


def test_a_state_of_another_optimiser_or_network_is_refused_and_nothing_is_copied():
    network = small()
    optimiser = stepped(network, Update())
    was = {key: tensor.clone() for key, tensor in optimisers.state_tensors(optimiser).items()}
    good = {int(key.split(".")[0]): {"momentum_buffer": torch.zeros_like(tensor)} for key, tensor in was.items()}
    with pytest.raises(ModelError, match=r"0.exp_avg is too much in the state of SGD"):
        optimisers.load_state(optimiser, good | {0: good[0] | {"exp_avg": torch.zeros(1)}})
    with pytest.raises(ModelError, match=r"3.momentum_buffer is missing from the state of SGD"):
        optimisers.load_state(optimiser, {index: state for index, state in good.items() if index != 3})
    with pytest.raises(ModelError, match=r"5.momentum_buffer of the optimiser's state has shape \(2,\)"):
        optimisers.load_state(optimiser, good | {5: {"momentum_buffer": torch.zeros(2)}})
    assert equal(optimisers.state_tensors(optimiser), was)


# RMSProp -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_rmsprop_is_tensorflows_update_rule(momentum, decay):
    network = nn.Linear(5, 3)
    update = Update(optimiser="rmsprop", lr=0.016, momentum=momentum, second_moment=0.9, epsilon=1e-3)
    optimiser = optimisers.build(network, Update(**{**vars(update), "weight_decay": decay, "decay_all": True}))
    weight = network.weight.detach().numpy().astype(np.float64)
    square, buffer = np.ones_like(weight), np.zeros_like(weight)
    for seed, lr in enumerate([0.016, 0.016, 0.5, 0.001]):  # the rate lies in the momentum: a change shows
        gradients(network, seed)
        gradient = network.weight.grad.numpy() + decay * weight
        square += (gradient**2 - square) * (1 - 0.9)
        buffer = momentum * buffer + lr * gradient / np.sqrt(square + 1e-3)
        weight -= buffer
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()
    np.testing.assert_allclose(network.weight.detach().numpy(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_is_timms(momentum):
    rmsprop = pytest.importorskip("timm.optim.rmsprop_tf")
    ours, theirs = small(), small()
    rates = {"lr": 0.016, "momentum": momentum, "weight_decay": 1e-2}
    update = Update(optimiser="rmsprop", second_moment=0.9, epsilon=1e-3, decay_all=True, **rates)
    stepped(ours, update, steps=6)
    other = rmsprop.RMSpropTF(theirs.parameters(), alpha=0.9, eps=1e-3, **rates)
    stepped(theirs, None, steps=6, optimiser=other)
    torch.testing.assert_close(weights(ours), weights(theirs))


# Muon ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("arithmetic", "apart"), [(torch.float32, 1e-3), (torch.bfloat16, 0.03)])
def test_muon_is_torchs_for_matrices(shape, nesterov, arithmetic, apart, monkeypatch):
    if arithmetic is torch.float32:  # torch's computes in bfloat16 alone, and in float32 where that is turned off
        monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs, start = nn.Parameter(ours.detach().clone()), ours.detach().clone()
    rates = {"lr": 0.05, "momentum": 0.9, "nesterov": nesterov}
    optimiser = Muon([{"params": [ours], "blocks": 1, "weight_decay": 0.1}], **rates, arithmetic=arithmetic)
    other = torch.optim.Muon([theirs], **rates, weight_decay=0.1)
    for _ in range(4):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimiser.step()
        other.step()
    assert (ours - theirs).norm() < apart * (theirs - start).norm()


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 30), (2, 30, 4)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_newton_schulz_makes_singular_values_about_one_and_keeps_their_vectors(shape, scale):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * scale
    made = newton_schulz(matrices, torch.float32)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.65
    assert values.max() < 1.25
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ made @ v.mT
    off = inner - torch.diag_embed(torch.diagonal(inner, dim1=1, dim2=2))
    assert off.abs().max() < 1e-4


@pytest.mark.parametrize("rank", [2, 16, 30])
def test_both_ways_of_newton_schulz_agree_also_where_singular_values_are_far_apart(rank):
    random = torch.Generator().manual_seed(5)
    left = torch.randn(2, 30, rank, generator=random, dtype=torch.float64) * torch.logspace(0, -4, rank)
    matrices = left @ torch.randn(2, rank, 90, generator=random, dtype=torch.float64)
    for turned in (matrices, matrices.mT):
        exact = newton_schulz(turned, torch.float64)
        quick = newton_schulz(turned.float(), torch.float32).double()
        assert (quick - exact).norm() < 3e-3 * exact.norm()


def test_the_blocks_of_a_grouped_convolution_are_orthogonal_each_in_itself_in_any_memory_format():
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    update = kernel.to(memory_format=torch.channels_last)
    made = orthogonalised([update, update * 7], 2, torch.float32)
    for half, own in zip(kernel.split(4), made[0].split(4), strict=True):
        torch.testing.assert_close(own.reshape(4, 27), newton_schulz(half.reshape(1, 4, 27), torch.float32)[0])
    torch.testing.assert_close(made[1], made[0])


def test_a_tall_update_is_longer_by_the_root_of_its_shape():
    update = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
    (made,) = orthogonalised([update], 1, torch.float32)
    torch.testing.assert_close(made, 2 * newton_schulz(update[None], torch.float32)[0])


def test_a_filter_without_any_gradient_stays_finite():
    network = small()
    optimiser = optimisers.build(network, Update(optimiser="muon", weight_decay=0.0))
    gradients(network, 0, value=0.0)
    before = weights(network)
    optimiser.step()
    assert equal(weights(network), before)


def test_muon_takes_the_hidden_filters_and_sgd_the_rest():
    network = small()
    names = {id(p): name for name, p in network.named_parameters()}
    blocks = {names[id(p)]: count for p, count in blocks_of(network).items()}
    assert blocks == {"2.weight": 2, "4.weight": 1, "6.weight": 1}  # the first, the depthwise and the last one are not
    groups = optimisers.build(network, Update(optimiser="muon")).param_groups
    assert [(group["blocks"], group["weight_decay"] > 0) for group in groups] == [
        (2, True), (1, True), (0, True), (0, False),
    ]  # fmt: skip


def test_biases_and_head_have_rates_of_their_own_and_the_decay_of_the_others():
    network = small()
    told = Update(lr=0.1, bias_lr=0.4, head_lr=0.05, weight_decay=0.02, decay_all=True)
    head = list(list(network.children())[-1].parameters())
    groups = optimisers.build(network, told, {}, head).param_groups
    scales = {p: group["scale"] for group in groups for p in group["params"]}
    of_head = set(head)
    for parameter in network.parameters():
        expected = 0.5 if parameter in of_head else 4.0 if parameter.ndim == 1 else 1.0
        assert scales[parameter] == pytest.approx(expected)
    assert all(group["scale"] * group["weight_decay"] == pytest.approx(0.02) for group in groups)
    with pytest.raises(UsageError, match=r"muon_norm \(=True\) must be off where optimiser is sgd"):
        options(muon_norm=True)


def test_with_a_fixed_norm_a_filter_bank_has_it_before_each_step_whatever_it_was():
    ours, other = small(), small()
    with torch.no_grad():
        for bank in blocks_of(other):
            bank.mul_(5)
    for network in (ours, other):
        optimiser = optimisers.build(network, Update(optimiser="muon", lr=0.1, muon_norm=True, weight_decay=0.0))
        gradients(network, 0)
        optimiser.found_inf = torch.ones(())
        before = weights(network)
        optimiser.step()
        assert equal(weights(network), before)
        optimiser.found_inf = torch.zeros(())
        optimiser.step()
    for one, two in zip(blocks_of(ours), blocks_of(other), strict=True):
        torch.testing.assert_close(one, two)
    still = optimisers.build(ours, Update(optimiser="muon", lr=1e-9, muon_norm=True, weight_decay=0.0))
    gradients(ours, 0)
    still.step()
    assert all(float(bank.detach().norm()) == pytest.approx(len(bank) ** 0.5, rel=1e-4) for bank in blocks_of(ours))


def test_what_gives_logits_is_left_to_sgd_wherever_it_stands():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body, self.auxiliary = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 10)
            self.more, self.head = nn.Conv2d(5, 10, 3), nn.Linear(10, 10)

    network = TwoHeads()
    assert {id(p) for p in blocks_of(network)} == {id(network.body.weight), id(network.more.weight)}


def test_the_rest_of_muon_is_sgd():
    ours, theirs = small(), small()
    update = functools.partial(Update, lr=0.05, weight_decay=0.0)
    stepped(ours, update(optimiser="muon"))
    stepped(theirs, update(optimiser="sgd"))
    muons = {id(p) for p in blocks_of(ours)}
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        if id(one) in muons:
            assert not torch.allclose(one, other)
        else:
            torch.testing.assert_close(one, other)


@every_optimiser
def test_every_optimiser_learns_four_images_by_heart(name):
    torch.manual_seed(0)
    network, images, labels = small(), torch.randn(4, 3, 9, 9), torch.arange(4)
    optimiser = optimisers.build(network, Update(optimiser=name, lr=0.05 if name in ("sgd", "muon") else 0.005))
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def test_a_closure_is_run_with_gradients_and_its_loss_returned():
    for kind in (RMSProp, functools.partial(Muon, lr=0.1)):
        parameter = nn.Parameter(torch.ones(3))
        optimiser = kind([{"params": [parameter]}], **({"lr": 0.1} if kind is RMSProp else {}))

        def closure(parameter=parameter):
            loss = (parameter**2).sum()
            loss.backward()
            return loss

        assert optimiser.step(closure).item() == 3.0
        assert (parameter < 1).all()
