"""Averages of the weights: what they are, that they are judged, and that they survive a stop."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from torch import nn

from fovea.data.opening import open_data
from fovea.errors import Stopped
from fovea.layers.batch_norm import estimate_statistics
from fovea.training import checkpoints, loop
from fovea.training.averaging import ExponentialAverage, average_of
from fovea.training.options import Averaging
from fovea.training.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")


def linear(*values):
    layer = nn.Linear(1, len(values), bias=False)
    layer.weight.data = torch.tensor(values)[:, None]
    return layer


def test_an_exponential_average_forgets_by_its_decay_and_faster_while_it_is_young():
    layer = linear(1.0, 2.0)
    average = ExponentialAverage(layer, 0.9)
    layer.weight.data.fill_(3.0)
    average.step(1)  # (1 + 1) / (10 + 1) stays
    expected = torch.tensor([1.0, 2.0]) * 2 / 11 + 3.0 * 9 / 11
    assert torch.allclose(average.tensors()["weight"][:, 0], expected)
    average.step(1000)
    assert torch.allclose(average.tensors()["weight"][:, 0], 0.9 * expected + 0.1 * 3.0)


def test_a_stochastic_average_is_the_even_mean_of_the_last_epochs():
    layer = linear(0.0)
    average = average_of(layer, Averaging(swa_epochs=3), 5)
    seen = []
    for epoch in range(1, 6):
        layer.weight.data.fill_(float(epoch**2))
        average.epoch(epoch)
        seen.append(average.tensors()["weight"].item())
    assert seen == pytest.approx([1, 4, 9, (9 + 16) / 2, (9 + 16 + 25) / 3])


def test_no_average_is_kept_where_none_is_asked_for():
    assert average_of(linear(1.0), Averaging(), 5) is None


def test_the_network_has_the_averages_for_a_while_and_its_own_weights_afterwards():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = ExponentialAverage(network, 0.5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for tensor in average.tensors().values():
        tensor.add_(1.0)
    with average.in_place():
        assert all(torch.equal(network.state_dict()[n], t) for n, t in average.tensors().items())
        network[1].running_mean.fill_(7.0)  # as an estimation of statistics does
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    assert average.tensors()["1.running_mean"].tolist() == [7.0, 7.0]
    average.adopt()
    assert network[1].running_mean.tolist() == [7.0, 7.0]


def with_norm(seed=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 3))


@pytest.mark.parametrize("changes", [{"ema": 0.8}, {"swa_epochs": 2}], ids=["ema", "swa"])
def test_a_run_judges_and_keeps_the_average_and_resumes_it_to_the_bit(
    changes, tmp_path, arrays, quick, read_files, monkeypatch
):
    told = quick.but(**changes, epochs=4)
    whole = train(with_norm(), arrays, told, out=tmp_path / "whole", quiet=True)
    plain = train(with_norm(), arrays, quick.but(epochs=4), out=tmp_path / "plain", quiet=True)
    assert whole.scores["validation"].negative_log_likelihood == whole.history[-1]["validation_loss"]
    assert whole.history[-1]["validation_loss"] != plain.history[-1]["validation_loss"]

    real = loop.learning_rate

    def stopping(step, *rest):
        if step == 7:  # in the third of four epochs
            signal.raise_signal(signal.SIGTERM)
        return real(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(Stopped):
            train(with_norm(), arrays, told, out=tmp_path / "cut", quiet=True)
    train(with_norm(9), arrays, told, out=tmp_path / "cut", resume=True, quiet=True)
    assert read_files(tmp_path / "cut/bundle") == read_files(tmp_path / "whole/bundle")
    assert (
        checkpoints.first_difference(tmp_path / "cut" / checkpoints.LAST, tmp_path / "whole" / checkpoints.LAST) == ""
    )


def test_a_stochastic_average_has_statistics_of_its_own(tmp_path, arrays, quick):
    run = train(with_norm(), arrays, quick.but(swa_epochs=2, lr=0.1), out=tmp_path / "run", quiet=True)
    norm, data = run.model.network[1], open_data(arrays)
    kept = norm.running_mean.clone()
    images = torch.from_numpy(np.stack([data.train.images[i] for i in range(54)]))[:, None]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))  # augmentation shifts by up to a pixel, zeros come in
    shifted = [padded[:, :, y : y + 16, x : x + 16] for y in range(3) for x in range(3)]
    estimate_statistics(run.model.network, [run.model.bundle.preprocessing.normalise(each) for each in shifted])
    assert torch.allclose(kept, norm.running_mean, atol=0.05)
    assert (kept - norm.running_mean).abs().max() > 0  # estimated from other shifts than these
