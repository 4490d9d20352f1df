"""Sources that were made to mislead: nothing is lost in silence, nothing hangs, nothing leaves without its type."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fovea.data.sources import archive, cifar, layouts, shards, table
from fovea.errors import DataError

FILES = {f"{c}/{i}.png": bytes([i]) * 600 for c in ("cat", "dog") for i in range(4)}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            made.addfile(info, io.BytesIO(content))
        for link in links:
            made.addfile(link)
    return path


@pytest.mark.parametrize("cut", [5 * 1536, 5 * 1536 + 100, 8 * 1536])
def test_a_tar_cut_between_members_is_refused(tmp_path: Path, cut: int) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="is cut or damaged"):
        archive.list_archive(path)


@pytest.mark.parametrize("place", range(0, 8 * 1536, 61))
def test_a_flipped_bit_loses_no_member_of_a_tar(tmp_path: Path, place: int) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    try:
        found = archive.list_archive(path)
    except DataError:
        return
    assert len(found.files) == 8


def test_tars_one_behind_the_other_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="more follows after its end mark"):
        archive.list_archive(path)


def test_a_negative_size_is_refused_and_does_not_lead_in_circles(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    header = bytearray(tarfile.TarInfo("cat/x.png").tobuf()[:512])
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + path.read_bytes())
    with pytest.raises(DataError, match=r"its member cat/x\.png has -"):
        archive.list_archive(path)


def test_a_member_named_twice_in_other_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        archive.list_archive(tar(tmp_path / "a.tar", {**FILES, "./cat/./0.png": b"x"}))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("dog/1.png", b"x")
        info = zipfile.ZipInfo("cat/1.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        made.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r"its member cat/1\.png is a link"):
        archive.list_archive(tmp_path / "a.zip")


def test_a_flipped_bit_in_a_zips_contents_loses_no_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, content in FILES.items():
            made.writestr(name, content, zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for place in range(whole.index(b"PK\1\2"), len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = archive.list_archive(path)
        except DataError:
            continue
        assert len(found.files) + len(found.strays) >= 8, place


def test_a_member_of_a_zip_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x", b"x")
    content = bytearray(path.read_bytes())
    entry, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    content[entry + 28] = 0  # the length of the name
    content[end + 12] -= 1  # that of the table of contents
    path.write_bytes(content[: entry + 46] + content[entry + 47 :])
    with pytest.raises(DataError, match="is cut or damaged"):
        archive.list_archive(path)


def test_a_very_deep_name_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"cat/" + "a/" * 500_000 + "1.png": b"x", "dog/" + "a/" * 500_000: b""})
    tracemalloc.start()
    found = archive.list_archive(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.classes, len(found.files)) == (("cat", "dog"), 1)
    assert peak < 100_000_000


def test_two_folders_that_mean_the_same_are_refused_in_an_archive(tmp_path: Path) -> None:
    files = {f"{split}/{c}/1.png": b"x" for split in ("train", "val", "valid") for c in ("a", "b")}
    with pytest.raises(DataError, match="holds val and valid, which mean the same; keep one"):
        archive.list_archive(tar(tmp_path / "a.tar", files))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(DataError, match="neither a folder nor a regular file"):
        layouts.open_listing(tmp_path / "a.tar")


def test_a_tar_beside_class_folders_makes_no_shards(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    tar(tmp_path / "backup.tar", FILES)
    assert layouts.open_listing(tmp_path).layout == "class folders"


@pytest.mark.parametrize("order", [("json", "txt"), ("txt", "json")])
def test_of_several_labels_the_first_that_says_something_counts(tmp_path: Path, order: tuple[str, str]) -> None:
    said = {"json": json.dumps({"width": 3}).encode(), "txt": b"cat"}
    tar(tmp_path / "0.tar", {"0.jpg": b"x", **{f"0.{suffix}": said[suffix] for suffix in order}})
    assert [file.label for file in shards.list_shards(tmp_path).files] == ["cat"]


@pytest.mark.parametrize("content", [b"1" * 5000, b"cat", b"-1", b"1.0", "٣".encode()])
def test_a_cls_that_is_no_number_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    tar(tmp_path / "0.tar", {"0.jpg": b"x", "0.cls": content})
    with pytest.raises(DataError, match=r"0\.cls: is no label"):
        shards.list_shards(tmp_path)


def test_links_in_shards_are_refused_whatever_they_are_named(tmp_path: Path) -> None:
    link = tarfile.TarInfo("1.cls")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar(tmp_path / "0.tar", {"0.jpg": b"x", "0.cls": b"1"}, link)
    with pytest.raises(DataError, match=r"its member 1\.cls is a link"):
        shards.list_shards(tmp_path)


def test_hidden_files_in_and_among_shards_are_passed_over(tmp_path: Path) -> None:
    files = dict.fromkeys(("._0.jpg", "0.jpg", "0.cls", "._1.jpg", "1.jpg", "1.cls"), b"1")
    tar(tmp_path / "0.tar", files)
    (tmp_path / "._0.tar").write_bytes(b"resource fork")
    assert [file.path for file in shards.list_shards(tmp_path).files] == ["0.tar/0.jpg", "0.tar/1.jpg"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.png,c\0t\n", "line 2: holds a NUL byte"),
        ("path,label\na,b.png,cat\n", "line 2: has 3 columns, not 2"),
        ("path,breed\na.png,cat\n", "line 1: names no column of labels"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        table.list_csv(tmp_path / "t.csv")


class Rebuilt:
    """Pickles as a call with a state."""

    def __init__(self, *how: object) -> None:
        self.how = how

    def __reduce__(self) -> tuple[object, ...]:
        return self.how


def pointers() -> Rebuilt:
    """An array of objects whose type hides that it is one: NumPy itself takes its bytes for pointers and crashes."""
    held = Rebuilt(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    kind = Rebuilt(np.dtype, ("V8", False, True), (3, "|", None, ("f",), {"f": (held, 0)}, 8, 1, 0))
    start = np.zeros(0).__reduce__()[0]
    return Rebuilt(start, (np.ndarray, (0,), b"b"), (1, (10,), kind, False, b"A" * 80))


@pytest.mark.parametrize("where", ["batches.meta", "data_batch_1"])
def test_a_pickle_of_forged_pointers_is_refused(tmp_path: Path, where: str) -> None:
    folder = tmp_path / cifar.CIFAR10.python[0]
    folder.mkdir()
    planes = np.zeros((2, 3072), np.uint8)
    for name in (*cifar.CIFAR10.python[1], cifar.CIFAR10.python[2]):
        (folder / name).write_bytes(pickle.dumps({"data": planes, "labels": [0, 1]}, 4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 4))
    (folder / where).write_bytes(pickle.dumps({"label_names": pointers(), "data": pointers(), "labels": [0]}, 4))
    code = (
        "import sys; from pathlib import Path\n"
        "from fovea.data.sources import cifar; from fovea.errors import DataError\n"
        "try: cifar.read(cifar.CIFAR10, Path(sys.argv[1]), download=False)\n"
        "except DataError as error: print(error); sys.exit(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert str(folder / where) in ended.stdout


@pytest.mark.parametrize("names", [5, None, [1] * 10, {"a": 1}, "abcdefghij"])
@pytest.mark.parametrize("labels", [[1 << 70, 0], [True, 0], [10, 0], [-1, 0], 5, ["0", 0]])
def test_anything_but_names_and_labels_is_a_typed_error(tmp_path: Path, names: object, labels: object) -> None:
    folder = tmp_path / cifar.CIFAR10.python[0]
    folder.mkdir()
    planes = np.zeros((2, 3072), np.uint8)
    for name in (*cifar.CIFAR10.python[1], cifar.CIFAR10.python[2]):
        (folder / name).write_bytes(pickle.dumps({"data": planes, "labels": labels}, 4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 4))
    with pytest.raises(DataError):
        cifar.read(cifar.CIFAR10, tmp_path, download=False)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 4))
    with pytest.raises(DataError, match="data_batch_1"):
        cifar.read(cifar.CIFAR10, tmp_path, download=False)
