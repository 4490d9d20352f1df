"""Frozen stages stay to the bit, thawed ones learn in their turn, and every stage has its learning rate."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fovea.architectures.catalogue import build
from fovea.data.opening import open_data
from fovea.data.sets import Data
from fovea.errors import UsageError
from fovea.training import optimisers
from fovea.training.options import Stages, TrainingOptions, Update, options
from fovea.training.stages import HEAD, Stagewise, stages_of
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")
NAME = "cifar_resnet20"


@pytest.fixture
def data() -> Data:
    drawn = np.random.default_rng(0)
    return open_data((drawn.integers(0, 256, (60, 16, 16, 3), np.uint8), np.arange(60) % 3))


def resnet() -> nn.Module:
    return build(NAME, num_classes=3, image_size=16, seed=0)


def told(**changes: object) -> TrainingOptions:
    return options(epochs=3, batch_size=16, precision="float32", warmup_epochs=0.0).but(**changes)


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    """The stages of which a tensor changed."""
    after = network.state_dict()
    changed = [name.split(".") for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    return {parts[1] if parts[0] == "features" else HEAD for parts in changed}


def names() -> list[str]:
    return [name for name, _ in stages_of(resnet())]


@pytest.mark.parametrize("freeze", ["2", "conv2_x", "features"])
def test_frozen_stages_keep_weights_and_statistics_to_the_bit(freeze: str, data: Data, tmp_path: Path) -> None:
    network, stages = resnet(), names()
    freeze = stages[1] if freeze == "conv2_x" else freeze
    before = copied(network)
    train(network, data, told(freeze=freeze), out=tmp_path / "run", quiet=True)
    frozen = len(stages) - 1 if freeze == "features" else 2
    assert moved(before, network) == set(stages[frozen:])
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_thawing_lets_one_more_stage_learn_at_a_time() -> None:
    stages = Stagewise(resnet(), Stages(thaw_epochs=2, freeze="1"))
    count = len(stages.stages)
    assert [stages.frozen_in(epoch) for epoch in (0, 1, 2, 4, 100)] == [count - 1, count - 1, count - 2, count - 3, 1]


def test_while_only_the_head_learns_nothing_else_moves(data: Data, tmp_path: Path) -> None:
    network = resnet()
    before = copied(network)
    train(network, data, told(thaw_epochs=2, epochs=2), out=tmp_path / "run", quiet=True)
    assert moved(before, network) == {HEAD}


def test_a_thawing_run_that_was_stopped_ends_as_if_it_never_had(data: Data, tmp_path: Path) -> None:
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    chosen = told(thaw_epochs=1, layer_decay=0.5, save_steps=1)
    train(resnet(), data, chosen, out=whole, quiet=True)

    class Halt(Exception):
        pass

    def halt(_: object) -> None:
        raise Halt

    with pytest.raises(Halt):
        train(resnet(), data, chosen, out=halted, quiet=True, watcher=halt)
    train(resnet(), data, chosen, out=halted, resume=True, quiet=True)
    for name in ("weights.safetensors", "bundle.json"):
        assert (whole / "bundle" / name).read_bytes() == (halted / "bundle" / name).read_bytes()


def test_each_stage_learns_at_its_share_of_the_rate() -> None:
    network = resnet()
    stages = Stagewise(network, Stages(layer_decay=0.5))
    optimiser = optimisers.build(network, Update(), stages.scales())
    scale = {p: group["scale"] for group in optimiser.param_groups for p in group["params"]}
    highest = len(stages.stages) - 1
    for place, (_, modules) in enumerate(stages.stages):
        for module in modules:
            assert {scale[p] for p in module.parameters()} <= {0.5 ** (highest - place)}
    assert Stagewise(network, Stages()).scales() == {}


@pytest.mark.parametrize("freeze", ["7", "conv9_x"])
def test_a_stage_that_there_is_not_is_refused_with_those_there_are(freeze: str) -> None:
    with pytest.raises(UsageError, match=f"freeze .={freeze}."):
        Stagewise(resnet(), Stages(freeze=freeze))


def test_what_did_not_learn_before_does_not_learn_now(data: Data, tmp_path: Path) -> None:
    network = resnet()
    network.features[1].requires_grad_(False)
    kept = [p.clone() for p in network.features[1].parameters()]
    train(network, data, told(thaw_epochs=1), out=tmp_path / "run", quiet=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, network.features[1].parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in network.features[1].parameters())


def test_a_network_of_somebody_else_has_its_parts_for_stages() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    assert [name for name, _ in stages_of(network)] == ["0", HEAD]
