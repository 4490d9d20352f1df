"""Layers one after another: shapes, costs and receptive fields as a table; and how one layer prints, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fovea.cost.arithmetic import FLOAT32, NONE, Extent, Kind, Layer, Maps, Padding, Worked, work
from fovea.cost.receptive_field import Axis, Window, through
from fovea.errors import ShapeError

NAMES: dict[Kind, str] = {
    "conv": "convolution",
    "dw": "depthwise convolution",
    "max": "max pooling",
    "avg": "average pooling",
    "gap": "global average pooling",
    "fc": "fully connected",
}
SORTS: dict[str, tuple[Kind, ...]] = {"convolutions": ("conv", "dw"), "fully connected": ("fc",)}
HEADS = ("layer", "output", "elements", "KiB", "weights", "biases", "multiply-adds", "field", "stride")
LABEL = 15  # columns before what a layer prints
UNTOLD = "elements, memory, parameters and multiply-adds need the output's channels"


@dataclass(frozen=True)
class Link:
    """One layer of a chain: how it was written, what it comes to, what its units see.

    The receptive field has an axis for height and one for width, in pixels of the image; none where a unit sees it all.
    """

    name: str
    worked: Worked
    field: tuple[Axis, ...]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Layers one after another; prints itself as a table. Counts are for one image.

    Args:
        image: What enters.
        links: The layers.
        batch_size: Images that the printed total adds up at its end.
    """

    image: Maps
    links: tuple[Link, ...]
    batch_size: int = 1

    @property
    def elements(self) -> int:
        """Numbers that leave all layers together, the image not among them."""
        return sum(link.worked.after.elements for link in self.links)

    @property
    def weights(self) -> int:
        """Parameters without biases."""
        return sum(link.worked.weights for link in self.links)

    @property
    def biases(self) -> int:
        """One for each output channel of the layers that have them."""
        return sum(link.worked.biases for link in self.links)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def macs(self) -> int:
        """Multiply-adds, without biases."""
        return sum(link.worked.macs for link in self.links)

    def part(self, kinds: Sequence[Kind]) -> tuple[int, int]:
        """Parameters and multiply-adds of the layers of some kinds."""
        chosen = [link.worked for link in self.links if link.worked.layer.kind in kinds]
        return sum(each.parameters for each in chosen), sum(each.macs for each in chosen)

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines; shares are fractions of the total."""
        layers = [
            {"name": link.name, "kind": NAMES[link.worked.layer.kind]}
            | link.worked.as_json()
            | {"receptive_field": [axis._asdict() for axis in link.field] or "image"}
            for link in self.links
        ]
        whole = {name: getattr(self, name) for name in ("elements", "weights", "biases", "parameters", "macs")}
        whole |= {"bytes": FLOAT32 * self.elements, "flops": 2 * self.macs, "batch_size": self.batch_size}
        shares = {}
        for sort, kinds in SORTS.items():
            parameters, macs = self.part(kinds)
            shares[sort] = {"parameters": parameters / (self.parameters or 1), "macs": macs / (self.macs or 1)}
        return {"input": self.image._asdict(), "layers": layers, "total": whole, "shares": shares}

    def __str__(self) -> str:
        rows: list[Sequence[str]] = [
            HEADS,
            ("input", str(self.image), f"{self.image.elements:,}", _kib(self.image), *("",) * 5),
        ]
        rows += [_row(link) for link in self.links]
        counts = (f"{self.elements:,}", f"{FLOAT32 * self.elements / 1024:,.1f}", f"{self.weights:,}")
        rows.append(("total", "", *counts, f"{self.biases:,}", f"{self.macs:,}", "", ""))
        return "\n".join([columns(rows, left=2), "", *_summary(self)])


def chain(layers: Iterable[tuple[str, Layer]], image: Maps, *, batch_size: int = 1) -> Chain:
    """Work layers out one after another.

    Args:
        layers: As they follow, each with a name to show.
        image: What enters the first.
        batch_size: Images at once; rows stay those of one.

    Raises:
        ShapeError: sizes that do not fit each other; says in which layer.
    """
    links: list[Link] = []
    maps = image
    field: tuple[Axis, ...] = (Axis(1, 1, 0), Axis(1, 1, 0))
    for place, (name, layer) in enumerate(layers, start=1):
        try:
            worked = work(layer, maps)
        except ShapeError as error:
            raise ShapeError(f"layer {place}, {name}, on {maps}: {error}") from error
        windows = [Window(extent.reach, extent.stride, extent.before) for extent in worked.extents]
        field = tuple(through(axis, window) for axis, window in zip(field, windows, strict=False))  # none: the image
        links.append(Link(name, worked, field))
        maps = worked.after
    return Chain(image=image, links=tuple(links), batch_size=batch_size)


def text(found: Worked) -> str:
    """A single layer, step by step, every formula with its numbers put in."""
    head = f"{described(found.layer)}: {found.before} → {found.after}"
    lines = [*_sizes(found), *(_counts(found) if found.after.channels else [("", UNTOLD)])]
    return "\n".join([head, "", *(f"{label:<{LABEL}}{said}" for label, said in lines)])


def formula(extent: Extent) -> str:
    """The size of the output along one axis, step by step."""
    before, after = extent.before, extent.after
    padding = "" if not before + after else f" + 2·{before}" if before == after else f" + {before} + {after}"
    terms, word = f"{extent.size}{padding} − {extent.reach}", "ceil" if extent.ceil else "floor"
    if extent.stride == 1 and extent.output == extent.steps + 1:
        return f"{terms} + 1 = {extent.output}"
    said = f"{word}(({terms}) / {extent.stride}) + 1 = {word}({extent.room} / {extent.stride}) + 1"
    said += f" = {extent.steps} + 1 = {extent.steps + 1}"
    dropped = extent.output <= extent.steps
    return f"{said}, less the window that would begin behind the input: {extent.output}" if dropped else said


def rounding(extent: Extent) -> str:
    """What rounding leaves over along one axis, and what lies between the windows; nothing at stride 1."""
    said = f"{extent.room} / {extent.stride} = {decimal(extent.room / extent.stride)} "
    if extent.left < 0:
        said += f"is rounded up: the last window hangs {pixels(-extent.left)} over the end"
    elif extent.left > 0:
        said += f"is rounded down: the last {pixels(extent.left)} of {extent.padded} under no window{owned(extent)}"
    else:
        said = said + "comes out exactly: nothing is left over" if extent.stride > 1 else ""
    between = extent.unseen - extent.lost
    gaps = f"between windows and weights {pixels(between)} of {extent.size} are never seen" if between else ""
    return "; ".join(filter(None, (said, gaps)))


def owned(extent: Extent) -> str:
    """How many of the pixels behind the last window are the input's own, where there is padding too."""
    if not extent.after:
        return ""
    return f", {extent.lost} of them the input's own" if extent.lost else ", all padding"


