"""What was folded for prediction is undone for training: the same logits, and statistics that fit."""

import numpy as np
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.data.opening import open_data
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Split
from fovea.transfer.unfolding import folded_norms, unfolded

SPEC = Preprocessing(image_size=32, resize=32, in_channels=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def images() -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    found = open_data((pixels, np.arange(64) % 2), split="0.9/0.1/0").train
    assert found is not None
    return found


def folded() -> nn.Module:
    """A network whose normalisations were folded: they only add something."""
    network = build("cifar_resnet20", seed=0).eval()
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.fill_(1 - module.eps)
            module.bias.data.copy_(torch.randn(module.bias.shape, generator=random))
    return network


def test_logits_stay_and_statistics_fit() -> None:
    network, split = folded(), images()
    batch = SPEC.normalise(torch.from_numpy(np.stack([SPEC.fit(split.images[i]) for i in range(len(split))])))
    norms = folded_norms(network)
    with torch.no_grad():
        before = network(batch)
        trained_before = folded().train()(batch)
        assert unfolded(network, split, SPEC) == len(norms) > 10
        after = network(batch)
        network.train()
        in_training = network(batch)
    scale = before.abs().max()
    assert (after - before).abs().max() < 1e-4 * scale
    assert (in_training - before).abs().max() < 0.05 * scale  # these very images: batch and running statistics agree
    assert (trained_before - before).abs().max() > 0.5 * scale  # as it was, training mode gave something else
    assert folded_norms(network) == []


def test_fresh_and_trained_normalisations_stay_as_they_are() -> None:
    network = build("cifar_resnet20", seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert unfolded(network, images(), SPEC) == 0
    network.train()(torch.randn(8, 3, 32, 32))
    assert folded_norms(network) == []
    assert all(
        torch.equal(before[name], tensor) for name, tensor in build("cifar_resnet20", seed=0).state_dict().items()
    )
