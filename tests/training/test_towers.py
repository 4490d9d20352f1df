"""AlexNet's towers apart: the numbers of one device, on two devices of a process and on two ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import distributed as dist
from torch import nn

from fovea.architectures import alexnet
from fovea.architectures.catalogue import build
from fovea.errors import MachineError, ModelError, ShapeError, UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import initialise, torch_default
from fovea.layers.local_response_norm import LocalResponseNorm
from fovea.training import optimisers
from fovea.training.options import Update
from fovea.training.towers.apart import TowersApart, across_ranks, apart, two_devices
from fovea.training.towers.halving import towers_of

CPU = torch.device("cpu")
KINDS = ("tiny", "alexnet")
STEPS, INTERRUPTED = 5, 3


def conv(in_channels, out_channels, groups=1):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=groups), nn.ReLU())


def tiny(num_classes=5, **changes):
    """Like AlexNet, a thousandth of it, with a number of classes that cannot be halved."""
    stages = {
        "conv1": conv(3, 8),
        "norm1": LocalResponseNorm(5, alpha=1.0, groups=2),
        "pool1": nn.MaxPool2d(3, stride=2),
        "conv2": conv(8, 12, groups=2),
        "conv3": conv(12, 12),
        "conv4": conv(12, 8, groups=2),
        "pool4": nn.MaxPool2d(3, stride=2),
    }
    head = {
        "flatten": nn.Flatten(),
        "fc5": nn.Sequential(nn.Linear(8 * 3 * 3, 32), nn.ReLU(), nn.Dropout(0.3)),
        "fc6": nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Dropout(0.5)),
        "fc7": nn.Linear(24, num_classes),
    }
    return ConvNet(stages | changes, head=head, in_channels=3)


def made(kind, seed=1):
    """A network, images and labels; signals are strong, so that whatever crosses between the towers shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "tiny":
            network, side, classes = tiny(), 16, 5
        else:
            with patch.dict(alexnet.UNITS, fc6=128, fc7=96):  # a thirtieth of the memory, and all of the structure
                network, side, classes = build("alexnet", num_classes=10, image_size=28, stem="small"), 28, 10
            initialise(network, torch_default)
            network.features.norm1.alpha = network.features.norm2.alpha = 0.5
            network.to(memory_format=torch.channels_last)  # as the loop lays it out
        torch.manual_seed(9)
        return network, torch.randn(6, 3, side, side), torch.arange(6) % classes


def optimiser_of(network, name="sgd"):
    if name == "sgd":
        return optimisers.build(network, Update(lr=0.02, momentum=0.9, weight_decay=1e-3))
    return optimisers.build(network, Update(optimiser=name, lr=1e-3))


def trained(network, optimiser, images, labels, steps):
    """Logits, loss and gradient norm of each step, and the gradients of the first; seeded as the loop does it."""
    network.train()
    found = {"logits": [], "loss": [], "norm": []}
    for step in steps:
        torch.manual_seed(100 + step)
        logits = network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
        found.setdefault("gradients", gradients)
        alone = torch.cat([each.double().flatten() for each in gradients.values()]).norm()
        norm = network.gradient_norm() if isinstance(network, TowersApart) else alone
        for name, value in (("logits", logits), ("loss", loss), ("norm", norm)):
            found[name].append(value.detach().clone())
        optimiser.step()
        optimiser.zero_grad()
    return found


