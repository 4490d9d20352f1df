"""fovea's training loop against a bare PyTorch loop: LeNet-5 over the same tensors, epochs in turn, in one process.

    python benchmarks/training_loop.py [--rounds 7] [--batch-size 256] [--shift 0]

The tensors are MNIST's in size and type (55,000 of 1×32×32, uint8), drawn at random: speed does not depend on what they
show. The bare loop gathers a batch, scales it, and does forward, loss, backward and SGD; it keeps no statistics. Both
use torch's fused SGD. Prints images/s of both and the ratio round by round; the median is the figure.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from lightning.fabric import Fabric

import fovea
from fovea.data.fitted import Fitted
from fovea.data.loader import TrainingBatches
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages
from fovea.evaluation.scores import Scores, score
from fovea.training.checkpoints import State
from fovea.training.console import Console
from fovea.training.forward import Forward
from fovea.training.loop import Loop, Step
from fovea.training.losses import objective
from fovea.training.optimisers import build
from fovea.training.options import options
from fovea.training.ranks import Ranks
from fovea.training.stopping import StopFlag

IMAGES = 55_000
MEAN, STD = 0.1307, 0.3081


def bare_epoch(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor, batch_size: int) -> float:
    """Images per second of the loop that one writes by hand."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)
    network.train()
    steps = len(pixels) // batch_size
    started = time.perf_counter()
    order = torch.randperm(len(pixels))
    for step in range(steps):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        images = (pixels[chosen].float() / 255 - MEAN) / STD
        images = images.contiguous(memory_format=torch.channels_last)
        loss = torch.nn.functional.cross_entropy(network(images), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return steps * batch_size / (time.perf_counter() - started)


def laid_out() -> torch.nn.Module:
    """The network, channels last as training has it: the same arithmetic for both."""
    return fovea.create("lenet5", seed=0).to(memory_format=torch.channels_last)


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--shift", type=int, default=0, help="fovea alone augments: what augmentation costs")
    asked = parser.parse_args()

    torch.manual_seed(0)
    pixels = torch.randint(256, (IMAGES, 1, 32, 32), dtype=torch.uint8)
    labels = torch.randint(10, (IMAGES,))
    spec = Preprocessing(image_size=32, resize=32, in_channels=1, mean=(MEAN,), std=(STD,))
    fitted = Fitted(ArrayImages(pixels[:, 0].numpy(), "random"), labels, spec, pixels)
    told = options(
        epochs=asked.rounds + 1, batch_size=asked.batch_size, lr=0.01, shift=asked.shift, precision="float32"
    )
    bare_network, bare = laid_out(), list[float]()

    def bare_round_in_place_of_validation() -> Scores:
        bare.append(bare_epoch(bare_network, pixels, labels, asked.batch_size))
        return score(torch.eye(10)[labels[:100]], labels[:100], split="none", classes=tuple("0123456789"))

    network, fabric = laid_out(), Fabric(accelerator="cpu", devices=1)
    optimiser = build(network, told.update)
    plain = Forward(network, "float32", fabric.device)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            step=Step(
                fabric=fabric,
                ranks=Ranks(fabric),
                forward=fabric.setup_module(plain),
                loss=objective(told.objective, label_counts=torch.ones(10, dtype=torch.int64)),
                optimiser=optimiser,
                options=told,
            ),
            plain=plain,
            state=State(network, optimiser),
            batches=TrainingBatches(fitted=fitted, batch_size=asked.batch_size, seed=0, augmentation=told.augmentation),
            validate=bare_round_in_place_of_validation,
            options=told,
            run=Path(folder),
            console=Console(quiet=True),
            stop=StopFlag(),
        )
        ours = [row["images_per_second"] for row in loop.fit(resume=False).history]

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, batch {asked.batch_size}"
    )
    print("round  fovea images/s  bare images/s  ratio")
    pairs = list(zip(ours, bare, strict=True))[1:]  # the first round warms up
    for n, (mine, theirs) in enumerate(pairs, start=1):
        print(f"{n:>5}  {mine:>14,.0f}  {theirs:>13,.0f}  {mine / theirs:>5.3f}")
    print(f"median ratio {statistics.median(mine / theirs for mine, theirs in pairs):.3f}")


if __name__ == "__main__":
    main()
