"""The watch over the layers: its numbers are those of the updates, and the training's are the same without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.errors import UsageError
from fovea.training.watching.layers import LayerWatch, read_layers


def build():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def train(network, optimiser, watch, steps, start=0, spoilt=None):
    for step in range(start, start + steps):
        torch.manual_seed(step)
        network(torch.randn(8, 1, 8, 8)).square().mean().backward()
        if watch is None:
            optimiser.step()
        else:
            with watch.observing(step, spoilt):
                optimiser.step()
        optimiser.zero_grad()


def norm(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm().item()


def test_means_are_those_of_the_watched_updates(tmp_path):
    network, optimiser = build()
    watch = LayerWatch(network, tmp_path, 2)
    expected = {"0": [], "1": [], "3": []}
    for step in range(2):
        torch.manual_seed(step)
        network(torch.randn(8, 1, 8, 8)).square().mean().backward()
        before = {name: [p.detach().clone() for p in network[int(name)].parameters()] for name in expected}
        gradients = {name: norm([p.grad for p in network[int(name)].parameters()]) for name in expected}
        with watch.observing(step):
            optimiser.step()
        optimiser.zero_grad()
        for name, weights in before.items():
            moved = [now - was for now, was in zip(network[int(name)].parameters(), weights, strict=True)]
            expected[name].append((gradients[name], norm(weights), norm(moved)))
    watch([{"epoch": 1}])
    rows = {row["layer"]: row for row in read_layers(tmp_path)}
    assert list(rows) == ["0", "1", "3"]
    for name, seen in expected.items():
        gradient, weight, update = (sum(each) / 2 for each in zip(*seen, strict=True))
        row = rows[name]
        assert row["epoch"] == 1
        assert row["gradient_norm"] == pytest.approx(gradient, rel=1e-5)
        assert row["weight_norm"] == pytest.approx(weight, rel=1e-5)
        assert row["update_ratio"] == pytest.approx(update / weight, rel=1e-4)


def test_training_is_the_same_to_the_bit_with_and_without_it(tmp_path):
    plain, watched = build(), build()
    train(*plain, None, 6)
    train(*watched, LayerWatch(watched[0], tmp_path, 3), 6)
    for one, other in zip(plain[0].state_dict().values(), watched[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 15, 16, 17, 100, 5005])
def test_about_eight_steps_of_an_epoch_are_watched_and_always_the_last(steps, tmp_path):
    watch = LayerWatch(nn.Linear(1, 1), tmp_path, steps)
    for epoch in (0, 3):
        chosen = [place for place in range(steps) if watch.samples(epoch * steps + place)]
        assert chosen[-1] == steps - 1
        assert min(steps, 8) <= len(chosen) <= 16
    assert [watch.samples(n) for n in range(steps)] == [watch.samples(n + 9 * steps) for n in range(steps)]


def test_a_resumed_run_keeps_what_was_written_and_doubles_nothing(tmp_path):
    network, optimiser = build()
    watch = LayerWatch(network, tmp_path, 2)
    for epoch in (1, 2, 3):
        train(network, optimiser, watch, 2, start=2 * epoch - 2)
        watch([{"epoch": epoch}])
    whole = (tmp_path / "layers.csv").read_text()

    network, optimiser = build()
    train(network, optimiser, None, 2)
    again = LayerWatch(network, tmp_path, 2)  # killed in epoch 2: it comes again, and the file knows epoch 3 already
    again([{"epoch": 1}])
    assert (tmp_path / "layers.csv").read_text() == whole
    for epoch in (2, 3):
        train(network, optimiser, again, 2, start=2 * epoch - 2)
        again([{"epoch": 1}, {"epoch": epoch}])
        assert [row["epoch"] for row in read_layers(tmp_path)] == [e for e in range(1, epoch + 1) for _ in range(3)]
    assert (tmp_path / "layers.csv").read_text() == whole


def test_an_update_that_was_masked_is_not_counted(tmp_path):
    network, optimiser = build()
    watch = LayerWatch(network, tmp_path, 1)
    train(network, optimiser, watch, 1, spoilt=torch.zeros(()))
    network[0].weight.grad = torch.full_like(network[0].weight, float("nan"))
    with watch.observing(1, torch.ones(())):
        pass
    watch([{"epoch": 1}])
    first = read_layers(tmp_path)
    network, optimiser = build()
    other = LayerWatch(network, tmp_path, 1)
    train(network, optimiser, other, 1)
    other([{"epoch": 1}])
    assert read_layers(tmp_path) == first
    assert len(first) == 3


def test_what_nobody_learns_is_left_out_and_shared_weights_stand_once(tmp_path):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    network[0].requires_grad_(False)
    network[3].weight = network[1].weight
    assert LayerWatch(network, tmp_path, 1).layers == ["1", "3"]
    assert LayerWatch(nn.Linear(2, 2), tmp_path, 1).layers == ["Linear"]


def test_a_layer_of_zeros_has_no_ratio_and_a_frozen_network_no_file(tmp_path):
    network = nn.Linear(2, 2)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    watch = LayerWatch(network, tmp_path, 1)
    with watch.observing(0):  # no gradient at all
        pass
    watch([{"epoch": 1}])
    assert read_layers(tmp_path) == [
        {"epoch": 1, "layer": "Linear", "gradient_norm": 0.0, "weight_norm": 0.0, "update_ratio": None}
    ]
    frozen = LayerWatch(network.requires_grad_(False), tmp_path / "other", 1)
    with frozen.observing(0):
        pass
    frozen([{"epoch": 1}])
    assert not (tmp_path / "other").exists()


def test_nothing_is_written_before_a_step_was_watched(tmp_path):
    watch = LayerWatch(build()[0], tmp_path, 4)
    watch([])
    watch([{"epoch": 1}])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"steps \(=0\) must be 1 or more"):
        LayerWatch(build()[0], tmp_path, 0)


def test_damaged_lines_are_left_out_and_earlier_epochs_when_asked(tmp_path):
    head = "epoch,layer,gradient_norm,weight_norm,update_ratio\n"
    (tmp_path / "layers.csv").write_text(f'{head}1,a,1,2,3\nrubbish\n2,b,x,2,3\n2,"c, d",1,2,\n3,e\n')
    assert [row["layer"] for row in read_layers(tmp_path)] == ["a", "c, d"]
    assert [row["layer"] for row in read_layers(tmp_path, since=2)] == ["c, d"]
    (tmp_path / "layers.csv").write_bytes(b"\xff\xfe")
    assert read_layers(tmp_path) == read_layers(tmp_path / "nowhere") == []
