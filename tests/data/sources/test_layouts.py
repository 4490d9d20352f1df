"""Whatever lies at a path is listed by the source that knows it, told by content."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from fovea.data.sources.layouts import open_listing
from fovea.errors import DataError


def tar(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"1"))
    return path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_each_layout_is_known(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set", "w") as archive:
        archive.writestr("cat/1.png", b"x")
    (tmp_path / "a.CSV").write_text("1.png,cat\n")
    expected = {
        touch(tmp_path / "folder", "cat/1.png"): "class folders",
        touch(tmp_path / "splits", "train/cat/1.png"): "split folders",
        touch(tmp_path / "imagenet", "train/n00000001/1.JPEG"): "ILSVRC",
        touch(tmp_path / "flat", "n00000001_1.JPEG"): "ILSVRC file names",
        tar(tmp_path / "shards" / "0.tar", "1.png", "1.cls").parent: "WebDataset",
        tar(tmp_path / "archive.bin", "cat/1.png"): "tar",
        tmp_path / "set": "zip",
        tmp_path / "a.CSV": "CSV",
    }
    assert {path: open_listing(path).layout for path in expected} == expected


def test_any_other_file_is_refused_with_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"x\.tar: is no folder of images, nor a \.tar or \.zip of one, nor a \.csv"):
        open_listing(tmp_path / "x.tar")
    with pytest.raises(DataError, match=r"gone: cannot be read"):
        open_listing(tmp_path / "gone")
