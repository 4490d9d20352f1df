"""A table of images: a .csv or .tsv of path and label, perhaps with the split."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fovea.data.listing import ListedFile, Listing
from fovea.data.sources.arranging import ORDER, SPLIT_FOLDERS, SPLIT_NAMES
from fovea.errors import DataError, Unlabelled

MOST_BYTES = 1 << 30
HEADS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "target", "class_name", "category"),
    "split": ("split", "set", "subset", "partition"),
}


class Columns(NamedTuple):
    """Where path, label and split stand; -1 for no split."""

    path: int
    label: int
    split: int


def list_csv(path: Path) -> Listing:
    """Every image that a table names, in its order, by split.

    Commas, semicolons or tabs separate; the columns are known by their heads (path or filename; label or class;
    split), else the first is the path and the second the label. Paths are relative to the table's folder.

    Raises:
        Unlabelled: there is no column of labels, or none in it.
        DataError: with the line: text that is no UTF-8, a row that is too short, a path that leads out of the folder
            or has two labels, a split by another name.
    """
    rows = rows_of(path)
    number, first = next(rows, (0, []))
    columns = _columns(path, first)
    with_head = columns is not None
    files: dict[str, tuple[int, ListedFile]] = {}
    strays: dict[str, str] = {}
    width = len(first)
    if not with_head and first:
        _add(path, number, first, Columns(0, 1, -1), files, strays)
    for number, row in rows:
        if any(cell.strip() for cell in row[width:]):
            raise DataError(
                f"{path}, line {number}: has {len(row)} columns, not {width}; quote a path that holds commas"
            )
        _add(path, number, row, columns or Columns(0, 1, -1), files, strays)
    if not files:
        raise DataError(f"{path}: names no image; expected a line 'path,label', then one for each image")
    listed = sorted((file for _, file in files.values()), key=lambda file: ORDER[file.split])
    splits = tuple(split for split in SPLIT_FOLDERS if any(file.split == split for file in listed))
    if splits and any(not file.split for file in listed):
        raise DataError(f"{path}: some rows name a split and some do not; fill the column, or leave it out")
    if splits and "train" not in splits:
        raise DataError(f"{path}: names {' and '.join(splits)}, but no image for train")
    classes = {file.label for file in listed if file.split in ("", "train") and file.label}
    if not classes:
        raise Unlabelled(f"{path}: no row has a label in column {(columns or Columns(0, 1, -1)).label + 1}")
    return Listing(
        root=path.parent,
        layout="CSV",
        classes=tuple(sorted(classes)),
        files=tuple(listed),
        strays=strays,
    )


def paths_in(path: Path) -> list[Path]:
    """The images that a table without labels names, each once, in its order; relative to the table's folder.

    Raises:
        DataError: as `list_csv`, but for labels.
    """
    rows = list(rows_of(path))
    heads = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    column = next((place for place, head in enumerate(heads) if head in HEADS["path"]), None)
    found: dict[Path, None] = {}
    for number, row in rows[column is not None :]:
        if len(row) <= (column or 0):
            raise DataError(f"{path}, line {number}: has {len(row)} columns; expected at least {(column or 0) + 1}")
        found[path.parent / _below(path, number, row[column or 0])] = None
    if not found:
        raise DataError(f"{path}: names no image; expected a line 'path', then one for each image")
    return list(found)


def rows_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, with their line numbers."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MOST_BYTES else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MOST_BYTES:
        raise DataError(f"{path}: has {size:,} bytes, more than the limit of {MOST_BYTES:,}; is it a table of paths?")
    if (at := content.find(b"\0")) >= 0:
        line = content[:at].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: holds a NUL byte; save the table as UTF-8 text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: is no UTF-8 ({error.reason}); save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        place = f"{path}, line {reader.line_num}"
        raise DataError(f"{place}: cannot be read as a table ({error}); mend the line") from error


def _delimiter(text: str) -> str:
    """The separator that the first line has most of."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _columns(table: Path, first: list[str]) -> Columns | None:
    """The columns by their heads; None where the first row is no head."""
    names = [cell.strip().lower() for cell in first]
    found = {what: next((i for i, name in enumerate(names) if name in heads), -1) for what, heads in HEADS.items()}
    if found["path"] >= 0 and found["label"] >= 0:
        return Columns(**found)
    if found["path"] >= 0:
        raise Unlabelled(f"{table}, line 1: names no column of labels; call it {', '.join(HEADS['label'][:3])}")
    return None


def _add(
    table: Path,
    number: int,
    row: list[str],
    columns: Columns,
    files: dict[str, tuple[int, ListedFile]],
    strays: dict[str, str],
) -> None:
    place = f"{table}, line {number}"
    if len(row) <= max(columns):
        raise DataError(f"{place}: has {len(row)} columns; expected at least {max(columns) + 1}")
    path, label = _below(table, number, row[columns.path]), row[columns.label].strip()
    split = row[columns.split].strip().lower() if columns.split >= 0 else ""
    if split and split not in SPLIT_NAMES:
        raise DataError(f"{place}: the split {split!r} is none of {', '.join(SPLIT_NAMES)}")
    split = SPLIT_NAMES.get(split, "")
    if path in files:
        before, known = files[path]
        if (known.label, known.split) != (label, split):
            other = f"{known.label!r} {known.split} in line {before}"
            raise DataError(f"{place}: {path} is {label!r} {split} here and {other}; keep one")
        strays[f"{table.name}, line {number}"] = f"names {path} again"
        return
    files[path] = number, _file(table.parent / path, path, split, label)


def _below(table: Path, number: int, cell: str) -> str:
    """A cell's path, which must not lead out of the table's folder."""
    path = os.path.normpath(cell.strip())
    if not cell.strip() or "\0" in path or path.startswith("/") or path.split("/")[0] == "..":
        raise DataError(f"{table}, line {number}: the path {cell!r} must lead to a file below {table.parent}")
    return path


def _file(place: Path, path: str, split: str, label: str) -> ListedFile:
    """What is not there is listed all the same: the pixel door says why it cannot be read."""
    try:
        status = place.stat()
    except OSError:
        return ListedFile(path, split, label, 0, 0)
    return ListedFile(path, split, label, status.st_size, status.st_mtime_ns, None, place.is_symlink())
