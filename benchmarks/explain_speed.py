"""What looking into a network costs, against what it cannot do without; peers in the same interleaved runs.

    OMP_NUM_THREADS=1 python benchmarks/explain_speed.py --rounds 7
    OMP_NUM_THREADS=1 python benchmarks/explain_speed.py --memory

ResNet-50 at 224 pixels on one thread. Grad-CAM and saliency against a forward and backward pass (weights' gradients
included, as training has them), and against captum and grad-cam where they are installed; occlusion on a 14×14 grid
against 196 forward passes in the same batches; t-SNE of 2,000 images' features of 1,280 numbers, in seconds. Each
round runs everything once, in another order; figures are medians of ratios within rounds. With --memory: the most that
a process has held at once, each method in one of its own, eight images at a time, beside a training step of eight.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from fovea.architectures.catalogue import build
from fovea.explain.aims import logits_of
from fovea.explain.methods import METHODS
from fovea.explain.options import ExplainOptions
from fovea.explain.question import Question
from fovea.explain.untouched import untouched

BATCH = 8


def peers(network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The same by captum and grad-cam, as far as they are installed."""
    found: dict[str, Callable[[], object]] = {}
    try:
        from captum.attr import Saliency
    except ImportError:
        pass
    else:
        found["saliency, captum"] = lambda: Saliency(network).attribute(images.clone().requires_grad_(), target=targets)
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return found

    def theirs() -> object:
        with GradCAM(model=network, target_layers=[network.features.conv5_x]) as cam:
            return cam(images, [ClassifierOutputTarget(int(each)) for each in targets])

    return found | {"Grad-CAM, grad-cam": theirs}


def jobs(network: torch.nn.Module, images: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    targets = torch.zeros(len(images), dtype=torch.int64)

    def ask(name: str, some: torch.Tensor) -> object:
        with untouched(network):
            options = ExplainOptions(batch_size=BATCH)
            return METHODS[name].ask(Question(network=network, images=some, aim=targets[: len(some)], options=options))

    def passes() -> None:
        leaf = images.clone().requires_grad_()
        logits_of(network, leaf)[:, 0].sum().backward()
        network.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad():
            for first in range(0, 196, BATCH):
                network(images[: 196 - first])

    return {
        "forward and backward": passes,
        "Grad-CAM": lambda: ask("grad_cam", images),
        "saliency": lambda: ask("saliency", images),
        **peers(network, images, targets),
        "196 forward passes": forward,
        "occlusion 14×14": lambda: ask("occlusion", images[:1]),
    }


def train(network: torch.nn.Module, images: torch.Tensor) -> None:
    """A training step of SGD with momentum, twice, so that the optimiser's own numbers are there."""
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.int64)).backward()
        optimiser.step()


def peak(name: str) -> int:
    """Do one thing, and say how many bytes this process has held at most."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build("resnet50").eval().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    if name == "nothing":
        pass
    elif name == "training step":
        train(network, images)
    else:
        options = ExplainOptions(batch_size=BATCH, grid=4, samples=16, most_steps=64)
        with untouched(network):
            targets = torch.zeros(len(images), dtype=torch.int64)
            METHODS[name].ask(Question(network=network, images=images, aim=targets, options=options))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> None:
    """Print the most that each holds."""
    bytes_ = {}
    for name in ("nothing", "training step", *METHODS):
        done = subprocess.run([sys.executable, __file__, "--peak", name], capture_output=True, text=True, check=False)
        if done.returncode:  # such as a method that the network does not have
            print(f"{name:<22} {done.stderr.strip().splitlines()[-1]}")
            continue
        bytes_[name] = int(done.stdout)
        more = bytes_[name] - bytes_["nothing"]
        print(f"{name:<22} {more / 2**20:8.0f} MiB more than nothing", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", help="for --memory: one thing, in this process")
    asked = parser.parse_args()
    if asked.peak:
        print(peak(asked.peak))
        return
    if asked.memory:
        memory()
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build("resnet50").eval().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    todo = jobs(network, images)
    seconds: dict[str, list[float]] = {name: [] for name in todo}
    for turn in range(-1, asked.rounds):  # the first warms up
        for name in random.Random(turn).sample(list(todo), len(todo)):
            started = time.perf_counter()
            todo[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    for name, taken in seconds.items():
        base = "196 forward passes" if name in ("196 forward passes", "occlusion 14×14") else "forward and backward"
        ratio = statistics.median(own / whole for own, whole in zip(taken, seconds[base], strict=True))
        print(f"{name:<22} {statistics.median(taken):8.2f} s   {ratio:5.2f} of {base}")
    from fovea.explain.spaces import embedded

    rows = np.random.default_rng(0).normal(size=(2000, 1280)).astype(np.float32)
    started = time.perf_counter()
    embedded(rows, method="tsne")
    print(f"t-SNE of 2,000 × 1,280 {time.perf_counter() - started:8.1f} s")


if __name__ == "__main__":
    main()
