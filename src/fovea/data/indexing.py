"""Making the index of a data set: what changed since it was last opened is opened once, the rest is remembered."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fovea.data import index_file, pixels
from fovea.data.colour import in_colour
from fovea.data.index import CMYK, DEEP, FRAMES, LINK, SPLITS, SUFFIX, TRANSPARENT, TURNED, Index
from fovea.data.listing import ListedFile, Listing
from fovea.data.looks import look
from fovea.data.sets import Data
from fovea.data.sources.layouts import open_listing
from fovea.data.sources.shards import name_files, shard_files
from fovea.data.store import Store
from fovea.errors import MachineError, UnreadableImage

Progress = Callable[[int, int], None]  # files done, files in all
SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "TIFF": (".tif", ".tiff")}
BITS = {pixels.FRAMES: FRAMES, pixels.TURNED: TURNED, pixels.DEEP: DEEP, pixels.TRANSPARENT: TRANSPARENT}
TOGETHER = 64  # files a thread takes at once
SMALL_FILE = 32 << 10  # bytes; two threads took 18 s for 60,000 PNGs of 2 KB, one took 12 (docs/log.md)


class Found(NamedTuple):
    """What opening one file told."""

    digest: bytes = bytes(32)
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    odd: int = 0
    look: tuple[int, int] = (0, 0)
    reason: str = ""
    sentence: str = ""


def open_index(root: Path, *, workers: int = 0, progress: Progress | None = None) -> Index:
    """The index of a folder or an archive: the one kept, where nothing has changed by size and time of change.

    Otherwise what changed is opened, and the new index is kept. A stop half-way keeps what was done.

    Args:
        root: The folder or archive.
        workers: Threads that open files; 0 takes one for each core, for small files one.
        progress: Told how many files are done, of how many.

    Raises:
        DataError: nothing that could be listed.
    """
    kept = index_file.load(index_file.place_of(root))
    if kept is not None and kept.containers and (kept.stamps >= 0).all() and _archives_unchanged(kept, root):
        return kept
    listing = open_listing(root)
    if kept is not None and _same(kept, listing):
        return kept
    threads = workers or (os.cpu_count() or 1 if _large(listing) else 1)
    return _scan(listing, _known(kept), root, workers=threads, progress=progress)


def _large(listing: Listing) -> bool:
    """Whether decoding takes long enough for threads to help: for small files they only fight over the interpreter."""
    return sum(file.size for file in listing.files) > SMALL_FILE * len(listing.files)


def _archives_unchanged(kept: Index, root: Path) -> bool:
    root = root.resolve()
    there = {str(path) for path in (*shard_files(root), *name_files(root))} if root.is_dir() else {str(root)}
    return _containers(kept.containers) == kept.containers and there == {path for path, *_ in kept.containers}


def _containers(paths: Any) -> tuple[tuple[str, int, int], ...]:
    """Archives by path, with size and time of change as they are now; nothing where one is gone."""
    found = []
    for path, *_ in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 - the path is text here
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _same(kept: Index, listing: Listing) -> bool:
    """Whether the kept index says of every file what the listing says."""
    files = listing.files
    return (
        len(kept) == len(files)
        and kept.strays == listing.strays
        and kept.classes == listing.classes
        and kept.declared == listing.splits
        and not kept.containers
        and bool(kept.digests.any(axis=1).all())  # a file that could not be read may be readable now, unchanged
        and kept.paths == tuple(file.path for file in files)
        and kept.sizes.tolist() == [file.size for file in files]
        and kept.stamps.tolist() == [file.stamp for file in files]
        and _split_places(files) == kept.splits.tolist()
        and [kept.label_names[label] if label >= 0 else "" for label in kept.labels] == [file.label for file in files]
    )


def _split_places(files: tuple[ListedFile, ...]) -> list[int]:
    places = {name: place for place, name in enumerate(SPLITS)} | {"": -1}
    return [places[file.split] for file in files]


Known = dict[tuple[str, int, int], Found]


def _known(kept: Index | None) -> Known:
    """What is known of files by path, size and time of change; files that could not be read are asked again."""
    if kept is None or kept.containers:
        return {}
    read = np.flatnonzero(kept.digests.any(axis=1)).tolist()
    return {(kept.paths[row], int(kept.sizes[row]), int(kept.stamps[row])): _found(kept, row) for row in read}


def _found(kept: Index, row: int) -> Found:
    return Found(
        kept.digests[row].tobytes(),
        int(kept.widths[row]),
        int(kept.heights[row]),
        kept.format_names[kept.formats[row]],
        kept.mode_names[kept.modes[row]],
        int(kept.odd[row]),
        (int(kept.looks[row, 0]), int(kept.looks[row, 1])),
        kept.reasons.get(row, ""),
        kept.sentences.get(row, ""),
    )


def _scan(listing: Listing, known: Known, source: Path, *, workers: int, progress: Progress | None) -> Index:
    store = Store(str(listing.root), tuple(map(str, listing.containers)))
    found: list[Found | None] = [known.get((file.path, file.size, file.stamp)) for file in listing.files]
    wanted = [row for row, each in enumerate(found) if each is None]
    done = len(found) - len(wanted)

    def open_some(rows: list[int]) -> int:
        for row in rows:
            found[row] = _open(store, listing.files[row])
        return len(rows)

    try:
        with _stopping_at_once(ThreadPoolExecutor(workers, thread_name_prefix="fovea-index")) as pool:
            parts = [wanted[start : start + TOGETHER] for start in range(0, len(wanted), TOGETHER)]
            for count in pool.map(open_some, parts):
                done += count
                if progress is not None:
                    progress(done, len(found))
    finally:
        index = _assembled(listing, found, source)
        with contextlib.suppress(MachineError):  # a cache that cannot be kept costs time later, nothing else
            index_file.save(index, index_file.place_of(source))
    return index


@contextlib.contextmanager
def _stopping_at_once(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """A pool that leaves its queue undone where something is raised, Ctrl-C included."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _open(store: Store, file: ListedFile) -> Found:
    """Read, hash, decode: everything the index says of a file."""
    name = store.name(file.path)
    try:
        content = store.read(file.path, file.member, file.size)
    except UnreadableImage as error:
        return Found(reason=error.reason, sentence=str(error))
    digest = hashlib.sha256(content).digest()
    try:
        picture = pixels.examine(content, name=name)
    except UnreadableImage as error:
        kept = bytes(32) if error.reason == pixels.NO_MEMORY else digest  # that may be otherwise the next time
        return Found(kept, reason=error.reason, sentence=str(error))
    height, width = picture.pixels.shape[:2]
    looks = look(Image.fromarray(picture.pixels))
    return Found(digest, width, height, picture.format, picture.mode, _odd(picture, file), looks)


