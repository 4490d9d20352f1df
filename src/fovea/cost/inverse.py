"""The question backwards: which sizes of the input, with which padding and rounding, give a known size of the output.

Papers print what goes in and what comes out, and often leave away the padding between: AlexNet's says 224 and 55.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from fovea.cost.arithmetic import Extent, Pair, positive, same_padding
from fovea.cost.chain import columns, decimal, owned, pixels
from fovea.errors import ShapeError, UsageError

Rounding = Literal["exactly", "down", "up"]
ROUNDINGS: tuple[Rounding, ...] = ("exactly", "down", "up")
MOST = 10_000  # what kernel times stride may be, so that all solutions are listed in a second


class Solution(NamedTuple):
    """One way to the output along one axis.

    `left` is how many pixels of the padded input lie behind the last window; below 0, how many it hangs over.
    """

    size: int
    before: int
    after: int
    rounding: Rounding
    left: int

    @property
    def padding(self) -> Pair:
        """Before and after."""
        return self.before, self.after


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """All ways to an output along one axis; prints itself by padding.

    Args:
        output, kernel, stride, dilation: What was asked.
        size: The input's size, where that was asked too; 0 where any would do.
        solutions: By padding, then size; a padding of an odd number of pixels has the odd one behind.
    """

    output: int
    kernel: int
    stride: int
    dilation: int
    size: int
    solutions: tuple[Solution, ...] = ()

    @property
    def reach(self) -> int:
        """Pixels from the kernel's first weight to its last."""
        return self.dilation * (self.kernel - 1) + 1

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        asked = {name: getattr(self, name) for name in ("output", "kernel", "stride", "dilation")}
        known = {"size": self.size} if self.size else {}
        return asked | known | {"solutions": [solution._asdict() for solution in self.solutions]}

    def __str__(self) -> str:
        gaps = f", dilation {self.dilation}" if self.dilation > 1 else ""
        asked = f"give {self.output} with kernel {self.kernel}, stride {self.stride}{gaps}"
        head = f"Which paddings of {self.size} {asked}?" if self.size else f"Which sizes {asked}?"
        return "\n".join([head, "", *(_by_padding(self) if self.size else _by_size(self)), *_puzzle(self)])


