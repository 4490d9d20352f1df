"""Accuracy over seeds: `fovea train` once per seed, each in a process of its own, mean, spread and time.

    python benchmarks/accuracy.py --seeds 1 2 3 -- lenet5 mnist

What follows -- goes to `fovea train` as it is. Runs are left below --out, so that each can be looked at. The splits are
the same for all seeds: the spread is that of training, and the interval is over seeds (Student's t), not over images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from fovea.evaluation.seeds import over_seeds


def main() -> None:
    """Train once per seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("command", nargs="*")
    asked = parser.parse_args()
    folder = asked.out or Path(tempfile.mkdtemp(prefix="fovea-accuracy-"))

    machine = f"torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}"
    print(f"fovea train {' '.join(asked.command)}; {machine}")
    print("seed  validation    test  seconds")
    scores: dict[str, list[float]] = {"validation": [], "test": []}
    for seed in asked.seeds:
        started = time.perf_counter()
        out = ["--seed", str(seed), "--out", str(folder / f"seed{seed}"), "--json"]
        command = [sys.executable, "-m", "fovea", "train", *asked.command, *out]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        found = json.loads(done.stdout)
        for split, values in scores.items():
            values.append(found[split]["top1"])
        seconds = time.perf_counter() - started
        print(f"{seed:>4}  {scores['validation'][-1]:>10.2%}  {scores['test'][-1]:>6.2%}  {seconds:>7.0f}", flush=True)
    for split, values in scores.items():
        if len(values) > 1:
            print(f"{split}: {over_seeds(values)}")


if __name__ == "__main__":
    main()
