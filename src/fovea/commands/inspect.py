"""fovea inspect: what a network costs, before the first step."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fovea.architectures.catalogue import list_architectures, published
from fovea.architectures.reference import is_reference
from fovea.commands.parsing import parse
from fovea.errors import UsageError, suggestion
from fovea.files import BUNDLE_FILE, read_json, write_durably

if TYPE_CHECKING:
    from torch import nn

    from fovea.cost.report import Report

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
DRAWN = (".svg", ".png")
LONGEST = 100_000  # pixels of a side, as in fovea shape
MOST = 10_000_000  # channels, logits, images


@dataclass(frozen=True)
class Inspect:  # no field may be None: tyro loads typeguard for such a type
    """Shapes, parameters, multiply-adds, receptive field, memory and time of networks, layer by layer."""

    networks: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names or patterns such as "resnet*", run folders or bundles, file.py:Class, package.module:function."""
    image_size: str = ""
    """Pixels: 224, or 224x320 for height and width; the network's own where nothing is given."""
    in_channels: int = 0
    """Channels of the images; the network's own where nothing is given."""
    num_classes: int = 0
    """Number of logits; the network's own where nothing is given."""
    batch_size: int = 32
    """Images at once, for memory and time."""
    depth: Literal["layers", "blocks", "stages"] = "layers"
    """What a row is."""
    sort: Literal["order", "parameters", "macs", "elements", "bound", "estimate", "measured"] = "order"
    """What comes first: the order of the forward pass, or the largest."""
    memory: bool = False
    """The memory of training in every way: SGD and Adam, float32 and bf16, channels last, checkpointing."""
    within: Annotated[str, tyro.conf.arg(metavar="SIZE")] = ""
    """With --memory: the largest batch for so much, such as 8GiB; this machine's memory where nothing is given."""
    time: bool = False
    """The bound and the estimate of the time on this machine; the first time it is calibrated, for up to a minute."""
    measure: bool = False
    """The times measured as well: the network is run."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the times: bf16 is autocast."""
    channels_last: bool = False
    """Of the times: weights and maps with their channels last."""
    picture: Annotated[str, tyro.conf.arg(metavar="FILE.svg|png")] = ""
    """Draw the network as its stages, or with --all the catalogue's accuracy against multiply-adds."""
    html: Annotated[str, tyro.conf.arg(metavar="FILE.html")] = ""
    """Write a page with everything, which opens anywhere."""
    all: bool = False
    """All published networks: accuracy against multiply-adds, with bubbles of parameters."""
    json: bool = False
    """An object for machines; a list where there are several networks."""
    csv: bool = False
    """Comma-separated lines: the rows of one network, or the totals of several."""


def run(arguments: list[str]) -> int:
    """Print the report.

    Raises:
        UsageError: no such network, or options that do not go together.
        ShapeError: the images do not fit.
        ModelError: a network that cannot run without weights.
    """
    asked = parse(Inspect, "inspect", arguments)
    _check(asked)
    if asked.all:
        return _all(asked)
    names = list(dict.fromkeys(name for given in asked.networks for name in _names(given)))
    if asked.picture and len(names) > 1:
        raise UsageError(f"--picture draws one network, not {len(names)}: name one, or draw them one by one")
    if asked.time or asked.measure:
        _announce(asked)
    found = [(_built(name, asked), name) for name in names]
    reports = [_report(network, name, asked) for network, name in found]
    print(_written(reports, asked), end="" if asked.csv else "\n")
    _drawn([network for network, _ in found], reports, asked)
    return 0


