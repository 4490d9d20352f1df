"""fovea's training loop against a bare PyTorch loop: LeNet-5 over the same tensors, in turn, in one process.

    python benchmarks/training_loop.py [--epochs 10] [--batch-size 256] [--shift 0]

The tensors are MNIST's in size and type (55,000 of 1×32×32, uint8), drawn at random. The bare loop gathers a batch,
scales it, and does forward, loss, backward and SGD; it keeps no statistics. Both use torch's fused SGD at one constant
learning rate (how fast pooling and ReLU are depends on the weights: a warm-up of one alone showed as 3 %), and the
allocator as `fovea train` sets it. Every four steps of the whole loop are followed by four of the bare one, so that a
busy machine slows both. Prints the median time of each; what an epoch's end costs (validation, checkpoint) is left out.

Threads wait for work by spinning, then sleep, and every pause of a loop may put them to sleep: GOMP_SPINCOUNT decides.
Set it to 20000 for what `fovea train` sets, leave it for what a script of one's own has.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.fabric import Fabric

import fovea
from fovea.commands.allocator import keep_memory
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
from fovea.training.stages import Stagewise
from fovea.training.stopping import StopFlag

IMAGES, CHUNK = 55_000, 4
MEAN, STD = 0.1307, 0.3081


class InTurn(Console):
    """Where the loop reports its steps: after every few of them the bare loop does as many, and both are timed."""

    def __init__(self, bare: Iterator[None]) -> None:
        super().__init__(quiet=True)
        self.bare = bare
        self.ours, self.bares = list[float](), list[float]()
        self.since = 0.0

    def step(self, epoch: int, done: int, total: int) -> None:  # noqa: ARG002 - as Console has it
        """Time the chunk that ends here; an epoch's first chunk, with what begins it, is not counted."""
        if done % CHUNK:
            return
        now = time.perf_counter()
        for _ in range(CHUNK):
            next(self.bare)
        then = time.perf_counter()
        if epoch > 1 and done > CHUNK:  # the first epoch warms up
            self.ours.append(1e3 * (now - self.since) / CHUNK)
            self.bares.append(1e3 * (then - now) / CHUNK)
        self.since = time.perf_counter()


def bare_steps(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor, batch_size: int) -> Iterator[None]:
    """The loop that one writes by hand, a step at a time."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)
    network.train()
    while True:
        order = torch.randperm(len(pixels))
        for step in range(len(pixels) // batch_size):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            images = (pixels[chosen].float() / 255 - MEAN) / STD
            images = images.contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(network(images), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield


def laid_out() -> torch.nn.Module:
    """The network, channels last as training has it: the same arithmetic for both."""
    return fovea.create("lenet5", seed=0).to(memory_format=torch.channels_last)


def nothing_to_validate() -> Scores:
    """Scores of nothing, as an epoch's end wants some."""
    labels = torch.arange(10)
    return score(torch.eye(10), labels, split="none", classes=tuple("0123456789"))


def main() -> None:
    """Run both in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10, help="counted, after one that warms up")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--shift", type=int, default=0, help="fovea alone augments: what augmentation costs")
    asked = parser.parse_args()

    keep_memory()
    torch.manual_seed(0)
    pixels = torch.randint(256, (IMAGES, 1, 32, 32), dtype=torch.uint8)
    labels = torch.randint(10, (IMAGES,))
    spec = Preprocessing(image_size=32, resize=32, in_channels=1, mean=(MEAN,), std=(STD,))
    fitted = Fitted(ArrayImages(pixels[:, 0].numpy(), "random"), labels, spec, pixels)
    told = options(
        epochs=asked.epochs + 1,
        batch_size=asked.batch_size,
        lr=0.01,
        schedule="constant",
        warmup_epochs=0,
        shift=asked.shift,
        precision="float32",
    )
    network, fabric = laid_out(), Fabric(accelerator="cpu", devices=1)
    optimiser = build(network, told.update)
    plain = Forward(network, "float32", fabric.device)
    in_turn = InTurn(bare_steps(laid_out(), pixels, labels, asked.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            step=Step(
                fabric=fabric,
                ranks=Ranks(fabric),
                forward=plain,
                loss=objective(told.objective, label_counts=torch.ones(10, dtype=torch.int64)),
                optimiser=optimiser,
                options=told,
            ),
            plain=plain,
            stages=Stagewise(network, told.stages),
            state=State(network, optimiser),
            batches=TrainingBatches(fitted=fitted, batch_size=asked.batch_size, seed=0, augmentation=told.augmentation),
            validate=nothing_to_validate,
            options=told,
            run=Path(folder),
            console=in_turn,
            stop=StopFlag(),
        )
        loop.fit(resume=False)

    threads, spins = torch.get_num_threads(), os.environ.get("GOMP_SPINCOUNT", "unset")
    print(f"torch {torch.__version__}, {threads} threads, GOMP_SPINCOUNT {spins}, batch {asked.batch_size}")
    ours, bare = statistics.median(in_turn.ours), statistics.median(in_turn.bares)
    ratios = [theirs / mine for mine, theirs in zip(in_turn.ours, in_turn.bares, strict=True)]
    low, middle, high = statistics.quantiles(ratios)
    print(f"fovea {ours:.2f} ms a step, bare {bare:.2f} ms")
    print(f"speed over the bare loop's, {len(ratios)} pairs: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
