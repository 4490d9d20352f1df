"""Are the explanations any? Deletion, insertion, randomisation and pointing, on a bundle and a folder of images.

    python benchmarks/faithful_explanations.py BUNDLE FOLDER --methods grad_cam occlusion

Prints for each method the mean deletion and insertion areas of the predicted class, the same for cells in random order,
on how many images the method's order is better, with Wilson's interval; how much of the picture is left with every
weight destroyed (of ten images); and how often the largest value lies in the right quarter of mosaics of four images.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import fovea
from fovea.evaluation.metrics import wilson_interval
from fovea.explain.faithfulness import CurveOptions, curves, maps_of
from fovea.explain.methods import METHODS, explainer
from fovea.explain.options import ExplainOptions
from fovea.explain.pointing import composed, pointing
from fovea.explain.randomising import randomised
from fovea.explain.subject import subject_of


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=["grad_cam", "occlusion"], choices=[*METHODS])
    parser.add_argument("--grid", type=int, default=7)
    parser.add_argument("--chance", choices=["scattered", "shifted"], default="scattered")
    parser.add_argument("--mosaics", type=int, default=0, help="0 leaves pointing out")
    parser.add_argument("--randomised", type=int, default=0, help="so many images; 0 leaves the test out")
    asked = parser.parse_args()
    subject = subject_of(fovea.load(asked.bundle), asked.folder)
    targets = subject.logits.argmax(1)
    options, known = CurveOptions(grid=asked.grid, chance=asked.chance), None
    for name in asked.methods:
        explain, started = explainer(name, subject.question(options=ExplainOptions())), time.perf_counter()
        maps = maps_of(subject.network, subject.images, targets, explain)
        taken = time.perf_counter() - started
        found = curves(subject.network, subject.images, targets, maps, options=options, known=known)
        known = found  # scattered orders are the same for every method
        low, high = wilson_interval(int(found.better_than_random.sum()), len(targets))
        print(f"{name} (maps {taken:.0f} s, curves {time.perf_counter() - started - taken:.0f} s): {found}")
        print(f"  better than {asked.chance} order, 95 % interval {100 * low:.1f} to {100 * high:.1f} %", flush=True)
        few = slice(asked.randomised)
        if asked.randomised:
            print(f"  {randomised(subject.network, subject.images[few], targets[few], explain, name=name)}", flush=True)
        if asked.mosaics:
            mosaics = composed(subject.pixels, targets, count=asked.mosaics)
            shown = subject.model.bundle.preprocessing.normalise(mosaics.images)
            hits = pointing(subject.network, shown, mosaics.targets, explain, places=mosaics.places, name=name)
            print(f"  {hits}", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