def size_in_bytes(text: str) -> int:
    """Bytes from text such as 8GiB, 500MB or 4096.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    if not found:
        raise UsageError(f"--within (={text!r}) is no size: give a number with a unit, such as 8GiB or 500MB")
    return int(float(found[1]) * UNITS[found[2] or ""])


def _check(asked: Inspect) -> None:
    if asked.all == bool(asked.networks):
        what = "--all is the whole catalogue and takes no names" if asked.all else "name a network"
        raise UsageError(f"{what}: fovea inspect resnet50, several for a comparison, or fovea inspect --all")
    if asked.json and asked.csv:
        raise UsageError("--json and --csv are two forms of one output: choose one")
    if asked.within and not asked.memory:
        raise UsageError("--within is the memory that --memory plans for: give both")
    if asked.picture and not asked.picture.lower().endswith(DRAWN):
        raise UsageError(f"--picture (={asked.picture!r}) draws an SVG or a PNG: give a name that ends so")
    if asked.html and not asked.html.lower().endswith((".html", ".htm")):
        raise UsageError(f"--html (={asked.html!r}) writes a page: give a name that ends with .html")
    alone = [name for name in ("html", "csv", "memory", "time", "measure") if asked.all and getattr(asked, name)]
    if alone:
        raise UsageError(f"--all goes with --picture and --json alone, not with --{alone[0]}")
    if (asked.precision != "float32" or asked.channels_last) and not asked.time and not asked.measure:
        raise UsageError("--precision and --channels-last are about times: give --time, or --measure, with them")
    if asked.sort in ("bound", "estimate", "measured") and not asked.time and not asked.measure:
        raise UsageError(f"--sort {asked.sort} orders by time: give --time, or --measure, with it")
    for name in ("in_channels", "num_classes", "batch_size"):
        if not (name == "batch_size") <= getattr(asked, name) <= MOST:
            rule = f"must be a whole number from 1 to {MOST:,}"
            raise UsageError(f"--{name.replace('_', '-')} (={getattr(asked, name)}) {rule}")
    if asked.within:
        size_in_bytes(asked.within)
    _image_size(asked)


def _image_size(asked: Inspect) -> tuple[int, int] | None:
    if not asked.image_size:
        return None
    found = re.fullmatch(r"(\d+)(?:[x×,](\d+))?", asked.image_size.strip())
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
        rule = f"is a number of pixels from 1 to {LONGEST:,}, or height x width: 224, 224x320"
        raise UsageError(f"--image-size (={asked.image_size!r}) {rule}")
    return height, width


def _announce(asked: Inspect) -> None:
    """Say what is about to take a minute."""
    from fovea.cost.calibration import BUDGET, hardware, kept_at

    if not kept_at(precision=asked.precision, channels_last=asked.channels_last).is_file():
        print(f"calibrating {hardware()}: once, for {BUDGET:.0f} seconds; other programs disturb it", file=sys.stderr)


def _names(given: str) -> list[str]:
    """The networks that an argument means."""
    if is_reference(given) or Path(given).exists():
        return [given]
    matching = list_architectures(given)
    if not matching:
        close = suggestion(given.strip("*"), published())
        raise UsageError(f"{given!r} is neither a network, nor a run folder or bundle, nor file.py:Class.{close}")
    return matching


def _built(name: str, asked: Inspect) -> nn.Module:
    """The network, without weights; with weights where it is to be measured."""
    import torch

    from fovea.architectures.catalogue import build

    told = _told(name)
    size = _image_size(asked)
    sizes = {
        "num_classes": asked.num_classes or told.get("num_classes"),
        "in_channels": asked.in_channels or told.get("in_channels"),
        "image_size": size[0] if size is not None and size[0] == size[1] else told.get("image_size"),
    }
    call = functools.partial(build, told.get("name", name), **sizes, **told.get("options", {}))
    if asked.measure:
        return call(seed=0)
    try:
        with torch.device("meta"):
            return call()
    except RuntimeError:
        if not is_reference(name):
            raise
        return call()  # it reads numbers while it is built, such as those of a torch.linspace: that takes memory


def _told(name: str) -> dict[str, Any]:
    """What a bundle says of its architecture; nothing for a network's name."""
    if is_reference(name) or not Path(name).exists():
        return {}
    from fovea.errors import ModelError
    from fovea.runtime.find import find_bundle

    folder = find_bundle(name)
    told: dict[str, Any] | None = read_json(folder / BUNDLE_FILE).get("architecture")
    if told is None:
        raise ModelError(
            f"{folder}: holds a network that is not of the catalogue; name its code, file.py:Class, instead"
        )
    return told


def _report(network: nn.Module, name: str, asked: Inspect) -> Report:
    from fovea.cost.memory import plans
    from fovea.cost.report import inspect, timed
    from fovea.cost.step import Setting

    report = inspect(
        network,
        image_size=_image_size(asked),
        in_channels=asked.in_channels or None,
        batch_size=asked.batch_size,
        training=True,
    )
    if asked.memory:
        setting = Setting(in_channels=report.in_channels, image_size=report.image_size, batch_size=report.batch_size)
        limit = size_in_bytes(asked.within) if asked.within else report.limit
        report = dataclasses.replace(report, training=tuple(plans(network, setting)), limit=limit)
    if asked.time or asked.measure:
        report = timed(
            report, network, precision=asked.precision, channels_last=asked.channels_last, measure=asked.measure
        )
    return dataclasses.replace(report, name=name).at_depth(asked.depth).sorted(asked.sort)


def _written(reports: list[Report], asked: Inspect) -> str:
    from fovea.cost.comparison import side_by_side, totals_as_csv
    from fovea.cost.table import text

    one = reports[0] if len(reports) == 1 else None
    if asked.json:
        found = [report.as_json() for report in reports]
        return json.dumps(found[0] if one else found, indent=2, ensure_ascii=False)
    if asked.csv:
        return one.as_csv() if one else totals_as_csv(reports)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return text(one, width=width) if one else side_by_side(reports)


def _drawn(networks: list[nn.Module], reports: list[Report], asked: Inspect) -> None:
    """Pictures and the page, into files."""
    if asked.picture:
        from fovea.commands.drawing import drawing

        _save(asked.picture, drawing(networks[0], reports[0], _form(asked.picture)))
    if asked.html:
        from fovea.commands.drawing import report_page

        _save(asked.html, report_page(networks, reports).encode())


def _all(asked: Inspect) -> int:
    """The catalogue as bubbles, and their figures."""
    from fovea.commands.drawing import bubble_picture, catalogue_bubbles

    found = sorted(catalogue_bubbles(), key=lambda bubble: bubble.macs)
    if asked.json:
        print(json.dumps([bubble._asdict() for bubble in found], indent=2, ensure_ascii=False))
    else:
        print(f"{'network':<24}{'multiply-adds':>16}{'parameters':>14}{'top-1 %':>9}  protocol")
        for each in found:
            print(f"{each.name:<24}{each.macs:>16,}{each.parameters:>14,}{each.accuracy:>9.1f}  {each.protocol}")
    if asked.picture:
        _save(asked.picture, bubble_picture(_form(asked.picture)))
    return 0


def _form(name: str) -> Literal["png", "svg"]:
    return "svg" if name.lower().endswith(".svg") else "png"


def _save(name: str, content: bytes) -> None:
    write_durably(Path(name), content)
    print(f"written: {name}", file=sys.stderr)
