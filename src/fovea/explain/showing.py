"""What is shown of a look into a network: sections of a page, arrays, and lines for the console."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.files import make_folder, write_durably
from fovea.pictures.page import Picture, Section, page

PAGE, ARRAYS = "explain.html", "arrays.npz"


class Showing(NamedTuple):
    """One look.

    Args:
        sections: Of the page.
        arrays: What the pictures were drawn from, by name.
        lines: What is printed.
        facts: The same for machines.
    """

    sections: Sequence[Section]
    arrays: Mapping[str, NDArray[Any]]
    lines: Sequence[str]
    facts: Mapping[str, Any]


def write_showing(folder: Path, title: str, showing: Showing) -> Path:
    """Write page and arrays into a folder, and each picture as a file of its own; the path of the page.

    Pictures of a page that stood there before go.

    Raises:
        MachineError: they cannot be written.
    """
    make_folder(folder)
    into, arrays = io.BytesIO(), dict[str, Any](showing.arrays)
    np.savez_compressed(into, **arrays)
    write_durably(folder / ARRAYS, into.getvalue())
    drawn = [each for each in showing.sections if isinstance(each, Picture)]
    for old in folder.glob("picture_[0-9][0-9]*.png") if (folder / PAGE).exists() else ():
        old.unlink()
    for number, picture in enumerate(drawn, start=1):
        write_durably(folder / f"picture_{number:02d}.png", picture.content)
    write_durably(folder / PAGE, page(title, sections=showing.sections).encode())
    return folder / PAGE
