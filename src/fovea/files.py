"""The one durable write: a reader never meets half a file, and no crash leaves one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fovea.errors import MachineError, ModelError

BUNDLE_FILE = "bundle.json"  # what a bundle's folder is recognised by, and what is written there last
RUN_FILE = "config.json"  # what a run folder is recognised by, and what is written there first
EXPERIMENT_FILE = "experiment.json"  # what an experiment's folder is recognised by, and what was asked
SEEDS_FILE = "seeds.json"  # what a folder of several seeds' runs is recognised by
SEEDS_SUMMARY = "summary.json"  # what they reached, once all are done
BUNDLE_FOLDER = "bundle"  # where a run folder keeps its bundle


def write_durably(path: Path, content: bytes) -> str:
    """Write content to path so that it is there whole or not at all, even through a power cut.

    Temporary file in the same folder, fsync, read back and compare, rename, fsync of the folder.

    Returns:
        The SHA-256 of the content, as hexadecimal.

    Raises:
        MachineError: the disk is full or read-only, or what was read back differs from what was written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256(content).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if sha256(temporary) != digest:
            raise MachineError(f"{path}: the disk gave back other bytes than were written; check the disk")
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        raise machine_error(path, error, needed=len(content)) from error
    finally:
        _remove_quietly(temporary)
    return digest


def link_durably(source: Path, path: Path) -> None:
    """Let path be another name of the same file, in place of what it was; where links cannot be made, a copy.

    Raises:
        MachineError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_quietly(temporary)
        os.link(source, temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError:  # a file system without links: FAT, some network mounts
        write_durably(path, source.read_bytes())
    finally:
        _remove_quietly(temporary)  # renaming onto another name of the same file leaves it


@contextlib.contextmanager
def durable_file(path: Path, *, needed: int) -> Iterator[BinaryIO]:
    """A file to be written piece by piece that is there whole or not at all: for what does not fit in memory.

    Whoever reads it checks its pieces; what was written is not read back here.

    Args:
        path: Where it shall lie.
        needed: How many bytes are coming, so that a full disk is said before the work.

    Raises:
        MachineError: the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        raise machine_error(path, error, needed=needed) from error
    finally:
        _remove_quietly(temporary)


def write_json(path: Path, value: Any) -> str:
    """Write value as JSON, keys in the order given, with the one durable write; equal values give equal bytes.

    File names that are no UTF-8 are escaped as JSON has it, so that `read_json` gives the same text back.
    """
    content = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write_durably(path, content.encode(errors="backslashreplace"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is missing, or holds no JSON object.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is damaged, not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object, not {type(value).__name__}")
    return value


def make_folder(path: Path) -> Path:
    """Make a folder and its parents, durably; it may exist already.

    Raises:
        MachineError: the disk is read-only or full, or a file stands in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise machine_error(path, error, needed=0) from error
    return path


def cache_folder() -> Path:
    """Where what is costly to find out is kept: FOVEA_CACHE, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FOVEA_CACHE") or Path(home) / "fovea")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine_error(path: Path, error: OSError, *, needed: int) -> MachineError:
    """The system's refusal to write `needed` bytes at path, as one sentence with a next step."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(p for p in (path.parent, *path.parent.parents) if p.exists())
        free = shutil.disk_usage(folder).free
        reason = f"the disk is full: {needed:,} bytes needed, {free:,} available; make room, then run the same command"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        reason = f"cannot be written ({error.strerror}); choose another folder with --out"
    else:
        reason = f"cannot be written ({error.strerror})"
    return MachineError(f"{path}: {reason}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):  # renamed already, or on a disk that refuses: nothing is left to do
        path.unlink()
