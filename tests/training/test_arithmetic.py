"""Each arithmetic computes what float32 does, within its own accuracy, and leaves the network as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fovea.architectures.catalogue import build
from fovea.layers.same_padding import SamePadConv2d
from fovea.training.arithmetic import arranged, autocast, candidates
from fovea.training.depthwise import DepthwiseConvolution, Geometry, gradient_of_weight

CPU = torch.device("cpu")
REMEDY = "bf16-depthwise"
REDUCED = ["bf16", REMEDY, "bf16-fused"]
BF16 = 2.0**-8  # the relative step of bf16


def gradients(network, images, precision, *, wrap=None):
    """The logits in float32, and the gradients of images and weights."""
    images = images.clone().requires_grad_()
    network.zero_grad()
    with arranged(network, precision):
        with autocast(precision, CPU):
            logits = (wrap or network)(images)
        torch.manual_seed(1)
        (logits.float() * torch.randn(logits.shape)).mean().backward()
    return logits.detach().float(), images.grad, [each.grad.clone() for each in network.parameters()]


def assert_near(ours, exact, share):
    assert (ours - exact).norm() <= share * exact.norm()


def runs_the_remedy(logits):
    """Whether the graph behind logits holds our own convolution."""
    waiting, seen = [logits.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if "DepthwiseConvolution" in type(node).__name__:
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.contiguous(memory_format=torch.channels_last)])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
        nn.Conv2d(32, 32, 3, padding=1, groups=32, stride=2),
        nn.Conv2d(32, 32, 3, padding=0, groups=32, stride=3),
        nn.Conv2d(20, 20, 5, padding=2, groups=20),
        nn.Conv2d(20, 20, 5, padding=2, groups=20, stride=2),
        nn.Conv2d(20, 20, 7, padding=3, groups=20, stride=2),
        nn.Conv2d(20, 20, 4, padding=1, groups=20),
        nn.Conv2d(20, 20, 5, padding=4, dilation=2, groups=20, stride=2),
        nn.Conv2d(20, 20, 3, padding=2, dilation=2, groups=20),
        nn.Conv2d(20, 20, (1, 5), padding=(0, 1), groups=20, stride=(2, 1)),
        nn.Conv2d(20, 20, (7, 1), padding=(3, 0), groups=20),
        nn.Conv2d(20, 20, 3, stride=(1, 2), groups=20),
        nn.Conv2d(20, 20, 2, stride=3, groups=20),
        nn.Conv2d(20, 20, 5, padding="same", groups=20),
        nn.Conv2d(20, 20, 3, padding="valid", groups=20),
        nn.Conv2d(20, 20, 5, padding=2, padding_mode="reflect", groups=20),
        SamePadConv2d(20, 20, 3, stride=2, groups=20),
        SamePadConv2d(20, 20, 5, stride=2, groups=20, bias=False),
        SamePadConv2d(20, 20, 5, dilation=2, groups=20),
    ],
    ids=str,
)
def test_a_depthwise_convolution_and_its_gradients_are_those_of_float32(layer, make):
    torch.manual_seed(0)
    images = make(torch.randn(2, layer.in_channels, 13, 14))
    exact = gradients(layer, images, "float32")
    ours = gradients(layer, images, REMEDY)
    with arranged(layer, REMEDY), autocast(REMEDY, CPU):
        assert runs_the_remedy(layer(images))
    for got, wanted in zip((ours[0], ours[1], *ours[2]), (exact[0], exact[1], *exact[2]), strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == torch.float32
        assert_near(got, wanted, 2 * BF16)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=3, groups=8),  # more padding than the kernel reaches
        pytest.param(
            nn.Conv2d(8, 8, 4, padding="same", groups=8), marks=pytest.mark.filterwarnings("ignore:Using padding")
        ),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Conv2d(1, 1, 3),
        nn.Conv2d(8, 8, 3),
    ],
    ids=str,
)
def test_other_convolutions_are_left_to_torch(layer):
    images = torch.randn(2, layer.in_channels, 9, 9)
    with arranged(layer, REMEDY), autocast(REMEDY, CPU):
        assert not runs_the_remedy(layer(images))
    plain, ours = gradients(layer, images, "bf16"), gradients(layer, images, REMEDY)
    assert torch.equal(plain[0], ours[0])
    assert torch.equal(plain[1], ours[1])


def test_the_gradient_of_weights_of_large_images_is_the_sum_over_pieces(monkeypatch):
    gradient, images = (torch.randn(5, 16, 9, 9, dtype=torch.bfloat16) for _ in range(2))
    weight, geometry = torch.empty(16, 1, 5, 5, dtype=torch.bfloat16), Geometry((1, 1), (2, 2), (1, 1))
    whole = gradient_of_weight(gradient, images, weight, geometry)
    monkeypatch.setattr("fovea.training.depthwise.LARGE", 1)
    monkeypatch.setattr("fovea.training.depthwise.PIECE", 2 * images.nbytes // 5)
    pieces = gradient_of_weight(gradient, images, weight, geometry)
    assert pieces.dtype == torch.bfloat16
    assert_near(pieces.float(), whole.float(), 2 * BF16)


def test_gradients_that_nobody_wants_are_not_computed():
    images, weight = torch.randn(2, 4, 5, 5, dtype=torch.bfloat16), torch.randn(4, 1, 3, 3, dtype=torch.bfloat16)
    geometry = Geometry((1, 1), (1, 1), (1, 1))
    DepthwiseConvolution.apply(images, weight.requires_grad_(), None, geometry).sum().backward()
    assert images.grad is None
    assert weight.grad is not None


SMALL = {
    "lenet5": (1, 32),
    "cifar_resnet20": (3, 32),
    "mobilenet_v1": (3, 64),
    "mobilenet_v2": (3, 64),
    "efficientnet_b0": (3, 64),
    "mnasnet_a1": (3, 64),
}


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("name", SMALL)
def test_a_network_s_gradients_point_where_those_of_float32_do(name, precision):
    network = build(name, num_classes=5, seed=0).eval()  # a batch's statistics would make rounding a matter of chance
    images = torch.randn(4, *(SMALL[name][0], SMALL[name][1], SMALL[name][1]))
    _, _, exact = gradients(network, images, "float32")
    _, _, ours = gradients(network, images, precision)
    exact, ours = (torch.cat([each.flatten() for each in some]) for some in (exact, ours))
    assert F.cosine_similarity(exact, ours, dim=0) > 0.95  # mnasnet_a1 has 0.976, the others above 0.99
    assert 0.95 < ours.norm() / exact.norm() < 1.05


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_densenet_40_12"])  # mobile networks' are a matter of chance
def test_in_training_fused_normalisation_is_as_near_to_float32_as_torch_s_is(name):
    network = build(name, num_classes=5, seed=0).train()
    images = torch.randn(16, 3, 32, 32)
    found = [gradients(network, images, precision) for precision in ("float32", "bf16", "bf16-fused")]
    for part in (lambda each: each[0], lambda each: torch.cat([own.flatten() for own in each[2]])):
        exact, plain, ours = map(part, found)
        assert (ours - exact).norm() <= 1.25 * (plain - exact).norm() <= 0.3 * exact.norm()


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_the_remedy_gives_the_gradients_of_bf16(name):
    network = build(name, num_classes=5, seed=0).eval()
    images = torch.randn(4, 3, 64, 64)
    exact, plain, ours = (gradients(network, images, precision) for precision in ("float32", "bf16", REMEDY))
    assert torch.equal(ours[0], plain[0])
    if torch.cpu._is_avx512_bf16_supported():
        for got, wanted in zip(
            ours[2], plain[2], strict=True
        ):  # sums in another order are rounded to bf16 all the same
            assert_near(got, wanted, BF16 / 4)
    else:  # emulated, oneDNN rounds the two ways at other places: then ours must be as near to float32 as its own
        true, own, got = (torch.cat([each.flatten() for each in some[2]]) for some in (exact, plain, ours))
        assert (got - true).norm() <= 1.1 * (own - true).norm()


@pytest.mark.parametrize("precision", ["float32", "float32-fused", *REDUCED])
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "mnasnet_a1", "nasnet_a_mobile"])
def test_a_step_of_training_is_finite_and_reaches_every_weight(name, precision):
    side = 96 if name.startswith("nasnet") else 64
    network = build(name, num_classes=5, seed=0).train()
    logits, _, found = gradients(network, torch.randn(2, 3, side, side), precision)
    assert logits.isfinite().all()
    assert all(each.isfinite().all() and each.dtype == torch.float32 for each in found)
    assert all(each.dtype == torch.float32 for each in network.state_dict().values() if each.is_floating_point())


@pytest.mark.parametrize("precision", ["float32", "float32-fused"])
def test_float32_arranged_is_plain_float32(precision):
    network = build("cifar_resnet20", num_classes=5, seed=0).train()
    images = torch.randn(4, 3, 32, 32)
    plain = copy.deepcopy(network)(images).detach()
    with arranged(network, precision), autocast(precision, CPU):
        torch.testing.assert_close(network(images).detach(), plain, rtol=1e-4, atol=1e-4)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def depthwise_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.ReLU())


def test_weights_lie_channels_last_and_nothing_else_of_the_network_changes():
    network = depthwise_net()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with arranged(network, REMEDY):
        assert list(network.state_dict()) == list(before)
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any("forward" in part.__dict__ for part in network.modules())


def test_the_remedy_is_undone_when_the_block_fails():
    network = depthwise_net()
    with pytest.raises(RuntimeError, match="channels"), arranged(network, REMEDY):
        network(torch.zeros(1, 7, 9, 9))
    assert "forward" not in network[1].__dict__


def test_arranged_twice_is_undone_by_the_outer_block():
    network, images = depthwise_net(), torch.randn(1, 3, 9, 9)
    with arranged(network, REMEDY):
        with arranged(network, REMEDY):
            pass
        with autocast(REMEDY, CPU):
            assert runs_the_remedy(network(images))
    with autocast(REMEDY, CPU):
        assert not runs_the_remedy(network(images))


def test_without_autocast_or_gradients_the_layers_are_what_they_were():
    network, images = depthwise_net(), torch.randn(1, 3, 9, 9)
    with autocast(REMEDY, CPU), torch.no_grad():
        half = network(images)
    with arranged(network, REMEDY):
        assert not runs_the_remedy(network(images))
        assert torch.equal(network(images), network(images).float())
        with autocast(REMEDY, CPU), torch.no_grad():
            torch.testing.assert_close(network(images), half)


@pytest.mark.parametrize("side", [9, 10])
@pytest.mark.parametrize("pooling", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)], ids=str)
def test_pooling_of_few_channels_gives_torch_s_numbers_and_gradients_to_the_bit(pooling, side):
    maps = (torch.randint(-3, 4, (2, 6, 8, side)) / 2).bfloat16()  # full of equal neighbours
    found = []
    for precision in ("float32", "bf16"):
        own = maps.clone().requires_grad_()
        with arranged(pooling, precision):
            pooled = pooling(own)
        torch.manual_seed(1)
        pooled.backward(torch.randn(pooled.shape).bfloat16())
        found.append((pooled.detach(), own.grad))
    (exact, its_gradient), (ours, our_gradient) = found
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, exact)
    torch.testing.assert_close(our_gradient, its_gradient)  # overlapping windows add in float32


@pytest.mark.parametrize("pooling", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1))], ids=str)
def test_the_mean_of_maps_is_torch_s_to_the_bit_and_its_gradient_lies_channels_last(pooling):
    maps, found = torch.randn(2, 24, 7, 9).bfloat16().contiguous(memory_format=torch.channels_last), []
    for precision in ("float32", "bf16"):
        own = maps.clone().requires_grad_()
        with arranged(pooling, precision):
            pooled = pooling(own)
        (gradient,) = torch.autograd.grad(pooled, own, torch.arange(48.0).view(2, 24, 1, 1).bfloat16())
        found.append((pooled.detach(), gradient))
    assert all(torch.equal(ours, exact) for ours, exact in zip(found[1], found[0], strict=True))
    assert found[1][1].stride(1) == 1


@pytest.mark.parametrize("pooling", [nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d((1, None))], ids=str)
def test_means_over_parts_of_maps_are_left_to_torch(pooling):
    maps = torch.randn(2, 3, 6, 4, requires_grad=True)
    with arranged(pooling, "bf16"):
        assert torch.equal(pooling(maps), F.adaptive_avg_pool2d(maps, pooling.output_size))


def test_a_copy_made_meanwhile_computes_with_its_own_weights():
    network, images = depthwise_net(), torch.randn(1, 3, 9, 9)
    with arranged(network, REMEDY), autocast(REMEDY, CPU):
        copied = copy.deepcopy(network)
        with torch.no_grad():
            copied[1].weight.zero_()
            copied[1].bias.zero_()
        assert copied(images).abs().max() == 0
        assert network(images).abs().max() > 0


def test_a_layer_used_twice_collects_both_gradients():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    network, images = nn.Sequential(layer, nn.Tanh(), layer), torch.randn(2, 8, 9, 9)
    _, _, exact = gradients(network, images, "float32")
    _, _, ours = gradients(network, images, REMEDY)
    for got, wanted in zip(ours, exact, strict=True):
        assert_near(got, wanted, 4 * BF16)


def test_recomputing_gives_the_same_gradients():
    network, images = depthwise_net(), torch.randn(2, 3, 9, 9)
    plain = gradients(network, images, REMEDY)
    again = gradients(network, images, REMEDY, wrap=lambda x: checkpoint(network, x, use_reentrant=False))
    assert torch.equal(plain[1], again[1])
    assert all(torch.equal(one, other) for one, other in zip(plain[2], again[2], strict=True))


def test_ranks_share_the_gradients(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        network, images = depthwise_net(), torch.randn(2, 3, 9, 9)
        plain = gradients(network, images, REMEDY)
        shared = gradients(network, images, REMEDY, wrap=nn.parallel.DistributedDataParallel(network))
    finally:
        torch.distributed.destroy_process_group()
    for one, other in zip(plain[2], shared[2], strict=True):
        torch.testing.assert_close(one, other)


def test_bf16_is_a_candidate_only_where_the_hardware_has_it(monkeypatch):
    plain, depthwise = nn.Conv2d(3, 8, 3), depthwise_net()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert candidates(plain, CPU) == ("float32", "bf16")
    assert candidates(depthwise, CPU) == ("float32", "bf16", REMEDY)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    assert candidates(depthwise, CPU) == ("float32",)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    assert candidates(depthwise, torch.device("cuda")) == ("float32",)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)  # noqa: ARG005
    assert candidates(depthwise, torch.device("cuda")) == ("float32", "bf16")
    assert candidates(depthwise, torch.device("mps")) == ("float32",)
