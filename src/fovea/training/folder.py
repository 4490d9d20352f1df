"""The run folder: one writer, a configuration, a history, checkpoints, a bundle, pictures."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from fovea.errors import ModelError, RunInUse, UsageError
from fovea.files import (
    EXPERIMENT_FILE,
    RUN_FILE,
    SEEDS_FILE,
    machine_error,
    make_folder,
    read_json,
    write_durably,
    write_json,
)
from fovea.training.options import from_json

# Where the data lies, and what a run may be resumed with otherwise: the device is recorded, the others change nothing.
FREE = ("source", "keeping", "workers", "device", "teacher")
LOCK, HISTORY, LATEST = "run.lock", "history.csv", "latest"


def new_name(architecture: str, data: str) -> Path:
    """runs/<time>_<architecture>_<data>, not taken yet; on a machine it sorts by time."""
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}_{architecture}_{data}"
    candidates = (Path("runs") / (stem if n == 1 else f"{stem}_{n}") for n in range(1, 1000))
    return next(path for path in candidates if not path.exists())


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        RunInUse: another process writes a run there.
        UsageError: it holds something; where it is a run, how to go on with it.
    """
    # A lock, or a temporary file of a process that was killed before it wrote anything, is nothing.
    if not folder.exists() or (folder.is_dir() and all(p.name == LOCK or p.match(".*.tmp") for p in folder.iterdir())):
        return
    if (folder / RUN_FILE).exists():
        _refuse_while_written(folder)
        raise UsageError(
            f"{folder}: holds a run already; choose another --out, or go on with it: fovea train --resume {folder}"
        )
    raise UsageError(f"{folder}: exists and holds other things; choose another --out")


def create(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Write the configuration into a folder that is free.

    Raises:
        UsageError: the folder holds something already.
        MachineError: it cannot be written.
    """
    check_free(folder)
    write_json(folder / RUN_FILE, dict(configuration))


def open_run(folder: Path, described: Mapping[str, Any], *, resume: bool) -> list[str]:
    """Write the configuration of a new run; of one that goes on, compare it with what is wanted now.

    Args:
        folder: The run folder, held by this process.
        described: The configuration as it is now.
        resume: Whether the run goes on.

    Returns:
        What changed that may: the machine, from which on the run is no longer what it would have been to the bit.

    Raises:
        ModelError: what may not: network, data or options.
    """
    if not resume:
        create(folder, described)
        several = folder.parent / SEEDS_FILE, folder.parent.parent / EXPERIMENT_FILE
        if not any(path.exists() for path in several):  # one run of many is nobody's latest
            point_latest(folder)
        return []
    found = configuration(folder)
    if isinstance(told := found.get("training"), dict):
        found["training"] = dataclasses.asdict(from_json(told))  # with the options that are newer than the run
    for part in ("network", "data", "training", "teacher"):
        old, new = _meaning(found.get(part)), _meaning(described[part])
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                raise ModelError(
                    f"{folder}: cannot go on, {part} {key} was {old.get(key)!r} and is {new.get(key)!r} now; "
                    f"go on with the old one, or begin another run with --out"
                )
    was, now = found.get("machine", {}), described["machine"]
    return [f"{key} {was[key]} became {now[key]}" for key in now if key in was and was[key] != now[key]]


def configuration(folder: Path) -> dict[str, Any]:
    """What the run was told.

    Raises:
        ModelError: the folder holds no run.
    """
    if not (folder / RUN_FILE).is_file():
        raise ModelError(f"{folder}: is no run folder (no {RUN_FILE} in it)")
    return read_json(folder / RUN_FILE)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder; the system lets go of it when the process ends, however it ends.

    What a killed process had half written is removed.

    Raises:
        RunInUse: another process holds it; it is named.
        MachineError: the folder cannot be written.
    """
    make_folder(folder)
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise machine_error(folder / LOCK, error, needed=0) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(folder, descriptor) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        _sweep(folder)
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote: nobody else writes here now."""
    for path in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def _refuse_while_written(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError), open(folder / LOCK, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(folder, lock.fileno()) from error


def _in_use(folder: Path, descriptor: int) -> RunInUse:
    holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
    return RunInUse(f"{folder}: is being written by {holder}; wait for it, or choose another --out")


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All finished epochs as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    write_durably(folder / HISTORY, text.getvalue().encode())


def point_latest(folder: Path) -> None:
    """Let the link `latest` beside the run point to it; where links cannot be made there is none."""
    link = folder.parent / LATEST
    temporary = folder.parent / f".{LATEST}.{os.getpid()}.tmp"
    try:
        if link.exists() and not link.is_symlink():
            return
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _meaning(part: Any, prefix: str = "") -> dict[str, Any]:
    """What must not change between a run and its resuming, by dotted names; without what only says where and how."""
    if not isinstance(part, Mapping):
        return {prefix or "fingerprint": json.loads(json.dumps(part))}
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key not in FREE:
            found |= _meaning(value, f"{prefix}.{key}" if prefix else key)
    return found
