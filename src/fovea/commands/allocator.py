"""How the process asks for memory: what tensors give back is kept for the next ones."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of mallopt's settings in malloc.h
MOST = 2**31 - 1


def keep_memory() -> bool:
    """Have glibc keep freed memory; whether it does. Other C libraries are left as they are.

    glibc maps every block above 32 MiB anew and unmaps it when it is freed, so that a network's large tensors cost page
    faults in each operation. Now no block is mapped by itself, and the heap is not trimmed: the process keeps the most
    it ever had. To be called before torch is loaded; it concerns the whole process, hence never a library's business.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, MOST))