def assert_same(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_trained_alike(found, expected):
    """Numbers of all steps, the first gradients, and the weights and momenta at the end."""
    for name in ("logits", "loss"):
        assert len(found[name]) == len(expected[name]) == STEPS
        for ours, theirs in zip(found[name], expected[name], strict=True):
            assert_same(ours, theirs)
    # float32's sum of millions of squares is as exact as this, with towers and without
    assert torch.stack(found["norm"]).tolist() == pytest.approx(torch.stack(expected["norm"]).tolist(), rel=1e-4)
    for name in ("gradients", "weights", "momenta"):
        assert list(found[name]) == list(expected[name])
        for key, theirs in expected[name].items():
            assert_same(found[name][key], theirs)


def with_end(found, network, optimiser):
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    momenta = {name: optimiser.state[each]["momentum_buffer"] for name, each in network.named_parameters()}
    return {**found, "weights": weights, "momenta": momenta}


@pytest.fixture(scope="module")
def on_one():
    """What one device computes, by kind of network."""
    found = {}
    for kind in KINDS:
        network, images, labels = made(kind)
        optimiser = optimiser_of(network)
        found[kind] = with_end(trained(network, optimiser, images, labels, range(STEPS)), network, optimiser)
    return found


def interrupted(network, halves, images, labels):
    """Train, put all into the whole network after some steps, as a checkpoint does, and go on from there anew."""
    whole, optimiser = optimiser_of(network), optimiser_of(halves)
    first = trained(halves, optimiser, images, labels, range(INTERRUPTED))
    halves.merge_into(network)
    halves.merge_state(optimiser, network, whole)
    with torch.no_grad():
        for parameter in halves.parameters():
            parameter.zero_()
    again = optimiser_of(halves)
    halves.take_from(network)
    halves.take_state(whole, network, again)
    rest = trained(halves, again, images, labels, range(INTERRUPTED, STEPS))
    halves.merge_into(network)
    halves.merge_state(again, network, whole)
    found = {name: first[name] + rest[name] for name in ("logits", "loss", "norm")}
    return with_end({**found, "gradients": halves.merged(first["gradients"])}, network, whole)


def rank_alone(rank, folder):
    """What each of the two processes runs; the second one's own weights are others, and not to be used."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for kind in KINDS:
        network, images, labels = made(kind, seed=1 + rank)
        halves = across_ranks(network, CPU)
        found = interrupted(network, halves, images, labels)
        found["parameters"] = sum(parameter.numel() for parameter in halves.parameters())
        halves.eval()
        with torch.no_grad():
            found["judged"] = halves(images)
        torch.save(found, folder / f"{kind}{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """What both ranks of two found, by kind of network."""
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in started:
            process.kill()
    return {kind: [torch.load(folder / f"{kind}{rank}.pt") for rank in range(2)] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_two_devices_equals_training_on_one(kind, on_one):
    network, images, labels = made(kind)
    halves, optimiser = apart(network, (CPU, CPU)), optimiser_of(network)
    own = optimiser_of(halves)
    found = trained(halves, own, images, labels, range(STEPS))
    halves.merge_into(network)
    halves.merge_state(own, network, optimiser)
    found["gradients"] = halves.merged(found["gradients"])
    assert_trained_alike(with_end(found, network, optimiser), on_one[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_two_ranks_equals_training_on_one_device(kind, on_one, on_ranks):
    for found in on_ranks[kind]:
        assert_trained_alike(found, on_one[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_both_ranks_have_the_same_logits_and_whole_weights_to_the_bit(kind, on_ranks):
    first, second = on_ranks[kind]
    for name in ("logits", "loss", "norm"):
        assert all(torch.equal(a, b) for a, b in zip(first[name], second[name], strict=True))
    for name in ("weights", "momenta", "gradients"):
        assert all(torch.equal(first[name][key], second[name][key]) for key in first[name])


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_equal_two_devices_of_one_process_to_the_bit(kind, on_ranks):
    network, images, labels = made(kind)
    found = interrupted(network, apart(network, (CPU, CPU)), images, labels)
    theirs = on_ranks[kind][0]
    assert all(torch.equal(a, b) for a, b in zip(found["logits"], theirs["logits"], strict=True))
    assert all(torch.equal(weight, theirs["weights"][name]) for name, weight in found["weights"].items())


@pytest.mark.parametrize("kind", KINDS)
def test_each_rank_holds_half_of_the_parameters(kind, on_ranks):
    network, _, _ = made(kind)
    total = sum(parameter.numel() for parameter in network.parameters())
    first, second = (found["parameters"] for found in on_ranks[kind])
    assert first + second == total
    assert first - second == network.num_classes % 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_ranks_judge_is_what_the_whole_network_judges(kind, on_ranks):
    network, images, _ = made(kind)
    network.load_state_dict(on_ranks[kind][0]["weights"])
    with torch.no_grad():
        expected = network.eval()(images)
    for found in on_ranks[kind]:
        assert_same(found["judged"], expected)


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_stopping_apart_and_going_on_apart_changes_no_bit(name):
    network, images, labels = made("tiny")
    halves = apart(network, (CPU, CPU))
    trained(halves, optimiser_of(halves, name), images, labels, range(STEPS))

    resumed, _, _ = made("tiny")
    first = apart(resumed, (CPU, CPU))
    before, whole = optimiser_of(first, name), optimiser_of(resumed, name)
    trained(first, before, images, labels, range(INTERRUPTED))
    first.merge_into(resumed)
    first.merge_state(before, resumed, whole)
    second = apart(resumed, (CPU, CPU))
    after = optimiser_of(second, name)
    second.take_state(whole, resumed, after)
    trained(second, after, images, labels, range(INTERRUPTED, STEPS))
    expected = halves.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in second.state_dict().items())


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_a_run_begun_apart_goes_on_on_one_device(name):
    alone, images, labels = made("tiny")
    trained(alone, optimiser_of(alone, name), images, labels, range(STEPS))
    network, _, _ = made("tiny")
    halves = apart(network, (CPU, CPU))
    own, whole = optimiser_of(halves, name), optimiser_of(network, name)
    trained(halves, own, images, labels, range(INTERRUPTED))
    halves.merge_into(network)
    halves.merge_state(own, network, whole)
    trained(network, whole, images, labels, range(INTERRUPTED, STEPS))
    for ours, theirs in zip(network.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_alexnet_itself_is_halved():
    network = build("alexnet", num_classes=10, image_size=28, stem="small", seed=2).eval()
    halves = apart(network, (CPU, CPU))
    first, second = (sum(p.numel() for p in half.parameters()) for half in halves.halves.values())
    assert first == second == sum(p.numel() for p in network.parameters()) // 2
    images = 50 * torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        assert_same(halves(images), network(images))


def test_halves_of_weights_that_lie_channels_last_lie_so_too_and_train_alike(on_one):
    network, images, labels = made("tiny")
    whole = network.to(memory_format=torch.channels_last)
    halves = apart(whole, (CPU, CPU))
    weight = halves.get_parameter("halves.1.features.conv3.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    own, optimiser = optimiser_of(halves), optimiser_of(whole)
    found = trained(halves, own, images, labels, range(STEPS))
    halves.merge_into(whole)
    halves.merge_state(own, whole, optimiser)
    found["gradients"] = halves.merged(found["gradients"])
    assert_trained_alike(with_end(found, whole, optimiser), on_one["tiny"])


def test_a_tower_does_not_see_the_other_but_where_both_are_read():
    network, images, _ = made("tiny")
    halves = apart(network, (CPU, CPU)).eval()
    seen = {}
    for name in ("features.conv2.0", "features.conv3.0", "features.norm1", "head.fc6.0", "head.fc7"):
        layer = halves.halves["1"].get_submodule(name)
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    halves(images)
    channels = {name: (maps.shape[1], out.shape[1]) for name, (maps, out) in seen.items()}
    assert channels == {
        "features.conv2.0": (4, 6), "features.conv3.0": (12, 6), "features.norm1": (4, 4),
        "head.fc6.0": (32, 12), "head.fc7": (12, 5),
    }  # fmt: skip
    whole = network.eval().stage_outputs(images, ["norm1", "conv2"])
    torch.testing.assert_close(seen["features.norm1"][1], whole["norm1"][:, 4:])


def test_dropout_drops_the_same_units_as_on_one_device():
    network, images, _ = made("tiny")
    halves = apart(network, (CPU, CPU))
    masks = {}
    network.head.fc5.register_forward_hook(lambda *seen: masks.update(alone=seen[-1]))
    for tower in "01":
        layer = halves.halves[tower].head.fc6[0]
        layer.register_forward_pre_hook(lambda _, seen, tower=tower: masks.update({tower: seen[0]}))
    for each in (network, halves):
        torch.manual_seed(4)
        each.train()(images)
    assert torch.equal(masks["0"], masks["1"])
    torch.testing.assert_close(masks["0"], masks["alone"])
    assert torch.equal(masks["0"] == 0, masks["alone"] == 0)


def test_building_the_halves_draws_nothing_and_leaves_the_network_as_it_was():
    network, images, labels = made("tiny")
    network.features.conv1.requires_grad_(requires_grad=False)
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in network.state_dict().items()}
    halves = apart(network.eval(), (CPU, CPU))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not halves.training
    frozen = {name for name, parameter in halves.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"halves.{tower}.features.conv1.0.{each}" for tower in "01" for each in ("weight", "bias")}
    optimiser = torch.optim.SGD([p for p in halves.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(halves(images), labels).backward()
    optimiser.step()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_halves_of_anything_shaped_as_the_weights_merge_to_the_whole_and_back():
    network, _, _ = made("tiny")
    halves = apart(network, (CPU, CPU))
    parts = halves.halved(network.state_dict())
    assert set(parts) == set(halves.state_dict())
    merged = halves.merged(parts)
    assert list(merged) == list(network.state_dict())
    assert all(torch.equal(merged[name], tensor) for name, tensor in network.state_dict().items())
    name = "head.fc5.0.weight"
    with pytest.raises(ModelError, match=rf"{name}: a tensor \(3, 3\) is not shaped"):
        halves.halved({name: torch.zeros(3, 3)})
    with pytest.raises(ModelError, match=rf"{name}: a tensor \(3, 3\) is not shaped"):
        halves.merged({f"halves.{tower}.{name}": torch.zeros(3, 3) for tower in "01"})


def test_optimisers_of_different_kinds_are_refused():
    network, _, _ = made("tiny")
    halves = apart(network, (CPU, CPU))
    sgd, adam = optimiser_of(halves), optimiser_of(network, "adamw")
    with pytest.raises(ModelError, match=r"AdamW remembers step, exp_avg, exp_avg_sq of features\.conv1"):
        halves.merge_state(sgd, network, adam)


def test_gradients_of_both_towers_are_scaled_together():
    network, images, labels = made("tiny")
    halves = apart(network, (CPU, CPU))
    nn.functional.cross_entropy(halves(images), labels).backward()
    before = halves.gradient_norm()
    halves.scale_gradients(0.5 / before)
    assert halves.gradient_norm().item() == pytest.approx(0.5)


def test_bfloat16_arithmetic_is_as_close_as_bfloat16_is():
    network, images, _ = made("tiny")
    halves = apart(network.eval(), (CPU, CPU))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = halves(images).float(), network(images).float()
    assert 0 < (ours - theirs).abs().max() < 0.03 * theirs.abs().max()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda: build("alexnet", towers=1, image_size=28, stem="small"), "features.norm1|no convolution"),
        (lambda: build("alexnet_one_tower"), "no convolution has two groups"),
        (lambda: build("lenet5"), "is|no convolution"),
        (lambda: build("resnet18"), r"features\.\S+ is "),
        (lambda: nn.Linear(3, 2), "Linear is not one row of stages"),
        (lambda: tiny(norm1=LocalResponseNorm(5)), "features.norm1 is LocalResponseNorm"),
        (lambda: tiny(norm1=nn.BatchNorm2d(8)), "features.norm1 is BatchNorm2d"),
        (lambda: tiny(conv3=conv(12, 13), conv4=conv(13, 8)), r"features.conv3.0 has 13 filters"),
        (lambda: tiny(conv1=nn.ReLU(), norm1=nn.ReLU()), "begins with features.conv1"),
    ],
)
def test_networks_without_two_towers_are_refused_and_the_one_with_them_is_named(network, reason):
    for refusing in (towers_of, lambda each: apart(each, (CPU, CPU))):
        with pytest.raises(UsageError, match=reason) as caught:
            refusing(network())
        assert "alexnet (towers=2)" in str(caught.value)


def test_images_of_other_channels_are_refused():
    halves = apart(made("tiny")[0], (CPU, CPU))
    with pytest.raises(ShapeError, match="images have 1 channels, but the network takes 3"):
        halves(torch.zeros(1, 1, 16, 16))


def test_one_rank_is_too_few(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        with pytest.raises(UsageError, match=r"two towers need two ranks, and there are 1; .*torchrun"):
            across_ranks(made("tiny")[0], CPU)
    finally:
        dist.destroy_process_group()


def test_the_cpu_takes_both_towers_and_one_gpu_does_not(monkeypatch):
    assert two_devices(CPU) == (CPU, CPU)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MachineError, match=r"need two devices, and there is 1 \(cuda\)"):
        two_devices(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert two_devices(torch.device("cuda", 3)) == (torch.device("cuda", 3), torch.device("cuda", 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_tower_on_the_gpu_and_one_on_the_cpu_train_as_on_the_gpu():
    gpu = torch.device("cuda", 0)
    alone, images, labels = made("tiny")
    alone, images, labels = alone.to(gpu), images.to(gpu), labels.to(gpu)
    expected = trained(alone, optimiser_of(alone), images, labels, range(STEPS))
    halves = apart(made("tiny")[0], (gpu, CPU))
    found = trained(halves, optimiser_of(halves), images, labels, range(STEPS))
    for ours, theirs in zip(found["logits"], expected["logits"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank_alone(int(sys.argv[1]), Path(sys.argv[2]))
