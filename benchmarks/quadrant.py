"""The lecture's quadrant, measured: much or little data, similar to ImageNet's or different, from the same weights.

    python benchmarks/quadrant.py WEIGHTS OUT [--cells hymenoptera,digits_500,cifar10,mnist]

WEIGHTS is a bundle with ImageNet's weights (fovea import), OUT a folder: each cell's comparison lies in OUT/<cell>, and
a cell that was stopped goes on. The data are found as `fovea train` finds them; hymenoptera is a folder below
`--data-root`. Of the 500 digits, drawn evenly from MNIST's training images, a fifth chooses the best epoch; all 10,000
test images judge.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import fovea
from fovea.commands.allocator import keep_memory
from fovea.data.opening import data_folder
from fovea.data.sets import Chosen, Data, Split
from fovea.data.splits import thinned
from fovea.transfer.options import TransferOptions

DIGITS = 500
# Small images are enlarged to 48 or 64 pixels, for two cores and an hour; photographs have the weights' 224.
CELLS = {
    "hymenoptera": TransferOptions(ways="scratch,lower:3,probe,svm,knn,finetune,gradual,both"),
    "digits_500": TransferOptions(
        ways="scratch,lower:3,probe,probe:bottleneck3,probe:bottleneck5,finetune", image_size=64
    ),
    "cifar10": TransferOptions(ways="probe,finetune,scratch", image_size=64, epochs=1),
    "mnist": TransferOptions(ways="probe,finetune,scratch", image_size=48, epochs=1),
}


def digits(root: Path) -> Data:
    """MNIST with 500 training images and no validation images, so that all choices are made within the 500."""
    whole = fovea.open_data("mnist", data_root=root, split="1/0/0")
    assert whole.train is not None
    train = whole.train
    kept = thinned(train.labels, DIGITS / len(train), 0)
    few = Split("train", Chosen(train.images, kept), train.labels[kept], train.classes)
    return dataclasses.replace(whole, name=f"mnist_{DIGITS}", train=few, validation=None, source=None)


def opened(cell: str, root: Path) -> Data:
    """The data of a cell."""
    if cell == "digits_500":
        return digits(root)
    return fovea.open_data(root / cell if cell == "hymenoptera" else cell, data_root=root)


def main() -> None:
    """Compare the ways of every cell, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--data-root", type=Path, default=None)
    asked = parser.parse_args()
    keep_memory()
    root = data_folder(asked.data_root)
    for cell in asked.cells.split(","):
        data = opened(cell, root)
        counts = {name: len(split) for name in ("train", "validation", "test") if (split := getattr(data, name))}
        print(f"\n== {cell}: {counts}, {os.cpu_count()} cores, torch threads as set", flush=True)
        found = fovea.compare_ways(data, asked.weights, CELLS[cell], out=asked.out / cell, told=print)
        print(found, flush=True)


if __name__ == "__main__":
    main()
