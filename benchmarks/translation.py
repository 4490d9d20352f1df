"""How far translation invariance goes: LeNet-5, a fully connected net and an all-convolutional one, digits moved.

    python benchmarks/translation.py --epochs 5 --seeds 1 2 3 --picture docs/translation.png

All three have as many parameters as LeNet-5 as nearly as whole channels and units allow, are trained with the same
options on the same MNIST digits, each in the middle of a black square of 44 pixels, so that a digit moved by up to 12
loses nothing, and are judged on the test digits moved right, left, up and down. No augmentation. The table has means
over seeds with standard deviations; the picture's bands are from the lowest to the highest seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import nn

import fovea
from fovea import pictures
from fovea.data.sets import ArrayImages, Data, Split
from fovea.evaluation.robustness import curve

SIDE = 44
SHIFTS = (0, 1, 2, 3, 4, 6, 8, 10, 12)


def lenet() -> nn.Module:
    """LeNet-5 for the larger square."""
    return fovea.create("lenet5", image_size=SIDE)


def fully_connected() -> nn.Module:
    """One hidden layer, of as many units as LeNet-5's parameters allow."""
    hidden = round((parameters(lenet()) - 10) / (SIDE**2 + 1 + 10))
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def all_convolutional() -> nn.Module:
    """Convolutions alone, the mean over the map at the end; the width that comes nearest to LeNet-5's parameters."""
    goal = parameters(lenet())
    width = min(range(8, 160), key=lambda each: abs(parameters(_convolutions(each)) - goal))
    return _convolutions(width)


def _convolutions(width: int) -> nn.Module:
    channels = [1, width // 2, width, width, width]
    layers: list[nn.Module] = []
    for place, (into, out) in enumerate(pairwise(channels)):
        layers += [nn.Conv2d(into, out, 3, stride=1 + place % 2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETS = {"LeNet-5": lenet, "fully connected": fully_connected, "all-convolutional": all_convolutional}


def parameters(network: nn.Module) -> int:
    """How many the network has."""
    return sum(each.numel() for each in network.parameters())


def framed(split: Split) -> Split:
    """The split with each image in the middle of the larger square."""
    images = np.stack([np.squeeze(split.images[index]) for index in range(len(split))])
    edge = SIDE - images.shape[1]
    wide = np.pad(images, ((0, 0), *[(edge // 2, edge - edge // 2)] * 2))
    return dataclasses.replace(split, images=ArrayImages(wide, f"framed-{split.name}"))


def main() -> None:
    """Train, judge, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--picture", type=Path, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="JSON of curves, to which those measured are added")
    asked = parser.parse_args()

    kept = json.loads(asked.keep.read_text()) if asked.keep is not None and asked.keep.exists() else {}
    mnist = fovea.open_data("mnist")
    splits = {name: framed(mnist.split(name)) for name in ("train", "validation", "test")}
    data = Data(name="mnist, framed", classes=mnist.classes, channels=1, image_size=SIDE, padded_below=SIDE, **splits)
    print(f"pixels{'':>26}" + "".join(f"{shift:>8}" for shift in SHIFTS))
    for name in asked.nets:
        for seed in asked.seeds:
            if str(seed) not in kept.setdefault(name, {}):
                kept[name][str(seed)] = measured(NETS[name](), data, seed, asked.epochs)
                if asked.keep is not None:
                    asked.keep.write_text(json.dumps(kept))
        points = list(zip(*(kept[name][str(seed)] for seed in asked.seeds), strict=True))
        spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in points]
        print(f"{name:<19}{parameters(NETS[name]()):>9,}    " + "".join(f"{statistics.mean(p):>8.2%}" for p in points))
        print(f"{'':<19}{'sd':>9}    " + "".join(f"{each:>8.2%}" for each in spread), flush=True)
    if asked.picture is not None:
        asked.picture.write_bytes(drawn(kept))


def measured(network: nn.Module, data: Data, seed: int, epochs: int) -> tuple[float, ...]:
    """The accuracy at each shift of a network that was trained for it."""
    assert data.test is not None
    options = fovea.TrainingOptions().but(epochs=epochs, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = fovea.train(network, data, options, out=Path(folder) / "run", quiet=True)
    return curve(run.model, data.test, "shift", SHIFTS, fill=0).top1


def drawn(kept: dict[str, dict[str, list[float]]]) -> bytes:
    """Every network's mean over its seeds, and a band from the lowest to the highest."""
    lines = {}
    for name, by_seed in kept.items():
        points = list(zip(*by_seed.values(), strict=True))
        means, band = [statistics.mean(each) for each in points], [(min(each), max(each)) for each in points]
        lines[f"{name}, {parameters(NETS[name]()):,} parameters, {len(by_seed)} seeds"] = (means, band)
    return pictures.sweep(SHIFTS, lines, change="shift, pixels", title="MNIST digits moved, no augmentation")


if __name__ == "__main__":
    main()
