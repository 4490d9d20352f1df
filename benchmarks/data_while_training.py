"""Training ResNet-18 at 224 from a folder of JPEGs against training it on tensors in memory, in turns, on all cores.

    python benchmarks/data_while_training.py [--rounds 5] [--photos FOLDER] [--workers 2] [--plot data_and_steps.png]

The folder's images are decoded, cropped by area and flipped ahead by threads while the network trains; those in memory
are normalised tensors that cost nothing. The ratio of their images/s is the figure; the plot shows, step by step, how
long the step took and how long it had waited for its data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from data_loading import BATCH, MEAN, STD, make_photos, whole
from torch.nn import functional as F

import fovea
from fovea.data.batch import Batch
from fovea.data.fitted import unpacked
from fovea.data.loader import TrainingBatches
from fovea.data.options import Augmentation
from fovea.data.packing import packed
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Split

STEPS = 8  # of each round


def main() -> None:
    """Train in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path, help="a folder of photographs; noise where none is named")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FOVEA_CACHE"] = str(Path(folder) / "cache")
        split = whole(make_photos(Path(folder) / "photos", asked.photos))
        sources = {
            "tensors in memory": in_memory(),
            "JPEGs": from_files(split, asked.workers),
            "packed cache": from_files(split, asked.workers, cache=256),
        }
        found = compared(sources, asked.rounds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, ResNet-18, batches of {BATCH} at 224\n")
    print("| from | images/s | of those in memory | waited for data |")
    print("|---|---:|---:|---:|")
    for name, steps in found.items():
        ratios = [other / mine for mine, other in zip(rounds(steps), rounds(found["tensors in memory"]), strict=True)]
        waited = sum(wait for wait, _ in steps) / sum(seconds for _, seconds in steps)
        speed = BATCH * STEPS / statistics.median(rounds(steps))
        print(f"| {name} | {speed:.1f} | {statistics.median(ratios):.3f} | {waited:.1%} |")
    if asked.plot:
        plot(found, asked.plot)


Steps = list[tuple[float, float]]  # seconds waited for data, seconds of the whole step


def rounds(steps: Steps) -> list[float]:
    """Seconds of each round."""
    return [sum(seconds for _, seconds in steps[start : start + STEPS]) for start in range(0, len(steps), STEPS)]


def in_memory() -> Iterator[Batch]:
    """One batch of numbers, again and again."""
    images = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.randint(10, (BATCH,)))
    return (batch for _ in count())


def from_files(split: Split, workers: int, *, cache: int = 0) -> Iterator[Batch]:
    """Epoch after epoch of photographs, cropped and flipped."""
    images = packed(split.images, cache) if cache else split.images
    spec = Preprocessing(image_size=224, resize=256, in_channels=3, mean=MEAN, std=STD)
    batches = TrainingBatches(
        fitted=unpacked(Split("train", images, split.labels, split.classes), spec),
        batch_size=BATCH,
        seed=0,
        augmentation=Augmentation(crop="area", flip=True),
        workers=workers,
    )
    return chain.from_iterable(batches.epoch(epoch) for epoch in count())


def compared(sources: dict[str, Iterator[Batch]], rounds: int) -> dict[str, Steps]:
    """Every source in turn; the first round warms up."""
    network = fovea.create("resnet18", num_classes=10, seed=0).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    found: dict[str, Steps] = {name: [] for name in sources}
    for number in range(rounds + 1):
        for name, batches in sources.items():
            made = [step(network, optimiser, batches) for _ in range(STEPS)]
            found[name] += made if number else []
    return found


def step(network: torch.nn.Module, optimiser: torch.optim.Optimizer, batches: Iterator[Batch]) -> tuple[float, float]:
    """One update: seconds waited for its data, and seconds in all."""
    started = time.perf_counter()
    batch = next(batches)
    waited = time.perf_counter() - started
    loss = F.cross_entropy(network(batch.images), batch.labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return waited, time.perf_counter() - started


def plot(found: dict[str, Steps], path: Path) -> None:
    """Step time, and within it the time waited for data, step by step."""
    from fovea.pictures.figure import BLUE, ORANGE, house_style, png, sheet

    with house_style():
        figure = sheet(8.0, 3.2, "ResNet-18: seconds of each step, and of waiting for data")
        axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axis, (name, steps) in zip(axes, found.items(), strict=True):
            places = range(1, len(steps) + 1)
            axis.fill_between(places, [seconds for _, seconds in steps], step="mid", color=BLUE, alpha=0.35, lw=0)
            axis.fill_between(places, [wait for wait, _ in steps], step="mid", color=ORANGE, lw=0)
            axis.set_title(f"from {name}")
            axis.set_xlabel("step")
            axis.set_xlim(1, len(steps))
            axis.set_ylim(0)
        axes[0].set_ylabel("seconds")
        axes[0].text(0.03, 0.06, "the step", transform=axes[0].transAxes, color=BLUE)
        axes[1].text(0.03, 0.06, "waited for data", transform=axes[1].transAxes, color=ORANGE)
    path.write_bytes(png(figure))


if __name__ == "__main__":
    main()
