"""Five very different networks learn one batch by heart: what is built can be trained."""

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build

# AlexNet starts for pixels of 0 to 255 less their mean, so its images have that deviation.
NETWORKS = {
    "alexnet": {"image_size": 67, "lr": 1e-4, "deviation": 58.0},
    "googlenet": {"image_size": 64, "lr": 3e-4, "deviation": 1.0},
    "cifar_resnet20": {"image_size": 32, "lr": 1e-2, "deviation": 1.0},
    "cifar_densenet_bc_100_12": {"image_size": 16, "lr": 3e-3, "deviation": 1.0},
    "mobilenet_v2": {"image_size": 64, "lr": 3e-3, "deviation": 1.0},
}
IMAGES, STEPS = 16, 150


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_one_batch_is_learned_to_zero_error(name):
    settings = NETWORKS[name]
    size = settings["image_size"]
    network = without_dropout(build(name, num_classes=10, image_size=size, seed=0)).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, size, size, generator=generator) * settings["deviation"]
    labels = torch.arange(IMAGES) % 10
    optimiser = torch.optim.Adam(network.parameters(), lr=settings["lr"])
    for step in range(STEPS):
        logits = network(images)
        if torch.equal(logits.argmax(dim=1), labels):
            print(f"{name}: zero error on {IMAGES} images after {step} steps")
            return
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()
    pytest.fail(f"{name}: {int((logits.argmax(dim=1) != labels).sum())} of {IMAGES} wrong after {STEPS} steps")
