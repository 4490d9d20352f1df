"""What kernels are made with: maps in bf16 or float32, addresses, and the next piece of work.

A kernel is a function of the address of a job's words, of which the first is the next piece of work. It is compiled
for one kind of maps, when it first meets them; to itself the type of its argument says which: a pointer to that kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

ZERO, F4, F8 = np.float32(0), np.float32, np.float64
WIDE, HALF, SINGLE, DOUBLE = ir.IntType(32), ir.IntType(16), ir.FloatType(), ir.DoubleType()
WORD = ir.IntType(64)
KINDS = {torch.bfloat16: types.uint16, torch.float32: types.float32}  # numba has no bf16


class Kernel:
    """A function of a job, in machine code.

    Args:
        function: What numba compiles.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function, self._made = function, dict[torch.dtype, Any]()

    def address(self, kind: torch.dtype) -> int:
        """Where the machine code for a kind of maps lies; compiled when it is first asked for."""
        if kind not in self._made:
            job: Any = types.CPointer(KINDS[kind])  # type: ignore[no-untyped-call]
            # a·b + c is rounded once, where the processor can; sums run in the order that is written
            self._made[kind] = cfunc(types.void(job), fastmath={"contract"})(self._function)
        return int(self._made[kind].address)


def _pointer(kind: Any, made: Any) -> Any:
    """What reads a word of a job as an address."""

    @intrinsic
    @no_type_check
    def to_pointer(_, address):  # noqa: ARG001  # numba's signature
        return types.CPointer(kind)(types.int64), lambda _, code, __, args: code.inttoptr(args[0], made.as_pointer())

    return to_pointer


singles = _pointer(types.float32, SINGLE)
doubles = _pointer(types.float64, DOUBLE)


@intrinsic
@no_type_check
def words(_, job):
    """The address of a job's words."""
    return types.CPointer(types.int64)(job), lambda _, code, __, args: code.bitcast(args[0], WORD.as_pointer())


@intrinsic
@no_type_check
def values(_, job, address):  # noqa: ARG001  # numba's signature
    """A word of a job as the address of maps."""
    made = HALF if job.dtype == types.uint16 else SINGLE
    return job(job, types.int64), lambda _, code, __, args: code.inttoptr(args[1], made.as_pointer())


@intrinsic
@no_type_check
def patterns(_, job, address):  # noqa: ARG001  # numba's signature
    """A word of a job as the address of maps whose values are only moved: patterns of bits, chosen without jumps."""
    kind, made = (types.uint16, HALF) if job.dtype == types.uint16 else (types.uint32, WIDE)
    return types.CPointer(kind)(job, types.int64), lambda _, code, __, args: code.inttoptr(args[1], made.as_pointer())


@intrinsic
@no_type_check
def kept(_, value, condition):  # noqa: ARG001  # numba's signature
    """A value where a condition holds, else 0; chosen without a jump, so that vectors can: it is read in any case."""

    def code(_, code, __, args):
        return code.select(args[1], args[0], ir.Constant(args[0].type, 0))

    return value(value, types.boolean), code


@intrinsic
@no_type_check
def hidden(_, index):  # noqa: ARG001  # numba's signature
    """An index that the compiler cannot follow.

    It asks whether what a loop reads and writes overlaps, and else takes vectors. For a loop within one whose index it
    can follow it asks for all turns together: of two neighbours that are written in each, they do.
    """

    def code(_, code, __, args):
        return code.asm(ir.FunctionType(WORD, [WORD]), "", "=r,0", [args[0]], side_effect=False)

    return types.int64(types.int64), code


@intrinsic
@no_type_check
def claimed(_, job):
    """The next piece of work, which no other thread receives."""

    def code(_, code, __, args):
        return code.atomic_rmw("add", code.bitcast(args[0], WORD.as_pointer()), ir.Constant(WORD, 1), "monotonic")

    return types.int64(job), code


@intrinsic
@no_type_check
def number(_, value):
    """A value of maps. In bf16 it is the upper half of a float32."""

    def code(_, code, __, args):
        return code.bitcast(code.shl(code.zext(args[0], WIDE), ir.Constant(WIDE, 16)), SINGLE)

    if value == types.float32:
        return types.float32(types.float32), lambda _, __, ___, args: args[0]
    return types.float32(types.uint16), code


@intrinsic
@no_type_check
def rounded(_, job, number):  # noqa: ARG001  # numba's signature
    """A number as the job's maps hold it: in bf16 the nearest one, the even one of two.

    NaN that comes of numbers in bf16 has zeros in its lower half, so that rounding does not carry over into its sign.
    """

    def code(_, code, __, args):
        bits, sixteen = code.bitcast(args[1], WIDE), ir.Constant(WIDE, 16)
        odd = code.and_(code.lshr(bits, sixteen), ir.Constant(WIDE, 1))
        nearest = code.add(bits, code.add(odd, ir.Constant(WIDE, 0x7FFF)))
        return code.trunc(code.lshr(nearest, sixteen), HALF)

    if job.dtype == types.float32:
        return types.float32(job, types.float32), lambda _, __, ___, args: args[1]
    return types.uint16(job, types.float32), code
