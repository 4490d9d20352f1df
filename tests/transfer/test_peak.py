"""The peak is that of the block alone."""

import sys

import numpy as np
import pytest

from fovea.transfer.peak import peak_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the high-water mark back")
SIZE = 200 << 20


def test_what_was_held_before_the_block_does_not_count_and_what_was_let_go_in_it_does() -> None:
    before = np.ones(SIZE, np.uint8)
    del before
    with peak_memory() as nothing:
        pass
    with peak_memory() as much:
        held = np.ones(SIZE, np.uint8)
        del held
    assert nothing.bytes is not None
    assert much.bytes is not None
    assert much.bytes > nothing.bytes + 0.9 * SIZE
