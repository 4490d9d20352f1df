"""Where the bytes of listed files lie: in files of their own below a folder, or in stretches of archives."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fovea.data.listing import Member
from fovea.data.reading import printable, read_file
from fovea.data.sources.archive import read_member
from fovea.errors import UnreadableImage


@dataclass(frozen=True)
class Store:
    """Reads listed files, from any number of threads.

    Args:
        root: The folder or the archive.
        containers: The archives by path; none for a folder.
    """

    root: str
    containers: tuple[str, ...] = ()
    _open: dict[int, BinaryIO] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self, path: str, member: Member | None, size: int) -> bytes:
        """The bytes of one file.

        Raises:
            UnreadableImage: it cannot be read, or the archive is not what was listed.
        """
        if member is None:
            return read_file(Path(self.root, path))
        try:
            return read_member(self._descriptor(member.container), member, size)
        except (OSError, UnreadableImage) as error:
            reason = error.reason if isinstance(error, UnreadableImage) else "unreadable"
            raise UnreadableImage(f"{printable(self.name(path))}: {error}", reason) from error

    def name(self, path: str) -> str:
        """What people call a file: its path, or the archive and the path inside."""
        return os.path.join(self.root, path)  # noqa: PTH118 - as quick as it goes, for it is asked of every image

    def _descriptor(self, container: int) -> int:
        """Opened once and kept; where two threads open at once, one of the two is let go."""
        if container not in self._open:
            file = open(self.containers[container], "rb")  # noqa: SIM115 - kept open
            if self._open.setdefault(container, file) is not file:
                file.close()
        return self._open[container].fileno()

    def __del__(self) -> None:
        """Let go of the archives."""
        for file in self._open.values():
            file.close()
