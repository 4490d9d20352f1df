"""fovea transfer: from published weights to one's own classes, several ways on the same images."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from fovea.commands.allocator import keep_memory
from fovea.commands.parsing import parse
from fovea.commands.progress import counting
from fovea.data.names import check_source
from fovea.data.options import DataOptions
from fovea.errors import UsageError
from fovea.transfer.options import TransferOptions
from fovea.transfer.ways import DEFAULT, parse_ways


@dataclass(frozen=True)
class Transfer:
    """Compare cheap and expensive ways from published weights to your own classes, and keep the winner."""

    data: Annotated[str | None, tyro.conf.Positional] = None
    """digits, mnist, cifar10, …, a folder <class>/* or {train,val,test}/<class>/*, a .tar, .zip or .csv of one."""
    weights: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """A run folder or bundle ('fovea import' makes one of a file), torchvision:NAME, or timm:NAME."""
    out: Path | None = None
    """Where runs, table and the winner's bundle lie; runs/<time>_transfer_<data> where none is named."""
    json: bool = False
    """The result as an object for machines."""
    quiet: bool = False
    """Tell no progress."""
    transfer: TransferOptions = field(default_factory=TransferOptions)
    source: DataOptions = field(default_factory=DataOptions)


def run(arguments: list[str]) -> int:
    """Try the ways, and print the table.

    Raises:
        UsageError: no data, no weights, an unknown way.
    """
    asked = parse(Transfer, "transfer", arguments)
    if asked.data is None or asked.weights is None:
        raise UsageError("name data and weights, for example: fovea transfer ./photos --from torchvision:mobilenet_v2")
    check_source(asked.data)
    parse_ways(asked.transfer.ways or DEFAULT)
    keep_memory()

    import fovea
    from fovea.transfer.comparing import compare_ways

    with counting("opening files") as progress:
        opened = fovea.open_data(asked.data, **dataclasses.asdict(asked.source), progress=progress)

    def told(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = compare_ways(
        opened, asked.weights, asked.transfer, out=asked.out, quiet=asked.quiet, told=None if asked.quiet else told
    )
    print(json.dumps(found.as_json()) if asked.json else found)
    return 0
