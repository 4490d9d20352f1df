"""Inference by the means of `fovea evaluate` against eager PyTorch as one writes it: steps in turn, one process each.

    python benchmarks/inference_speed.py [--nets resnet50,mobilenet_v2] [--batch-size 16] [--rounds 7]

eager is the same network, float32, channels first, under torch.inference_mode with PyTorch's own allocator settings;
ours has its weights and images channels last, batch normalisation folded into the convolutions, and glibc keeping what
it was given, as the command line sets it. Each runs in a process of its own, since the allocator is set for a whole
one; the two are woken in turn, so that a busy machine slows both. It is the forward pass alone: reading images is not
counted, and `fovea evaluate` has batches of 256. Prints the medians, the ratio and the largest
difference of logits, relative to the largest logit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def serve(way: str, name: str, batch_size: int, ready: Connection) -> None:
    """Run one way whenever it is told to, and say how long it took; first of all, what logits it gives."""
    if way == "ours":
        from fovea.commands.allocator import keep_memory

        keep_memory()
    import torch

    import fovea
    from fovea.runtime.folding import folded

    network = fovea.create(name, seed=0).eval()
    images = torch.rand(batch_size, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    if way == "ours":
        network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), folded(network, images[:1]) if way == "ours" else torch.inference_mode():
        for _ in range(2):
            logits = network(images)
        ready.send(logits.numpy())
        while ready.recv():
            started = time.perf_counter()
            network(images)
            ready.send(time.perf_counter() - started)


def main() -> None:
    """Run both ways of each network in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="resnet50,mobilenet_v2")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()

    start = multiprocessing.get_context("spawn")
    print(f"batch {asked.batch_size}, images of 224×224, {asked.rounds} rounds")
    print("network                eager ms     ours ms   ratio  difference")
    for name in asked.nets.split(","):
        ends: dict[str, Any] = {}
        logits: dict[str, Any] = {}
        for way in ("eager", "ours"):
            ends[way], other = start.Pipe()
            start.Process(target=serve, args=(way, name, asked.batch_size, other), daemon=True).start()
            logits[way] = ends[way].recv()
        times: dict[str, list[float]] = {"eager": [], "ours": []}
        for _ in range(asked.rounds):
            for way, end in ends.items():
                end.send(True)
                times[way].append(end.recv())
        for end in ends.values():
            end.send(False)
        eager, ours = (1e3 * statistics.median(times[way]) for way in ("eager", "ours"))
        ratio = statistics.median(a / b for a, b in zip(times["eager"], times["ours"], strict=True))
        difference = abs(logits["eager"] - logits["ours"]).max() / abs(logits["eager"]).max()
        print(f"{name:<20} {eager:>10,.1f}  {ours:>10,.1f}  {ratio:>6.2f}  {difference:.1e}")


if __name__ == "__main__":
    main()
