"""What kernels are made with: numbers in bf16, addresses, and the next piece of work.

A kernel is a function of the address of a job's words, of which the first is the next piece of work.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

ZERO, F4, F8 = np.float32(0), np.float32, np.float64
WIDE, HALF, SINGLE, DOUBLE = ir.IntType(32), ir.IntType(16), ir.FloatType(), ir.DoubleType()
JOB: Any = types.CPointer(types.int64)  # type: ignore[no-untyped-call]
kernel = cfunc(types.void(JOB), fastmath={"contract"})  # a·b + c is rounded once: all CPUs with bf16 can


def _pointer(kind: Any, made: Any) -> Any:
    """What reads a word of a job as an address."""

    @intrinsic
    @no_type_check
    def to_pointer(_, address):  # noqa: ARG001  # numba's signature
        return types.CPointer(kind)(types.int64), lambda _, code, __, args: code.inttoptr(args[0], made.as_pointer())

    return to_pointer


halves = _pointer(types.uint16, HALF)
singles = _pointer(types.float32, SINGLE)
doubles = _pointer(types.float64, DOUBLE)


@intrinsic
@no_type_check
def claimed(_, job):
    """The next piece of work, which no other thread receives."""

    def code(_, code, __, args):
        return code.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(job), code


@intrinsic
@no_type_check
def number(_, half):  # noqa: ARG001  # numba's signature
    """A number of bf16, which is the upper half of a float32."""

    def code(_, code, __, args):
        return code.bitcast(code.shl(code.zext(args[0], WIDE), ir.Constant(WIDE, 16)), SINGLE)

    return types.float32(types.uint16), code


@intrinsic
@no_type_check
def half(_, number):  # noqa: ARG001  # numba's signature
    """The nearest number of bf16, the even one of two.

    NaN that comes of numbers in bf16 has zeros in its lower half, so that rounding does not carry over into its sign.
    """

    def code(_, code, __, args):
        bits, sixteen = code.bitcast(args[0], WIDE), ir.Constant(WIDE, 16)
        odd = code.and_(code.lshr(bits, sixteen), ir.Constant(WIDE, 1))
        rounded = code.add(bits, code.add(odd, ir.Constant(WIDE, 0x7FFF)))
        return code.trunc(code.lshr(rounded, sixteen), HALF)

    return types.uint16(types.float32), code
