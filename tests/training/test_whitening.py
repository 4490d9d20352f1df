"""The whitening start in training: filters that stay, a bias that learns for three epochs, the same after a stop."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.data.opening import open_data
from fovea.data.sets import Data
from fovea.errors import UsageError
from fovea.training.options import Stages, TrainingOptions, options
from fovea.training.stages import BIAS_EPOCHS, Stagewise
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def data() -> Data:
    drawn = np.random.default_rng(0)
    return open_data((drawn.integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 2))


def small(filters: int = 8) -> nn.Sequential:
    torch.manual_seed(1)
    parts = [nn.Conv2d(1, filters, 2), nn.GELU(), nn.Conv2d(filters, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(4, 2))


def told(**changes: object) -> TrainingOptions:
    told = options(epochs=BIAS_EPOCHS + 1, batch_size=12, precision="float32", whiten=True, snapshot_epochs=1)
    return told.but(**changes)


def first(run: Path, epoch: int) -> list[torch.Tensor]:
    """Filters and bias of the first convolution after so many epochs."""
    from safetensors.torch import load_file

    held = load_file(next(run.rglob(f"*{epoch}.safetensors")))
    return [next(t for name, t in held.items() if name.endswith(f"0.{kind}")) for kind in ("weight", "bias")]


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fovea.training import train as module

    out = tmp_path_factory.mktemp("whiten") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "draw", lambda *_: None)
        network = small()
        train(network, data, told(), out=out, quiet=True)
    assert all(parameter.requires_grad for parameter in network.parameters())
    return out


def test_filters_are_whitening_and_stay_while_the_bias_learns_for_three_epochs(run: Path) -> None:
    epochs = [first(run, epoch) for epoch in range(1, BIAS_EPOCHS + 2)]
    filters = epochs[0][0]
    assert torch.equal(filters[:4], -filters[4:])
    assert all(torch.equal(weight, filters) for weight, _ in epochs)
    biases = [small()[0].bias.detach(), *(bias for _, bias in epochs)]
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(biases)]
    assert changed == [True] * BIAS_EPOCHS + [False]


def test_a_run_that_was_stopped_ends_as_if_it_never_had(data: Data, run: Path, tmp_path: Path) -> None:
    halted = tmp_path / "halted"

    class Halt(Exception):
        pass

    def halt(rows: list[object]) -> None:
        if len(rows) == 2:
            raise Halt

    with pytest.raises(Halt):
        train(small(), data, told(), out=halted, quiet=True, watcher=halt)
    train(small(), data, told(), out=halted, resume=True, quiet=True)
    name = "bundle/weights.safetensors"
    assert (run / name).read_bytes() == (halted / name).read_bytes()


def test_under_several_ranks_a_bias_at_rest_is_named_instead_of_losing_its_gradient() -> None:
    alone, shared = small(), small()
    stages = [Stagewise(alone, Stages(whiten=True)), Stagewise(shared, Stages(whiten=True), shared=True)]
    for each in stages:
        each.begin(BIAS_EPOCHS - 1)
        assert each.resting == []
        each.begin(BIAS_EPOCHS)
    assert [each[0].weight.requires_grad for each in (alone, shared)] == [False, False]
    assert [each[0].bias.requires_grad for each in (alone, shared)] == [False, True]
    assert [len(each.resting) for each in stages] == [0, 1]
    assert stages[1].resting[0] is shared[0].bias


def test_what_cannot_be_whitened_is_refused(data: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"8 filters or more.*out_channels=7"):
        train(small(7), data, told(), out=tmp_path / "few", quiet=True)
    network = build("cifar_airbench94", in_channels=1, num_classes=2, image_size=16)
    network.origin = {"source": "elsewhere"}  # as whoever filled it notes
    with pytest.raises(UsageError, match="weights that are given"):
        train(network, data, told(), out=tmp_path / "given", quiet=True)
    with pytest.raises(UsageError, match=r"whiten \(=True\) must be off where stages are frozen"):
        told(freeze="1")
