"""Which layout a folder or a file has, told by what lies there."""

from __future__ import annotations

from pathlib import Path

from fovea.data.listing import Listing
from fovea.data.sources import archive, folder, imagenet, shards, table
from fovea.errors import DataError

TABLES = (".csv", ".tsv")


def open_listing(path: Path) -> Listing:
    """What lies at path, by its names.

    Raises:
        DataError: nothing there that is taken, or nothing that can be listed.
    """
    path = path.resolve()
    if path.is_dir():
        if shards.is_shards(path):
            return shards.list_shards(path)
        return imagenet.list_imagenet(path) if imagenet.is_imagenet(path) else folder.list_folder(path)
    if path.suffix.lower() in TABLES:
        return table.list_csv(path)
    if archive.is_archive(path):
        return archive.list_archive(path)
    raise DataError(
        f"{path}: is no folder of images, nor a .tar or .zip of one, nor a .csv of paths and labels; "
        f"expected root/<class>/<image> or root/train/<class>/<image>"
    )
