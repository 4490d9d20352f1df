"""Max pooling with the ReLU before it in one operation is torch's to the bit; layers are fused where they may be."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

import fovea
from fovea.errors import MachineError
from fovea.training.arithmetic import arranged, candidates
from fovea.training.fused import fused_layers
from fovea.training.kernels import jobs

KINDS = [torch.float32, torch.bfloat16]
ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.Identity]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def maps_of(*shape, kind=torch.float32):
    """Few different values, so that many are equal, of which some are beyond the limits of a ramp."""
    maps = torch.randint(-4, 9, shape).to(kind)
    return maps.contiguous(memory_format=torch.channels_last).requires_grad_()


def run(layers, maps):
    """What the layers make of the maps, and the gradient of the maps."""
    made = layers(maps)
    gradient = torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).to(made.dtype)
    return made, torch.autograd.grad(made, maps, gradient)[0]


def is_pooled(made):
    return "QuickPool" in type(made.grad_fn).__name__


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    "shape", [(5, 6, 28, 28), (2, 64, 16, 12), (3, 1, 2, 2), (2, 17, 7, 9), (1, 300, 3, 2), (2, 16, 90, 90)], ids=str
)
def test_the_largest_and_its_gradient_are_torch_s_to_the_bit(shape, kind, activation):
    layers, maps = nn.Sequential(activation(), nn.MaxPool2d(2)), maps_of(*shape, kind=kind)
    expected = run(layers, maps)
    with fused_layers(layers):
        ours = run(layers, maps)
    assert is_pooled(ours[0])
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True))


def test_threads_change_no_bit():
    layers, maps, found = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), maps_of(4, 24, 33, 30), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with fused_layers(layers):
                found.append(run(layers, maps))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for some in found[1:] for one, other in zip(some, found[0], strict=True))


@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
def test_nan_is_not_hidden(place, channels):
    layers, maps = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), maps_of(2, channels, 4, 4)
    with torch.no_grad():
        maps[1, 2, 2 + place[0], place[1]] = torch.nan
    with fused_layers(layers):
        made = layers(maps)
    assert made.isnan().nonzero().tolist() == [[1, 2, 1, 0]]


POOLS = {
    "overlapping": nn.MaxPool2d(3, 2),
    "padded": nn.MaxPool2d(2, 2, padding=1),
    "apart": nn.MaxPool2d(2, 3),
    "dilated": nn.MaxPool2d(2, 2, dilation=2),
    "rows alone": nn.MaxPool2d((2, 1)),
    "with a rest": nn.MaxPool2d(2, ceil_mode=True),
    "mean": nn.AvgPool2d(2),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_other_pooling_is_torch_s(pool):
    layers, maps = nn.Sequential(nn.ReLU(), pool), maps_of(2, 4, 9, 9)
    expected = run(layers, maps)
    with fused_layers(layers):
        ours = run(layers, maps)
    assert not is_pooled(ours[0])
    assert all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True))


def test_other_maps_are_torch_s():
    layers = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    with fused_layers(layers):
        assert not is_pooled(layers(torch.randn(2, 3, 4, 4, requires_grad=True)))
        assert not is_pooled(layers(maps_of(2, 3, 4, 4).double()))
        assert not is_pooled(layers(maps_of(2, 3, 4, 4)[0]))
        with torch.no_grad():
            assert layers(maps_of(2, 3, 4, 4)).grad_fn is None
    assert not any("forward" in part.__dict__ for part in layers.modules())


def test_a_ramp_at_the_end_of_a_sequence_within_is_taken_along():
    layers = nn.Sequential(nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU())), nn.MaxPool2d(2), nn.Identity())
    with fused_layers(layers):
        made = layers(maps_of(2, 4, 4, 4))
    assert is_pooled(made)
    assert "Relu" not in str(made.grad_fn.next_functions)


@pytest.mark.parametrize("which", ["0", "0.0", "1"])
def test_what_a_hook_sees_is_what_it_would_see(which):
    layers, maps, seen = nn.Sequential(nn.Sequential(nn.ReLU()), nn.MaxPool2d(2)), maps_of(2, 4, 4, 4), []
    layers.get_submodule(which).register_forward_hook(lambda _layer, inputs, made: seen.append((*inputs, made)))
    expected = run(layers, maps)
    with fused_layers(layers):
        ours = run(layers, maps)
    assert all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_a_layer_that_stands_twice_runs_twice():
    relu, pool = nn.ReLU(), nn.MaxPool2d(2)
    layers, maps = nn.Sequential(relu, relu, pool, pool, relu, pool), maps_of(2, 3, 16, 16)
    expected = run(layers, maps)
    with fused_layers(layers):
        ours = run(layers, maps)
    assert all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True))


def test_a_forward_of_an_instance_s_own_is_respected():
    layers, maps = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), maps_of(2, 3, 4, 4)
    layers[0].forward = lambda values: values + 1
    with fused_layers(layers):
        made = layers(maps)
    assert torch.equal(made, nn.functional.max_pool2d(maps + 1, 2))


@pytest.mark.parametrize("name", ["lenet5", "cifar_airbench94"])  # a ReLU before the pooling; nothing before it
def test_networks_compute_what_they_did(name):
    network = fovea.create(name, seed=0).train().to(memory_format=torch.channels_last)
    images = torch.randn(8, network.in_channels, 32, 32).contiguous(memory_format=torch.channels_last)

    def outcome():
        network.zero_grad()
        made = network(images)
        made.square().sum().backward()
        return [made.detach(), *(each.grad.clone() for each in network.parameters() if each.requires_grad)]

    expected = outcome()
    with fused_layers(network):
        ours = outcome()
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_without_numba_it_is_no_candidate_and_refused_by_name(monkeypatch):
    cpu, norm = torch.device("cpu"), nn.BatchNorm2d(4)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert candidates(norm, cpu) == ("float32", "float32-fused", "bf16", "bf16-fused")
    assert candidates(nn.MaxPool2d(2), cpu) == ("float32", "float32-fused", "bf16", "bf16-fused")
    assert candidates(nn.MaxPool2d(3, 2), cpu) == ("float32", "bf16")
    assert candidates(nn.Linear(2, 2), cpu) == ("float32", "bf16")
    jobs.has_kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "fovea.training.kernels.norm", None)  # as if numba were not there
    try:
        assert candidates(norm, cpu) == ("float32", "bf16")
        with (
            pytest.raises(MachineError, match=r"pip install 'fovea-vision\[fast\]', or choose"),
            arranged(norm, "bf16-fused"),
        ):
            pass
    finally:
        jobs.has_kernels.cache_clear()
