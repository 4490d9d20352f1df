"""fovea shape: the arithmetic of a layer, of layers one after another, and the question backwards; without torch."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fovea.commands.parsing import parse
from fovea.cost.arithmetic import NONE, Kind, Layer, Maps, Padding, Pair, Worked, work
from fovea.cost.chain import Chain, chain
from fovea.cost.inverse import Inverse, inverse
from fovea.errors import UsageError, suggestion

EXAMPLES = """say what to work out:
  fovea shape --size 227 --kernel 11 --stride 4 --padding 2 --in-channels 3 --out-channels 64
      one layer, step by step
  fovea shape --size 227 conv11s4p2-64 pool3s2 conv5p2-192 pool3s2 gap fc1000
      layers one after another, as a table
  fovea shape --output 55 --kernel 11 --stride 4
      which sizes and paddings give 55; with --size 224 which paddings do
'fovea shape --help' explains."""
# What goes with each of the three questions, besides --json.
ONE = {"size", "kernel", "stride", "padding", "dilation", "groups", "in_channels", "out_channels", "pool"} | {
    "ceil", "bias", "batch_size",
}  # fmt: skip
MANY = {"layers", "size", "in_channels", "bias", "batch_size"}
BACKWARDS = {"output", "size", "kernel", "stride", "padding", "dilation"}

MOST = 100_000  # of any number: sizes, channels, units, images
KINDS: dict[str, Kind] = {
    "conv": "conv", "dw": "dw", "maxpool": "max", "avgpool": "avg", "pool": "max", "gap": "gap", "fc": "fc",
}  # fmt: skip
TAKES: dict[Kind, tuple[str, ...]] = {
    "conv": ("s", "p", "d", "g", "b"),
    "dw": ("s", "p", "d", "b"),
    "max": ("s", "p", "d", "ceil"),
    "avg": ("s", "p", "ceil"),
    "gap": (),
    "fc": ("b",),
}
WRITTEN: dict[Kind, str] = {
    "conv": "conv3s2p1-64: kernel, stride, padding (or same, full), channels; d2 dilates, g2 groups, b0: no bias",
    "dw": "dw3s2p1: kernel, stride, padding (or same, full); the channels stay; d2 dilates, b0: no bias",
    "max": "pool3s2p1: window, stride, padding (or same); the channels stay; d2 dilates, ceil rounds up",
    "avg": "avgpool3s2p1: window, stride, padding (or same); the channels stay; ceil rounds up",
    "gap": "gap, and nothing behind it",
    "fc": "fc1000; b0: no bias",
}
OTHERS = {"linear": "fc", "dense": "fc", "depthwise": "dw", "max": "maxpool", "avg": "avgpool", "global": "gap"}
SHAPELESS = {"relu", "sigmoid", "tanh", "softmax", "dropout", "flatten", "bn", "batchnorm", "lrn", "norm"}
SIDES = r"\d+(?::\d+)?(?:[x×]\d+(?::\d+)?)?"
WORD = re.compile(rf"({'|'.join(KINDS)})({SIDES})?((?:[spdgb]{SIDES}|same|valid|full|ceil)*)(?:-(\d+))?")
SETTING = re.compile(rf"(same|valid|full|ceil)|([spdgb])({SIDES})")


@dataclass(frozen=True)
class Shape:
    """The arithmetic of a layer, step by step; of layers one after another; or backwards, from --output to sizes."""

    layers: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Layers one after another, as words:
    conv11s4p2-64 pool3s2 avgpool2 dw3same gap fc1000.
    Behind the name the kernel; then s3 stride,
    p1 padding (p0:1 before and after; same, valid, full),
    d2 dilation, g2 groups, b0 without biases, ceil to
    round up; behind the dash the output's channels."""
    size: str = ""
    """Of the input in pixels: 227, or 224x320."""
    kernel: str = ""
    """Of the one layer: 11, or 3x1."""
    stride: str = ""
    """Where not given 1, or a pooling's kernel."""
    padding: str = ""
    """2, 2x1, 0:1 (before and after), same (TensorFlow's), valid (none) or full; where not given none."""
    dilation: str = "1"
    """Pixels from one weight of the kernel to the next."""
    groups: int = 1
    """Parts of the channels that do not see each other."""
    in_channels: int = 3
    """Of the input."""
    out_channels: int = 0
    """Of the one convolution; where not given only sizes are worked out."""
    pool: Literal["none", "max", "avg"] = "none"
    """The one layer is a pooling, without weights."""
    ceil: bool = False
    """Sizes are rounded up, as some poolings do."""
    bias: bool = True
    """Whether each output channel has one; of a single layer as a word b0 says that it has none."""
    batch_size: int = 1
    """Images at once, for the sums."""
    output: str = ""
    """Backwards: the output's size, 55 or 55x40; with --size which paddings give it."""
    json: bool = False
    """An object for machines."""


