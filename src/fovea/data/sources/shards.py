"""WebDataset shards: a folder of .tar files whose members come in groups `key.jpg`, `key.cls`; nothing is unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fovea.data.listing import ListedFile, Listing, Member
from fovea.data.reading import printable
from fovea.data.sources.archive import members
from fovea.data.sources.arranging import ORDER, SPLIT_NAMES, SUFFIXES, Entry
from fovea.errors import DataError

LABELS = (".cls", ".label", ".json", ".txt")
PICKLED = (".pyd", ".pkl", ".pickle", ".pth", ".pt")
NAMES = ("classes.txt", "classnames.txt")
LONGEST_LABEL = 1 << 20  # bytes
NUMBER = re.compile(r"[0-9]{1,18}")


class Sample(NamedTuple):
    """One image of a shard with its label."""

    key: str
    image: Entry
    label: str


def is_shards(root: Path) -> bool:
    """Whether a folder, or one of its folders of splits, holds .tar files."""
    return bool(shard_files(root))


def list_shards(root: Path) -> Listing:
    """Every image of a folder of shards, by split, shard and place.

    Labels are numbers in `.cls`, names in `.label` or `.txt`, or "label" or "class" in `.json`. Numbers are named by
    the lines of classes.txt where there is one. Splits are told by folder (train/000.tar) or by a word of its name
    (imagenet-train-000.tar); where there is none the set is still to be cut.

    Raises:
        DataError: a shard that is cut, a pickled member, a member that leads outside, a key named twice in a split.
    """
    shards = shard_files(root)
    named = {path: _split(path, root) for path in shards}
    if any(named.values()) and not all(named.values()):
        bare = next(path for path, split in named.items() if not split)
        raise DataError(f"{bare}: its name tells no split, but others' do; name it train-…, val-… or test-…")
    order = sorted(shards, key=lambda path: (ORDER[named[path]], str(path)))
    names = _class_names(root)
    strays: dict[str, str] = {}
    seen: dict[tuple[str, str], Path] = {}
    files: list[ListedFile] = []
    for container, path in enumerate(order):
        prefix = path.relative_to(root).as_posix()
        for key, image, label in _samples(path, container, strays):
            if (named[path], key) in seen:
                other = seen[named[path], key]
                raise DataError(f"{path}: the key {printable(key)} is in {other} already; remove one of the shards")
            seen[named[path], key] = path
            name = _named(label, names, path, key)
            files.append(ListedFile(f"{prefix}/{image.path}", named[path], name, image.size, 0, image.member))
    found = {file.label for file in files if file.split in ("", "train") and file.label}
    if not found:
        raise DataError(f"{root}: its shards hold no labelled image; expected members key.jpg and key.cls")
    classes = tuple(names) if names and found <= set(names) else tuple(sorted(found, key=_rank))
    return Listing(
        root=root,
        layout="WebDataset",
        classes=classes,
        files=tuple(files),
        containers=(*order, *name_files(root)),  # the names, too, are watched for changes
        strays=strays,
    )


def shard_files(root: Path) -> list[Path]:
    """The .tar files of a folder and of its folders of splits; none where it holds images or class folders as well."""
    found: list[Path] = []
    for folder in (root, *(root / name for name in SPLIT_NAMES if (root / name).is_dir())):
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES or (path.is_dir() and (folder != root or path.name not in SPLIT_NAMES)):
                return []
            found += [path] if path.suffix == ".tar" and path.is_file() else []
    return found


def _split(path: Path, root: Path) -> str:
    if path.parent != root:
        return SPLIT_NAMES[path.parent.name]
    words = [SPLIT_NAMES[word] for word in re.split(r"[-_.]", path.stem.lower()) if word in SPLIT_NAMES]
    return words[0] if words else ""


def _samples(path: Path, container: int, strays: dict[str, str]) -> list[Sample]:
    """The groups of one shard: every image with the first of its labels that there is."""
    images: dict[str, Entry] = {}
    labels: dict[str, dict[str, str]] = {}  # by key, then by suffix
    with open(path, "rb") as file:
        for found, member in _regular(path, container):
            folder, slash, name = found.path.rpartition("/")
            stem, dot, extensions = name.partition(".")
            if name.startswith("."):  # hidden, and what macOS adds
                continue
            key, suffix = folder + slash + stem, f"{dot}{extensions.lower()}"
            last = suffix[suffix.rfind(".") :]
            if last in PICKLED:
                pickled = f"its member {printable(found.path)} is pickled, which could run code"
                raise DataError(f"{path}: {pickled}; leave it out")
            if last in SUFFIXES:
                if key in images:
                    raise DataError(f"{path}: the key {printable(key)} has two images; give each a key of its own")
                images[key] = found
            elif last in LABELS:
                if found.size > LONGEST_LABEL:
                    raise DataError(f"{path}: the label {printable(found.path)} has {found.size:,} bytes; is it one?")
                file.seek(member.offset)
                label = _label(file.read(found.size), last, f"{path}: {printable(found.path)}")
                labels.setdefault(key, {})[last] = label
            else:
                strays[f"{path.name}/{found.path}"] = f"neither an image nor a label by its suffix ({last or 'none'})"
    return [Sample(key, image, _first(labels.get(key, {}))) for key, image in images.items()]


def _regular(path: Path, container: int) -> Iterator[tuple[Entry, Member]]:
    """The files of a shard, and where their bytes lie.

    Raises:
        DataError: as `members`, or it holds a link or a device, whatever its name.
    """
    for found in members(path, container):
        if found.member is not None:
            yield found, found.member
        elif not found.folder:
            named = printable(found.path)
            raise DataError(f"{path}: its member {named} is a link or a device; pack the files themselves")


def _first(labels: dict[str, str]) -> str:
    """Of several labels of an image the first that says something, in the order of LABELS: a caption comes last."""
    return next((labels[suffix] for suffix in LABELS if labels.get(suffix)), "")


def _label(content: bytes, suffix: str, place: str) -> str:
    try:
        text = content.decode().strip()
        if suffix == ".cls" and not NUMBER.fullmatch(text):
            raise ValueError(f"{text[:20]!r} is no whole number from 0")
        if suffix != ".json":
            return text
        held = json.loads(text)
        found = next((held[name] for name in ("label", "class") if name in held), "") if isinstance(held, dict) else ""
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is no label ({error}); expected a number, a name, or JSON with 'label'") from error
    if not isinstance(found, str | int) or isinstance(found, bool):
        raise DataError(f"{place}: its label {found!r} must be a whole number or a name")
    return str(found)


def name_files(root: Path) -> list[Path]:
    """The file that names the classes, where there is one."""
    return [path for name in NAMES if (path := root / name).is_file()][:1]


def _class_names(root: Path) -> list[str]:
    """The lines of classes.txt, where there is one."""
    for path in name_files(root):
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as UTF-8 ({error})") from error
        found = [line for line in lines if line]
        if len(set(found)) != len(found):
            raise DataError(f"{path}: names a class twice; each line must be another")
        return found
    return []


def _named(label: str, names: list[str], path: Path, key: str) -> str:
    """A number by its line in classes.txt; a name as it is."""
    if not names or not NUMBER.fullmatch(label):
        return label
    if int(label) >= len(names):
        raise DataError(f"{path}: {printable(key)} has the label {label}; classes.txt names {len(names)}, from 0")
    return names[int(label)]


def _rank(label: str) -> tuple[bool, int, str]:
    """Numbers by their value, before names."""
    number = NUMBER.fullmatch(label) is not None
    return not number, int(label) if number else 0, label