def inverse(
    output: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    size: int = 0,
    padding: Pair | None = None,
) -> Inverse:
    """Every size and padding that give an output along one axis, by each rounding.

    Args:
        output: Windows along the axis.
        kernel: Weights of the window.
        stride: Pixels from one window to the next.
        dilation: Pixels from one weight to the next.
        size: Only this size of the input; 0 for all.
        padding: Only this one; else all up to one pixel less than the window on both sides.

    Raises:
        ShapeError: nothing gives that output, or a number is below 1.
        UsageError: a kernel and a stride with too many solutions to list.
    """
    positive(output=output, kernel=kernel, stride=stride, dilation=dilation)
    reach = dilation * (kernel - 1) + 1
    if reach * stride > MOST:
        raise UsageError(
            f"kernel times stride (={reach} · {stride} pixels) must be at most {MOST:,} to list all solutions"
        )
    paddings = [(n // 2, n - n // 2) for n in range(2 * reach - 1)] if padding is None else [padding]
    asked = Inverse(output=output, kernel=kernel, stride=stride, dilation=dilation, size=size)
    found = tuple(solution for each in paddings for solution in _solutions(asked, each))
    if not found:
        raise ShapeError(_nothing(asked, paddings))
    return replace(asked, solutions=found)


def _solutions(asked: Inverse, padding: Pair) -> Iterator[Solution]:
    """With one padding, every size that some rounding makes fit, in their order."""
    exact = (asked.output - 1) * asked.stride + asked.reach - sum(padding)
    sizes = range(max(exact - asked.stride + 1, 1), exact + asked.stride)
    for size in [size for size in sizes if asked.size in (0, size)]:
        extent = _extent(asked, size, padding, ceil=size < exact)
        if extent.output == asked.output:  # rounded up, a window that would begin behind the input is dropped
            way: Rounding = "exactly" if size == exact else "up" if size < exact else "down"
            yield Solution(size, *padding, way, extent.left)


def _extent(asked: Inverse, size: int, padding: Pair, *, ceil: bool = False) -> Extent:
    numbers = {"kernel": asked.kernel, "stride": asked.stride, "dilation": asked.dilation}
    return Extent(size=size, before=padding[0], after=padding[1], ceil=ceil, **numbers)


def _nothing(asked: Inverse, paddings: Sequence[Pair]) -> str:
    """Why there is no solution, and what is nearest."""
    least, most = paddings[0], paddings[-1]
    which = (
        f"no padding from {_said(least)} to {_said(most)}"
        if least != most
        else f"no rounding with padding {_said(most)}"
    )
    goal = f"gives {asked.output} with kernel {asked.kernel} and stride {asked.stride}"
    if not asked.size:
        return f"{which} {goal} from a size of 1 or more: the padding alone gives more, take less of it"
    rooms = [asked.size + sum(padding) - asked.reach for padding in dict.fromkeys((least, most))]
    given = [f"{room} / {asked.stride} + 1 = {decimal(room / asked.stride + 1)}" for room in rooms]
    ends = [s.size for padding in (least, most) for s in _solutions(replace(asked, size=0), padding)]
    near = f"; sizes from {min(ends)} to {max(ends)} would do" if ends else ""
    return f"{which} {goal} from {asked.size}, which comes to {' and '.join(given)}{near}"


def _by_size(found: Inverse) -> list[str]:
    """Sizes in ranges, a line for each padding."""
    ways: dict[Pair, dict[Rounding, list[int]]] = {}
    for each in found.solutions:
        ways.setdefault(each.padding, {way: [] for way in ROUNDINGS})[each.rounding].append(each.size)
    rows: list[Sequence[str]] = [("padding", "exactly", "rounded down", "rounded up")]
    rows += [(_said(padding), *map(_range, sizes.values())) for padding, sizes in ways.items()]
    total = (found.output - 1) * found.stride + found.reach
    if found.stride == 1:
        lines = [f"{found.output} = n + padding − {found.reach} + 1, so n + padding = {total}"]
        return [*lines, "", columns([row[:2] for row in rows])]
    last = found.stride - 1
    down, up = _range([total + 1, total + last]), _range([total - last, total - 1])
    lines = [
        f"{found.output} = (n + padding − {found.reach}) / {found.stride} + 1",
        f"exactly       where n + padding is {total}",
        f"rounded down  where it is {down}: {_pixels([1, last])} at the end under no window",
        f"rounded up    where it is {up}: the last window hangs {_pixels([last, 1])} over the end",
    ]
    notes = [_same(found)] if len(ways) > 1 else []
    if any(len(way["up"]) < min(last, way["exactly"][0] - 1) for way in ways.values() if way["exactly"]):
        notes.append("rounded up, a window that would begin in the padding behind the input is dropped")
    return [*lines, "", columns(rows), *([""] if notes else []), *notes]


def _same(found: Inverse) -> str:
    """What TensorFlow's padding does, which depends on the size."""
    sizes = [(found.output - 1) * found.stride + 1, found.output * found.stride]
    taken = [sum(same_padding(size, found.reach, stride=found.stride)) for size in sizes]
    where = f"for {_range(sizes)}, with {_pixels(taken)} of padding in all"
    return f"same (TensorFlow's): ceil(n / {found.stride}) = {found.output} {where}"


def _by_padding(found: Inverse) -> list[str]:
    """A line for each padding of the one size."""
    size, same = found.size, -(-found.size // found.stride)
    rows = [("padding", f"({size} + padding − {found.reach}) / {found.stride} + 1", "rounding")]
    for each in found.solutions:
        extent = _extent(found, size, each.padding, ceil=each.rounding == "up")
        if each.rounding == "exactly":
            said = "comes out exactly"
        elif each.rounding == "down":
            said = f"rounded down: the last {pixels(each.left)} under no window{owned(extent)}"
        else:
            said = f"rounded up: the last window hangs {pixels(-each.left)} over the end"
        rows.append((_said(each.padding), decimal(extent.room / found.stride + 1), said))
    note = f"same (TensorFlow's) gives ceil({size} / {found.stride}) = {same}"
    return [columns(rows, left=3), "", note]


def _puzzle(found: Inverse) -> list[str]:
    """What AlexNet's first convolution is, for those who ask after it."""
    if (found.output, found.kernel, found.stride, found.dilation) != (55, 11, 4, 1):
        return []
    lines = ["", "AlexNet's paper has 224 pixels here, gives 55, and names no padding:"]
    for size, padding in ((224, 0), (224, 1), (224, 2), (227, 0)):
        extent = _extent(found, size, (padding, padding))
        quotient = f"({size} + {2 * padding} − 11) / 4 + 1 = {decimal(extent.room / 4 + 1)}"
        so = f", so {extent.output} rounded down" if extent.left else " exactly"
        lines.append(f"  {size} with padding {padding}: {quotient}{so}")
    return lines


def _said(padding: Pair) -> str:
    before, after = padding
    return f"{before}" if before == after else f"{before} and {after}"


def _range(numbers: Sequence[int]) -> str:
    """From the first to the last."""
    if not numbers:
        return "–"
    return f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]}–{numbers[-1]}"


def _pixels(ends: Sequence[int]) -> str:
    """So many pixels, or from the one end to the other."""
    return pixels(ends[0]) if ends[0] == ends[-1] else f"{_range(ends)} pixels"
