"""A network's weights are allocated once, and drawn once."""

import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fovea.architectures.catalogue import build

# The peak of the memory map: unlike getrusage's, it does not start from that of the process that started this one.
PEAK = """
from fovea.architectures import catalogue
catalogue.build("lenet5", seed=0)
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
before = peak()
network = catalogue.build({name!r}, seed=0)
print((peak() - before) / sum(p.nbytes for p in network.parameters()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize("name", ["vgg11_book_ratio_4", pytest.param("vgg19", marks=pytest.mark.slow)])
def test_building_takes_less_than_a_fifth_above_the_weights(name):
    done = subprocess.run([sys.executable, "-c", PEAK.format(name=name)], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.2


class Draws(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("normal_", "uniform_") and not args[0].is_meta:
            self.places.append((args[0].data_ptr(), args[0].numel()))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "name", ["lenet5_1998", "alexnet_book", "googlenet", "resnet18", "cifar_densenet_40_12", "mobilenet_v2_0_35"]
)
def test_no_tensor_is_drawn_twice(name):
    with Draws() as draws:
        network = build(name, image_size=None, num_classes=10, seed=0)
    own = {(p.data_ptr(), p.numel()) for p in network.parameters()}
    drawn = [place for place in draws.places if place in own]  # a truncated normal draws into buffers of its own too
    assert len(drawn) == len(set(drawn))
    weighted = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(drawn) >= len(weighted)
