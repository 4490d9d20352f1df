"""Folded networks give the same logits, are folded where they can be, and are as before afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import fovea
from fovea.data.fitted import unpacked
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.runtime.folding import foldable, folded
from fovea.runtime.model import FOLDS_FROM, network_logits

ALL_FOLD = [
    ("resnet18", 64),
    ("resnet50", 64),
    ("mobilenet_v2", 96),
    ("efficientnet_b0", 96),
    ("cifar_resnet20", 32),
    ("inception_v3", 96),
    ("vgg11_bn", 224),
]


def with_statistics(name, size):
    """A network whose batch normalisations scale and shift by something."""
    network = fovea.create(name, seed=0).eval()
    random = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=random) * (high - low) + low)
    return network, torch.rand(2, 3, size, size, generator=random)


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("name", "size"), ALL_FOLD)
def test_every_normalisation_behind_a_convolution_is_folded(name, size):
    network, images = with_statistics(name, size)
    with torch.inference_mode():
        expected = network(images)
        with folded(network, images[:1]) as count:
            assert count == norms(network)
            found = network(images)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert torch.equal(network(images), expected)


@pytest.mark.parametrize("name", ["preact_resnet50", "densenet121"])
def test_what_is_read_twice_stays(name):
    network, images = with_statistics(name, 64)
    with torch.inference_mode():
        expected = network(images)
        with folded(network, images[:1]) as count:
            assert 0 < count < norms(network)
            found = network(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        made = self.one(x)
        return self.norm(made), made


def test_what_the_network_gives_too_is_not_folded():
    assert foldable(Both().eval(), torch.rand(2, 3, 4, 4)) == []


def judged(network, images):
    spec = Preprocessing(image_size=32, resize=32, in_channels=3)
    pixels = (images.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    split = Split("some", ArrayImages(pixels, "some"), np.zeros(len(pixels), np.int64), ("a",))
    return network_logits(network, unpacked(split, spec), torch.device("cpu"))


def test_few_images_are_not_worth_the_pass():
    network, _ = with_statistics("cifar_resnet20", 32)
    images, calls = torch.rand(FOLDS_FROM, 3, 32, 32), []
    network.register_forward_hook(lambda *seen: calls.append(len(seen[2])))
    few, many = judged(network, images[:-1]), judged(network, images)
    assert calls == [FOLDS_FROM - 1, 2, FOLDS_FROM]
    assert torch.allclose(few, many[:-1], atol=1e-5 * float(many.abs().max()))


def test_threads_do_not_see_each_others_folding():
    network, _ = with_statistics("cifar_resnet20", 32)
    images = torch.rand(FOLDS_FROM, 3, 32, 32)
    expected = [judged(network, images), judged(network, images[:5])]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: judged(network, images if n % 2 == 0 else images[:5]), range(12)))
    assert all(torch.equal(each, expected[n % 2]) for n, each in enumerate(found))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.twice, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.last, self.batch = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        made = self.one(x)
        x = self.norm(made) + made.mean()
        x = self.other(self.twice(self.twice(x)))
        return self.batch(self.last(x)).mean(dim=(2, 3))


def test_nothing_is_folded_that_changes_the_function():
    assert foldable(Odd().eval(), torch.rand(2, 3, 4, 4)) == []


def test_state_modes_and_hooks_are_as_before():
    network, images = with_statistics("resnet18", 64)
    state = {name: (tensor, tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()}
    with pytest.raises(KeyError, match="within"), folded(network, images):
        raise KeyError("within")
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(state)
    assert all(after[name] is kept and torch.equal(kept, copy) for name, (kept, copy) in state.items())
    assert not any(module._forward_hooks or "forward" in module.__dict__ for module in network.modules())


def test_a_network_in_training_is_left_alone():
    network, images = with_statistics("resnet18", 64)
    with folded(network.train(), images) as count:
        assert count == 0