def run(arguments: list[str]) -> int:
    """Print what was worked out.

    Raises:
        UsageError: a word or a number that cannot be read, or options that do not go together.
        ShapeError: sizes that do not fit each other.
    """
    asked = parse(Shape, "shape", arguments)
    found = _found(asked)
    if asked.json:
        objects = {axis: each.as_json() for axis, each in found.items()}
        print(json.dumps(objects.get("", objects), indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(f"{axis}: {each}" if axis else str(each) for axis, each in found.items()))
    return 0


def layer_of(word: str, *, bias: bool = True) -> Layer:
    """The layer that a word such as conv11s4p2-64 says.

    Raises:
        UsageError: it cannot be read; says how it is written.
    """
    match = WORD.fullmatch(word.lower())
    if match is None:
        raise UsageError(f"the layer {word!r} cannot be read.{_close(word.lower())}")
    kind, number, channels = KINDS[match[1]], match[2] or "", match[4] or ""
    if kind == "fc" and not channels:
        number, channels = "", number
    _complete(word, kind, kernel=number, channels=channels)
    told = _told(word, kind, match[3])
    kernel = _pair(number or "1", f"the kernel of {word}")
    return Layer(
        kind=kind,
        kernel=kernel,
        stride=_pair(told["s"], f"s in {word}") if "s" in told else kernel if kind in ("max", "avg") else (1, 1),
        padding=_padding(told.get("p", "0"), f"p in {word}"),
        dilation=_pair(told.get("d", "1"), f"d in {word}"),
        groups=_count(told.get("g", "1"), f"g in {word}"),
        out_channels=_count(channels, f"the channels of {word}") if channels else 0,
        ceil="ceil" in told,
        bias=bias and told.get("b") != "0",
    )


def _found(asked: Shape) -> dict[str, Worked | Chain | Inverse]:
    """What was asked; a question backwards has an answer for each axis where they differ."""
    if asked == dataclasses.replace(Shape(), json=asked.json):
        raise UsageError(EXAMPLES)
    for name in ("in_channels", "groups", "batch_size"):
        _count(str(getattr(asked, name)), _flag(name))
    if asked.output:
        return _backwards(asked)
    if not asked.size:
        raise UsageError("--size is missing: the pixels of the input, such as --size 227, or --size 224x320")
    height, width = _pair(asked.size, "--size")
    image = Maps(asked.in_channels, height, width)
    if asked.layers:
        _only(asked, MANY, "layers as words carry their own numbers and go")
        layers = [(word, layer_of(word, bias=asked.bias)) for word in asked.layers]
        return {"": chain(layers, image, batch_size=asked.batch_size)}
    _only(asked, ONE, "one layer goes")
    return {"": work(_one(asked), image, batch_size=asked.batch_size)}


def _one(asked: Shape) -> Layer:
    if not asked.kernel:
        raise UsageError("--kernel is missing, such as --kernel 3 for one layer; or name layers, such as conv3s2p1-64")
    if asked.pool != "none" and (asked.groups > 1 or asked.out_channels or not asked.bias):
        raise UsageError(
            "--pool keeps the channels, has no weights, and goes without --groups, --out-channels, --no-bias"
        )
    kernel = _pair(asked.kernel, "--kernel")
    return Layer(
        kind="conv" if asked.pool == "none" else asked.pool,
        kernel=kernel,
        stride=_pair(asked.stride, "--stride") if asked.stride else (1, 1) if asked.pool == "none" else kernel,
        padding=_padding(asked.padding or "0", "--padding"),
        dilation=_pair(asked.dilation, "--dilation"),
        groups=asked.groups,
        out_channels=_count(str(asked.out_channels), "--out-channels") if asked.out_channels else 0,
        ceil=asked.ceil,
        bias=asked.bias,
    )


def _backwards(asked: Shape) -> dict[str, Worked | Chain | Inverse]:
    _only(asked, BACKWARDS, "--output asks backwards and goes")
    if not asked.kernel:
        raise UsageError("--kernel is missing: backwards the question is, which sizes give --output with a kernel")
    padding = _padding(asked.padding or "0", "--padding")
    if isinstance(padding, str):
        raise UsageError(f"--padding {padding} depends on the size: leave it away, the answer has all paddings")
    numbers = {
        name: _pair(getattr(asked, name) or "1", _flag(name)) for name in ("output", "kernel", "stride", "dilation")
    }
    sizes = _pair(asked.size, "--size") if asked.size else (0, 0)
    ways = [
        inverse(
            numbers["output"][axis],
            numbers["kernel"][axis],
            stride=numbers["stride"][axis],
            dilation=numbers["dilation"][axis],
            size=sizes[axis],
            padding=padding[axis] if asked.padding else None,
        )
        for axis in (0, 1)
    ]
    return {"": ways[0]} if ways[0] == ways[1] else {"height": ways[0], "width": ways[1]}


def _only(asked: Shape, names: set[str], what: str) -> None:
    """Refuse options that the question does not have."""
    usual = Shape()
    given = [n for n in vars(usual) if n not in names | {"json"} and getattr(asked, n) != getattr(usual, n)]
    if given:
        raise UsageError(f"{what} without {', '.join('layers' if n == 'layers' else _flag(n) for n in given)}")


def _complete(word: str, kind: Kind, *, kernel: str, channels: str) -> None:
    """A layer has a kernel, output channels, both or neither, by its kind."""
    wanted = {"kernel": (kernel, kind not in ("gap", "fc")), "output channels": (channels, kind in ("conv", "fc"))}
    for name, (given, wants) in wanted.items():
        if bool(given) != wants:
            what = f"lacks its {name}" if wants else f"takes no {name}"
            raise UsageError(f"the layer {word!r} {what}; it is written {WRITTEN[kind]}")


def _told(word: str, kind: Kind, rest: str) -> dict[str, str]:
    """The settings of a layer by their letters."""
    told: dict[str, str] = {}
    for name, letter, value in SETTING.findall(rest):
        key = letter or ("ceil" if name == "ceil" else "p")
        if key not in TAKES[kind] or key in told:
            why = "has it twice" if key in told else "does not take it"
            raise UsageError(
                f"{name or letter + value} in the layer {word!r}: the layer {why}; it is written {WRITTEN[kind]}"
            )
        told[key] = value or name
    if told.get("b", "0") not in ("0", "1"):
        raise UsageError(f"b in {word} (={told['b']!r}) must be 0, without biases, or 1, with them")
    return told


def _pair(text: str, what: str) -> Pair:
    sides = re.split("[x×]", text.lower())
    if len(sides) > 2 or not all(re.fullmatch(r"\d{1,9}", side) and 1 <= int(side) <= MOST for side in sides):
        rule = f"must be a whole number from 1 to {MOST:,}, or two as HEIGHTxWIDTH, such as 224x320"
        raise UsageError(f"{what} (={text!r}) {rule}")
    return int(sides[0]), int(sides[-1])


def _padding(text: str, what: str) -> Padding:
    named: dict[str, Padding] = {"same": "same", "full": "full", "valid": NONE}
    if text.lower() in named:
        return named[text.lower()]
    sides = [side.split(":") for side in re.split("[x×]", text.lower())]
    numbers = [number for side in sides for number in side]
    if max(map(len, sides)) > 2 or len(sides) > 2 or not all(re.fullmatch(r"\d{1,6}", number) for number in numbers):
        rule = "must be a number of pixels, such as 2, 2x1 or 0:1 (before:after), or same, valid or full"
        raise UsageError(f"{what} (={text!r}) {rule}.{suggestion(text.lower(), named)}")
    rows, columns = ((int(side[0]), int(side[-1])) for side in (sides[0], sides[-1]))
    return rows, columns


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= MOST:
        raise UsageError(f"{what} (={text}) must be a whole number from 1 to {MOST:,}")
    return int(text)


def _flag(name: str) -> str:
    return "--no-bias" if name == "bias" else f"--{name.replace('_', '-')}"


def _close(word: str) -> str:
    """What a word that cannot be read may have meant."""
    letters = re.match("[a-z]*", word)[0]  # type: ignore[index]  # matches everything
    rest = word[len(letters) :]
    if letters in SHAPELESS:
        return f" Leave {letters} away: it changes no shape"
    if not letters:
        return " A layer begins with its name, such as conv3-64; sizes of two sides are written --size 224x320"
    if letters in KINDS:
        return f" It is written {WRITTEN[KINDS[letters]]}"
    name = OTHERS.get(letters) or next(iter(difflib.get_close_matches(letters, KINDS, n=1, cutoff=0.6)), "")
    if not name:
        return f" Layers are {', '.join(KINDS)}, such as conv3s2p1-64"
    return f" Did you mean {name}{rest}?" if WORD.fullmatch(name + rest) else f" It is written {WRITTEN[KINDS[name]]}"
