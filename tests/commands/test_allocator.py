"""Memory is kept where the C library is glibc, and nothing happens elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fovea.commands import allocator

FAULTS = """
import ctypes, resource
from fovea.commands.allocator import keep_memory
{call}
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    block = c.malloc(64 * 2**20)
    ctypes.memset(block, 1, 64 * 2**20)
    c.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call):
    """Page faults of taking, filling and giving back 64 MiB a second time, in a process of its own."""
    code = FAULTS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_given_back_is_kept_for_the_next_block():
    assert faults("assert keep_memory()") < faults("pass") / 10


def test_other_c_libraries_are_left_alone(monkeypatch):
    def refuse(_):
        raise AssertionError("loaded the C library")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", refuse)
    assert allocator.keep_memory() is False


def test_a_library_without_mallopt_is_no_error(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.39"))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert allocator.keep_memory() is False


def test_it_loads_nothing_heavy():
    code = "import sys, fovea.commands.allocator; print('torch' in sys.modules, 'numpy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "False"]
