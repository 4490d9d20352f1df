"""fovea check: what a data set holds, before anything is trained on it."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fovea.commands.parsing import parse
from fovea.data.augmentation.presets import preset
from fovea.data.names import KNOWN, check_source
from fovea.data.options import Augmentation, DataOptions
from fovea.errors import UsageError
from fovea.files import write_durably

if TYPE_CHECKING:
    from fovea.data.doctor.report import Report

SHOWN = 9  # images on the sheet of augmented ones, a row each
EPOCHS = 7  # how often each is shown
PHOTOGRAPH = 224  # pixels; the side of the network's square where nothing else tells it


@dataclass(frozen=True)
class Check:
    """Examine images before training: unreadable and odd files, classes, sizes, duplicates within and across splits.

    The exit code is 3 where a file cannot be decoded or has no label; everything else only warns.
    """

    data: Annotated[str, tyro.conf.Positional] = ""
    """A folder, a .tar or .zip of one, a .csv of path and label, a folder of WebDataset shards, or a known data set."""
    json: bool = False
    """The report as an object for machines."""
    html: str = ""
    """Write the report to this file as one page with pictures."""
    show_augmented: str = ""
    """Draw to this PNG what a network will see: some training images, each in several epochs."""
    augment: str = ""
    """Start the augmentation from a preset named by its paper: alexnet, vgg, inception, cifar, randaugment, …"""
    image_size: int = 0
    """For --show-augmented: side of the network's images in pixels; the images' own where they are equal, else 224."""
    resize: int = 0
    """For --show-augmented: shorter side of an image before the centre is cut; 0 is the network's size."""
    seed: int = 42
    """For --show-augmented: what the draws depend on."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    source: DataOptions = field(default_factory=DataOptions)


def run(arguments: list[str]) -> int:
    """Print the report.

    Returns:
        0, or 3 where a file cannot be decoded or has no label.

    Raises:
        UsageError: no data is named.
    """
    asked = parse(Check, "check", arguments)
    if asked.augment:
        start = Check(augmentation=preset(asked.augment))
        asked = parse(Check, "check", arguments, default=start)
    if not asked.data:
        raise UsageError(f"name a folder of images, or one of {', '.join(KNOWN)}: fovea check ./photos")
    check_source(asked.data)
    from fovea.commands.progress import counting
    from fovea.data.checking import check

    with counting("opening files") as progress:
        report = check(asked.data, asked.source, progress=progress)
    if asked.html:
        _write_page(report, Path(asked.html))
    print(json.dumps(report.as_json(), indent=2) if asked.json else report)
    if asked.show_augmented:
        _draw(asked)
    return 3 if report.bad_count else 0


def _write_page(report: Report, path: Path) -> None:
    from fovea.commands.check_page import sections
    from fovea.pictures.page import page

    write_durably(path, page(f"{report.name}: what the data holds", sections=sections(report)).encode())
    print(f"wrote {path}", file=sys.stderr)


def _draw(asked: Check) -> None:
    """Write a sheet of some training images: as they are first, then as the first epochs will show them."""
    import numpy as np

    from fovea.commands.progress import counting
    from fovea.data.loader import TrainingBatches
    from fovea.data.opening import open_data
    from fovea.data.preparing import Wanted, components, geometry, prepare
    from fovea.pictures import contact_sheet

    with counting("opening files") as progress:
        data = open_data(asked.data, **dataclasses.asdict(asked.source), progress=progress)
    size = asked.image_size or data.image_size or PHOTOGRAPH
    spec = geometry(data, image_size=size, in_channels=data.channels, resize=asked.resize)
    train = prepare(data, spec, Wanted(augmentation=asked.augmentation, workers=2))["train"]
    batches = TrainingBatches(
        fitted=train,
        batch_size=1,
        seed=asked.seed,
        augmentation=asked.augmentation,
        components=components(train, asked.augmentation),
    )
    chosen = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(np.int64)
    plain = train.preprocessing.pictured(train.preprocessing.normalise(train.gather(chosen)))
    columns = [train.preprocessing.pictured(batches.batch(chosen, epoch).images) for epoch in range(EPOCHS)]
    rows = [picture for row in zip(plain, *columns, strict=True) for picture in row]
    heads = ["evaluated", *(f"epoch {epoch + 1}" for epoch in range(EPOCHS))] * len(chosen)
    title = f"{data.name}: {len(chosen)} of {len(train):,} training images as evaluated, and in {EPOCHS} epochs"
    write_durably(Path(asked.show_augmented), contact_sheet(rows, heads, title=title, columns=EPOCHS + 1, cell=1.25))
    print(f"wrote {asked.show_augmented}", file=sys.stderr)