def described(layer: Layer) -> str:
    """A layer in words."""
    if not layer.windowed:
        return NAMES[layer.kind]
    said = f"{NAMES[layer.kind]} {_times(layer.kernel)}, stride {_side(layer.stride)}"
    said += f", padding {_padding(layer.padding)}" if layer.padding != NONE else ""
    said += f", dilation {_side(layer.dilation)}" if layer.dilation != (1, 1) else ""
    return f"{said}, {layer.groups} groups" if layer.groups > 1 else said


def columns(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table with so many columns set to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{'<' if i < left else '>'}{width}}}" for i, width in enumerate(widths))
    return "\n".join(form.format(*row).rstrip() for row in rows)


def pixels(count: int) -> str:
    """So many pixels."""
    return f"{count} pixel" if count == 1 else f"{count} pixels"


def decimal(value: float) -> str:
    """A number without needless digits, such as 54.25."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def memory(count: int) -> str:
    """Bytes in powers of 1024 and of 1000, since lectures use both, such as 784 KiB, or 802.8 kB."""
    systems = []
    for base, units in ((1024, ("bytes", "KiB", "MiB", "GiB")), (1000, ("bytes", "kB", "MB", "GB"))):
        power = next((power for power in (3, 2, 1) if count >= base**power), 0)
        systems.append(f"{decimal(round(count / base**power, 1))} {units[power]}")
    return ", or ".join(dict.fromkeys(systems))


def _sizes(found: Worked) -> list[tuple[str, str]]:
    names = ("size",) if len(set(found.extents)) == 1 else ("height", "width")
    lines = []
    for name, axis in zip(names, found.extents, strict=False):
        said = [formula(axis), rounding(axis)]
        if axis.dilation > 1:
            said.insert(0, f"the kernel reaches over {axis.dilation}·({axis.kernel} − 1) + 1 = {pixels(axis.reach)}")
        if found.layer.padding == "same":
            whole = f"ceil({axis.size} / {axis.stride}) = {axis.output}, as TensorFlow has it"
            said.insert(0, f"same: {whole}, takes {axis.before} before and {axis.after} after")
        lines += [(name if i == 0 else "", each) for i, each in enumerate(filter(None, said))]
    return lines


def _counts(found: Worked) -> list[tuple[str, str]]:
    maps, n = found.after, found.batch_size
    sides, factors = f"{maps.height} · {maps.width} · ", " · ".join(map(str, found.factors))
    size = f"{maps.elements:,} · {FLOAT32} bytes (float32) = {maps.bytes:,} bytes: {memory(maps.bytes)}"
    lines = [("output", f"{sides}{maps.channels} = {maps.elements:,} elements"), ("memory", size)]
    if found.weights:
        lines += [
            ("weights", f"{factors} = {found.weights:,}"),
            ("parameters", f"{found.weights:,} + {found.biases:,} biases = {found.parameters:,}"),
            ("multiply-adds", f"{sides}{factors} = {found.macs:,}{_rounded(found.macs)}"),
        ]
        more = f"{found.macs + maps.elements:,} with the addition of a bias for each element"
        lines += [("", more)] if found.biases else []
        lines.append(("FLOPs", f"2 · {found.macs:,} = {2 * found.macs:,}"))
    if n > 1:
        macs = f"; {n * found.macs:,} multiply-adds" if found.macs else ""
        lines.append((f"batch of {n}", f"{n * maps.elements:,} elements: {memory(n * maps.bytes)}{macs}"))
    return lines


def _row(link: Link) -> tuple[str, ...]:
    found = link.worked
    maps = f"{found.after.channels}" if found.layer.kind == "fc" else str(found.after)
    counts = (f"{count:,}" if count else "–" for count in (found.weights, found.biases, found.macs))
    field, stride = [_side(sides) for sides in zip(*link.field, strict=True)][:2] if link.field else ("image", "–")
    return (link.name, maps, f"{found.after.elements:,}", _kib(found.after), *counts, field, stride)


def _summary(found: Chain) -> list[str]:
    lines = [
        f"parameters     {found.weights:,} weights + {found.biases:,} biases = {found.parameters:,}",
        f"multiply-adds  {found.macs:,}{_rounded(found.macs)}; FLOPs 2 · {found.macs:,} = {2 * found.macs:,}",
        f"feature maps   {found.elements:,} elements in float32: {memory(FLOAT32 * found.elements)}",
    ]
    if (n := found.batch_size) > 1:
        maps = memory(n * FLOAT32 * found.elements)
        lines.append(f"{f'batch of {n}':<{LABEL}}{n * found.macs:,} multiply-adds; feature maps {maps}")
    rows = [("share of", "parameters", "", "multiply-adds", "")]
    for sort, kinds in SORTS.items():
        counts = found.part(kinds)
        shares = [
            100 * count / (whole or 1) for count, whole in zip(counts, (found.parameters, found.macs), strict=True)
        ]
        rows.append((sort, f"{counts[0]:,}", f"{shares[0]:.1f} %", f"{counts[1]:,}", f"{shares[1]:.1f} %"))
    return [*lines, "", columns(rows)]


def _kib(maps: Maps) -> str:
    return f"{maps.bytes / 1024:,.1f}"


def _times(sides: Iterable[int | float]) -> str:
    return "×".join(f"{side:g}" for side in sides)


def _side(sides: Sequence[int | float]) -> str:
    """One number where height and width have the same."""
    return _times(sides if len(set(sides)) > 1 else sides[:1])


def _padding(padding: Padding) -> str:
    if isinstance(padding, str):
        return padding
    rows, columns = (f"{first}" if first == last else f"{first} before and {last} after" for first, last in padding)
    return rows if rows == columns else f"{rows} (height) and {columns} (width)"


def _rounded(count: int) -> str:
    units = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
    return next((f", or {count / unit:.1f} {word}" for unit, word in units if count >= unit), "")
