"""The most memory that this process held while something ran."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from collections.abc import Iterator
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Bytes that the process held at most, all of them its own; None where the system does not tell."""

    bytes: int | None = None


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """Fill in a `Peak` at the end: Linux keeps a high-water mark of resident memory, which is set back first.

    What the allocator keeps of memory that nobody holds any more is given back before, where it is glibc's.
    """
    found, reset = Peak(), False
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        RESET.write_text("5")
        reset = True
    try:
        yield found
    finally:
        if reset:
            mark = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
            found.bytes = int(mark[1]) * 1024 if mark else None
