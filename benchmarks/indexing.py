"""Indexing a folder of many small files, and opening it again.

    python benchmarks/indexing.py FOLDER [--rounds 3] [--workers 0]

Seconds to open every file once (read, hash, decode, perceptual hash), and to open the set again, when every file's size
and time of change are compared. For CIFAR-10 as a folder of PNGs these are 60,000 files.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from fovea.data.indexing import open_index


def main() -> None:
    """Time both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="threads; 0 chooses by the files' mean size")
    asked = parser.parse_args()
    first, again = [], []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["FOVEA_CACHE"] = cache
            first.append(seconds(asked.folder, asked.workers))
            again += [seconds(asked.folder, asked.workers) for _ in range(3)]
            files = len(open_index(asked.folder))
    print(f"{files:,} files: indexed in {statistics.median(first):.1f} s ({min(first):.1f} to {max(first):.1f})")
    print(f"opened again in {statistics.median(again):.2f} s ({min(again):.2f} to {max(again):.2f})")


def seconds(folder: Path, workers: int) -> float:
    """How long it takes to have the index."""
    started = time.perf_counter()
    open_index(folder, workers=workers)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