def _odd(picture: pixels.Picture, file: ListedFile) -> int:
    bits = sum(BITS[name] for name in picture.odd)
    suffixes = SUFFIXES.get(picture.format, (f".{picture.format.lower()}",))
    bits |= 0 if file.path.lower().endswith(suffixes) else SUFFIX
    bits |= CMYK if picture.mode == "CMYK" else 0
    return bits | (LINK if file.link else 0)


def _assembled(listing: Listing, found: Sequence[Found | None], source: Path) -> Index:
    """Columns from rows; a row not reached has a time of change that no file has, so that it is opened next time."""
    rows = [each or Found() for each in found]
    files = listing.files
    label_names = tuple(sorted({file.label for file in files if file.label} | set(listing.classes)))
    labels = {name: label for label, name in enumerate(label_names)} | {"": -1}
    formats, modes = (tuple(sorted({getattr(row, name) for row in rows})) for name in ("format", "mode"))
    return Index(
        name=source.resolve().name,
        source=str(source),
        root=str(listing.root),
        layout=listing.layout,
        declared=listing.splits,
        classes=listing.classes,
        label_names=label_names,
        paths=tuple(file.path for file in files),
        splits=np.array(_split_places(files), np.int8),
        labels=np.array([labels[file.label] for file in files], np.int32),
        sizes=np.array([file.size for file in files], np.int64),
        stamps=np.array([file.stamp if done else -1 for file, done in zip(files, found, strict=True)], np.int64),
        digests=np.frombuffer(b"".join(row.digest for row in rows), np.uint8).reshape(-1, 32),
        widths=np.array([row.width for row in rows], np.int32),
        heights=np.array([row.height for row in rows], np.int32),
        formats=np.array([formats.index(row.format) for row in rows], np.uint8),
        format_names=formats,
        modes=np.array([modes.index(row.mode) for row in rows], np.uint8),
        mode_names=modes,
        odd=np.array([row.odd for row in rows], np.uint16),
        looks=np.array([row.look for row in rows], np.uint64).reshape(-1, 2),
        reasons={row: each.reason for row, each in enumerate(rows) if each.reason},
        sentences={row: each.sentence for row, each in enumerate(rows) if each.reason},
        strays=dict(listing.strays),
        members=np.array([file.member for file in files if file.member], np.int64).reshape(-1, 4),
        containers=_containers([(path,) for path in listing.containers]),
    )


def index_of(data: Data) -> Index:
    """The index of a set that lies in memory, so that it can be examined as files can; splits as they are cut."""
    splits = [split for name in SPLITS if (split := getattr(data, name)) is not None]
    files, found = [], []
    for split in splits:
        for place in range(len(split)):
            pixels = np.ascontiguousarray(split.images[place])
            name = split.images.name(place)
            files.append(ListedFile(name, split.name, data.classes[split.labels[place]], pixels.nbytes, 0))
            found.append(_of_pixels(pixels))
    listing = Listing(root=Path(), layout="arrays", classes=data.classes, files=tuple(files))
    return dataclasses.replace(_assembled(listing, found, Path()), name=data.name, source="", root="")


def _of_pixels(pixels: NDArray[np.generic]) -> Found:
    height, width = pixels.shape[:2]
    mode = {1: "L", 3: "RGB"}.get(1 if pixels.ndim == 2 else pixels.shape[2], f"{pixels.shape[-1]} channels")
    digest = hashlib.sha256(pixels.data).digest()
    return Found(digest, width, height, "array", mode, look=look(Image.fromarray(in_colour(pixels))))
