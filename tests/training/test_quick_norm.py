"""Batch normalisation with ReLU as one operation computes what torch does, nearer to float64, and else leaves it be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fovea.layers.batch_norm import FrozenBatchNorm2d, ShiftBatchNorm2d, ZeroGammaBatchNorm2d
from fovea.training.fused import fused_layers
from fovea.training.recomputing import recomputing
from fovea.training.shared_norm import shared_statistics

BF16 = 2.0**-8


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def half_maps(*shape, kind=torch.bfloat16):
    """As a convolution under autocast gives them."""
    maps = (2 * torch.randn(shape) + torch.linspace(-3, 3, shape[1]).view(-1, 1, 1)).to(kind)
    return maps.contiguous(memory_format=torch.channels_last).requires_grad_()


def unit(channels, activation=nn.ReLU6, norm=nn.BatchNorm2d):
    layers = nn.Sequential(norm(channels), *([activation()] if activation else []))
    for tensor in (layers[0].weight, layers[0].bias):
        nn.init.uniform_(tensor, -1, 1) if norm is not ShiftBatchNorm2d else None
    return layers


def run(layers, maps):
    """What the layers make of the maps, and the gradients of maps and parameters."""
    with torch.autocast("cpu", torch.bfloat16, enabled=maps.dtype is torch.bfloat16):
        made = layers(maps)
    gradient = torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(made.dtype)
    return made, torch.autograd.grad(made, (maps, *layers.parameters()), gradient, retain_graph=True)


def is_quick(made):
    return "QuickNorm" in type(made.grad_fn).__name__


def distance(ours, exact):
    return float((ours.detach().double() - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.ReLU, None])
@pytest.mark.parametrize(
    "shape", [(16, 16, 32, 32), (4, 96, 56, 56), (2, 1, 3, 3), (3, 7, 5, 5), (2, 300, 1, 1), (5, 24, 9, 11)], ids=str
)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32], ids=str)
def test_numbers_and_gradients_are_those_of_float64_rounded_once(shape, activation, kind):
    layers, maps = unit(shape[1], activation), half_maps(*shape, kind=kind)
    exact_layers, exact_maps = copy.deepcopy(layers).double(), maps.detach().double().requires_grad_()
    exact, its_gradients = run(exact_layers, exact_maps)
    plain, plain_gradients = run(copy.deepcopy(layers), maps)
    with fused_layers(layers):
        ours, our_gradients = run(layers, maps)
    assert is_quick(ours)
    assert ours.dtype == kind
    assert ours.is_contiguous(memory_format=torch.channels_last)
    for got, torch_s, wanted in ((ours, plain, exact), (our_gradients[0], plain_gradients[0], its_gradients[0])):
        allowed = BF16 if kind is torch.bfloat16 else max(1e-6, 4 * distance(torch_s, wanted))
        assert distance(got, wanted) < allowed
    for got, wanted in zip(our_gradients[1:], its_gradients[1:], strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    for name, got in layers.named_buffers():
        torch.testing.assert_close(got.double(), exact_layers.get_buffer(name).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [ZeroGammaBatchNorm2d, ShiftBatchNorm2d])
def test_kinds_of_gain(norm):
    layers, maps = nn.Sequential(norm(8), nn.ReLU()), half_maps(4, 8, 6, 6)
    expected = run(copy.deepcopy(layers), maps)
    with fused_layers(layers):
        ours, gradients = run(layers, maps)
    assert is_quick(ours)
    torch.testing.assert_close(ours, expected[0], rtol=BF16, atol=1e-6)
    for got, wanted in zip(gradients, expected[1], strict=True):
        assert distance(got, wanted.double()) < 2 * BF16 or torch.equal(got, wanted)


@pytest.mark.parametrize("shape", [(8, 16, 64, 64), (4, 640, 20, 20)], ids=str)
def test_threads_change_no_bit(shape):
    layers, maps, found, before = unit(shape[1]), half_maps(*shape), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            own = copy.deepcopy(layers)
            with fused_layers(own):
                made, gradients = run(own, maps)
            found.append([made, *gradients, *own.buffers()])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for some in found[1:] for one, other in zip(some, found[0], strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(poison):
    layers, maps = unit(4), half_maps(2, 4, 5, 5)
    with torch.no_grad():
        maps[1, 2, 3, 4] = poison
    with fused_layers(layers):
        made, (of_maps, of_weight, _) = run(layers, maps)
    assert made[:, 2].isnan().all()
    assert layers[0].running_var[2].isnan()
    assert of_weight[2].isnan()
    others = [0, 1, 3]
    assert made[:, others].isfinite().all()
    assert of_maps[:, others].isfinite().all()
    assert layers[0].running_var[others].isfinite().all()


def test_a_distance_that_dwarfs_the_spread_keeps_its_digits():
    maps = half_maps(8, 16, 16, 16)
    with torch.no_grad():
        maps += 200
    layers, exact = nn.BatchNorm2d(16), nn.BatchNorm2d(16).double()
    with fused_layers(layers):
        run(layers, maps)
    exact(maps.detach().double())
    torch.testing.assert_close(layers.running_var.double(), exact.running_var, rtol=1e-5, atol=0)


def cases():
    """Layers, and how to call them, that are not meant."""
    usual = half_maps(2, 4, 5, 5)
    yield "evaluation", unit(4).eval(), usual
    yield "channels first", unit(4), usual.detach().contiguous().requires_grad_()
    yield "float64", unit(4).double(), usual.detach().double().requires_grad_()
    yield "frozen", nn.Sequential(FrozenBatchNorm2d(4).eval(), nn.ReLU()), usual
    yield "average of all batches", nn.Sequential(nn.BatchNorm2d(4, momentum=None), nn.ReLU()), usual
    yield "no running statistics", nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()), usual
    yield "no gain", nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.ReLU()), usual


@pytest.mark.parametrize(("layers", "maps"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_other_cases_are_torch_s_to_the_bit(layers, maps):
    plain = run(copy.deepcopy(layers), maps)
    with fused_layers(layers):
        ours = run(layers, maps)
    assert not is_quick(ours[0])
    assert torch.equal(ours[0], plain[0])
    assert all(torch.equal(one, other) for one, other in zip(ours[1], plain[1], strict=True))


def test_without_gradients_layers_are_what_they_were():
    layers, maps = unit(4), half_maps(2, 4, 5, 5)
    with fused_layers(layers), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layers(maps).grad_fn is None
    assert not any("forward" in part.__dict__ for part in layers.modules())


def test_too_few_values_are_refused_by_torch():
    layers = unit(4)
    with fused_layers(layers), pytest.raises(ValueError, match="more than 1 value"):
        run(layers, half_maps(1, 4, 1, 1))


def test_layers_with_hooks_are_called_one_by_one():
    layers, maps, seen = unit(4), half_maps(2, 4, 5, 5), []
    layers[0].register_forward_hook(lambda _layer, _inputs, made: seen.append(made))
    with fused_layers(layers):
        made, _ = run(layers, maps)
    assert is_quick(seen[0])
    assert seen[0].min() < 0
    assert torch.equal(made, nn.functional.relu6(seen[0]))


def test_recomputed_blocks_count_a_batch_once():
    block, maps = unit(4), half_maps(2, 4, 5, 5)
    once, network = copy.deepcopy(block), nn.Sequential(block, nn.Identity())
    with fused_layers(once):
        plain = run(once, maps)
    with fused_layers(network), recomputing(network):
        again = run(network, maps)
    assert all(torch.equal(one, other) for one, other in zip(again[1], plain[1], strict=True))
    assert all(torch.equal(one, other) for one, other in zip(network[0].buffers(), once.buffers(), strict=True))


@pytest.mark.parametrize("order", [(fused_layers, shared_statistics), (shared_statistics, fused_layers)])
def test_statistics_of_all_ranks_take_precedence(order, tmp_path):
    layers, maps = unit(4), half_maps(2, 4, 5, 5)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with order[0](layers), order[1](layers):
            made, _ = run(layers, maps)
    finally:
        torch.distributed.destroy_process_group()
    assert not is_quick(made)
    assert not any("forward" in part.__dict__ for part in layers.modules())


def test_a_copy_made_meanwhile_has_its_own_weights():
    layers, maps = unit(4), half_maps(2, 4, 5, 5)
    with fused_layers(layers):
        copied = copy.deepcopy(layers)
        nn.init.constant_(copied[0].weight, 0)
        nn.init.constant_(copied[0].bias, 2)
        made, _ = run(copied, maps)
    assert is_quick(made)
    assert made.unique().tolist() == [2]


def test_a_graph_can_be_walked_twice_and_branches_left_out():
    layers, maps = unit(4), half_maps(2, 4, 5, 5)
    layers[0].weight.requires_grad_(False)
    with fused_layers(layers), torch.autocast("cpu", torch.bfloat16):
        made = layers(maps)
    first, second = (torch.autograd.grad(made.sum(), (maps, layers[0].bias), retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
