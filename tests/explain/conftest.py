"""Networks that try an explainer: in place, functional, reused, in any mode."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F


class Small(nn.Module):
    """Two convolutions with a pool between them; ReLU as a module in place, one module used twice."""

    def __init__(self, classes=4, channels=3):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm, self.relu, self.pool = nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(8, classes)
        self.num_classes, self.in_channels = classes, channels

    def forward(self, images):
        maps = self.pool(self.relu(self.norm(self.first(images))))
        return self.fc(self.dropout(self.relu(self.second(maps)).mean((2, 3))))


class Functional(Small):
    """The same numbers, by functions, some in place."""

    def forward(self, images):
        maps = torch.relu_(self.norm(self.first(images)))
        maps = F.max_pool2d(maps, 2)
        return self.fc(F.relu(self.second(maps), inplace=True).mean((2, 3)))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def functional(small):
    other = Functional().eval()
    other.load_state_dict(small.state_dict())
    return other


@pytest.fixture
def images():
    return torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def state(network):
    """All that must be as before: weights, statistics, gradients, flags, modes, hooks."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
    flags = [(name, each.requires_grad, each.grad is None) for name, each in network.named_parameters()]
    modes = [
        (name, each.training, getattr(each, "inplace", None), len(each._forward_hooks), len(each._forward_pre_hooks))
        for name, each in network.named_modules()
    ]
    return digest.hexdigest(), flags, modes
