"""The inspector against torchinfo and fvcore, in one process, in turns.

    pip install '.[peers]'
    python benchmarks/inspector_speed.py --repeats 5

Ours does more than either: receptive fields, memory with liveness, and a row for every operation. Each peer is called
as its documentation has it, on the same real network, one thread, after imports and one round that warms up. The extra
memory of ours is measured apart, in a process of its own: the peak of resident memory above that before the call.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

NETWORKS = ("resnet152", "efficientnet_b7", "googlenet", "densenet121")
PEAK = """
import sys, torch
torch.set_num_threads(1)
import fovea
from fovea.architectures.catalogue import build
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
fovea.inspect(build("lenet5", seed=0))
network = build({name!r}, seed=0)
before = peak()
report = fovea.inspect(network)
print(peak() - before)
"""


def main() -> None:
    """Time all three on each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)

    import torch

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; median seconds of {asked.repeats}\n")
    print("| network | fovea | torchinfo | fvcore | fovea / torchinfo | fovea / fvcore | extra MiB of fovea |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in asked.networks:
        found = timed(name, asked.repeats)
        ours, *peers = (statistics.median(found[who]) for who in ("fovea", "torchinfo", "fvcore"))
        ratios = " | ".join(f"{ours / peer:.2f}" for peer in peers)
        times = " | ".join(f"{seconds:.3f}" for seconds in (ours, *peers))
        print(f"| {name} | {times} | {ratios} | {extra(name):.0f} |", flush=True)


def timed(name: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each, in turns."""
    import fvcore.nn
    import torch
    import torchinfo

    import fovea

    network = fovea.create(name, seed=0).eval()
    told = network.architecture
    images = torch.randn(1, told.in_channels, told.image_size, told.image_size)

    def by_fvcore() -> Any:
        analysis = fvcore.nn.FlopCountAnalysis(network, images)
        return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()

    callers: dict[str, Callable[[], Any]] = {
        "fovea": lambda: fovea.inspect(network),
        "torchinfo": lambda: torchinfo.summary(network, input_size=tuple(images.shape), verbose=0, device="cpu"),
        "fvcore": by_fvcore,
    }
    found: dict[str, list[float]] = {who: [] for who in callers}
    for turn in range(repeats + 1):
        for who, call in callers.items():
            began = time.perf_counter()
            call()
            if turn:
                found[who].append(time.perf_counter() - began)
    return found


def extra(name: str) -> float:
    """MiB that a report takes above what lay in memory before."""
    code = PEAK.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
