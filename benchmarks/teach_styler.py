"""Teaching a network one style: seconds a step and the losses; then how long it takes to stylise a picture.

    OMP_NUM_THREADS=1 python benchmarks/teach_styler.py VGG19 STYLE FOLDER... --out MODEL --steps 400
    OMP_NUM_THREADS=1 python benchmarks/teach_styler.py VGG19 STYLE FOLDER... --out MODEL --minutes 25

Photographs are all that lie below the folders. The losses of this time go to losses.csv beside the network. Seconds
are medians, of steps without the first, and of passes without the first; a pass is `apply`, from pixels to pixels. A
network whose learning was stopped, by --minutes too, goes on where the same command is given again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np

import fovea
from fovea.commands.allocator import keep_memory
from fovea.cost.calibration import hardware
from fovea.data.pixels import read_image
from fovea.runtime.predict import find_images
from fovea.style.sizing import fitted
from fovea.style.styler import Styler, apply
from fovea.style.teaching import Taught, Teacher, TeachingStep
from fovea.style.teaching_options import TeachingOptions

SIZES = (512, 1024)  # pixels of the longer side of what is stylised


def teach(asked: argparse.Namespace) -> tuple[Taught, list[float]]:
    """The network, and how many seconds each step took."""
    options = TeachingOptions(
        image_size=asked.image_size,
        batch_size=asked.batch_size,
        steps=asked.steps,
        strength=asked.strength,
        precision=asked.precision,
        normalisation=asked.normalisation,
    )
    teacher = Teacher(read_image(asked.style), fovea.load(asked.model), options)
    print(f"{teacher.perception.name} in {teacher.perception.precision}, {options}")
    began = time.monotonic()
    marks = [time.perf_counter()]

    def watch(step: TeachingStep) -> None:
        marks.append(time.perf_counter())
        if step.step % 50 == 0:
            print(f"step {step.step:,}: content {step.content:.4g}, style {step.style:.4g}", flush=True)

    def stop() -> bool:
        return asked.minutes > 0 and time.monotonic() - began > 60 * asked.minutes

    taught = teacher.teach(find_images(asked.data), asked.out, watch=watch, stop=stop)
    return taught, list(np.diff(marks))


def passes(styler: Styler, picture: Path, size: int, rounds: int) -> tuple[tuple[int, int], float]:
    """Height and width of what is stylised, and the median of a pass's seconds."""
    content = fitted(read_image(picture), size)
    taken = []
    for _ in range(rounds + 1):  # the first warms up
        began = time.perf_counter()
        apply(styler, content)
        taken.append(time.perf_counter() - began)
    return content.shape[:2], statistics.median(taken[1:])


def main() -> None:
    """Teach, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a bundle of VGG-19")
    parser.add_argument("style", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many; 0 does not")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--precision", choices=("auto", "float32", "bf16"), default="auto")
    parser.add_argument("--normalisation", choices=("instance", "batch"), default="instance")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    keep_memory()
    print(f"{hardware()}, {time.strftime('%Y-%m-%d')}")
    taught, seconds = teach(asked)
    print(taught)
    if taught.history:
        with open(asked.out / "losses.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([TeachingStep._fields, *taught.history])
    if len(seconds) > 1:
        print(
            f"{statistics.median(seconds[1:]):.2f} s a step of {asked.batch_size} squares of {asked.image_size} pixels"
        )
    picture = find_images(asked.data)[0]
    for size in SIZES:
        (height, width), each = passes(taught.styler, picture, size, asked.rounds)
        print(f"{width}×{height} pixels: {each:.2f} s a pass")


if __name__ == "__main__":
    main()
