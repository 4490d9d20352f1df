"""Archives: listed like folders, read at will, refused when cut or dishonest, never unpacked."""

import bz2
import gzip
import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fovea.data.sources import archive
from fovea.data.sources.archive import is_archive, list_archive, read_member
from fovea.data.sources.folder import list_folder
from fovea.errors import DataError, UnreadableImage

FILES = {f"{c}/{i}.png": bytes([i, *c.encode()]) * (100 + i) for c in ("cat", "dog") for i in range(4)}


def tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> Path:
    """A name that ends in a slash is a folder's."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content, method)
    return path


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def make(tmp_path: Path, kind: str, files: dict[str, bytes]) -> Path:
    if kind == "tar":
        return tar(tmp_path / "a.tar", files)
    return packed(tmp_path / "a.zip", files, zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)


def unpack(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        folder = root / name if name.endswith("/") else (root / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        if folder != root / name:
            (root / name).write_bytes(content)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list_archive(path)
    return str(caught.value)


KINDS = pytest.mark.parametrize("kind", ["tar", "stored", "deflated"])


@KINDS
def test_members_are_listed_like_files_and_read_from_any_thread(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind, dict(reversed(FILES.items())))
    found = list_archive(path)
    assert is_archive(path)
    assert (found.root, found.containers, found.classes) == (path, (path,), ("cat", "dog"))
    assert found.layout == ("tar" if kind == "tar" else "zip")
    assert [file.path for file in found.files] == list(FILES)
    with open(path, "rb") as file, ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            read = pool.map(lambda f: read_member(file.fileno(), f.member, f.size), found.files)
            assert list(read) == list(FILES.values())
    assert list(tmp_path.iterdir()) == [path]


@KINDS
def test_an_outer_folder_does_not_count_and_splits_do(tmp_path: Path, kind: str) -> None:
    names = ("train/cat/1.png", "train/dog/1.png", "val/dog/1.png", "train/notes.txt", ".x/1.png", "__MACOSX/._1.png")
    found = list_archive(make(tmp_path, kind, {f"pets/{name}": b"x" for name in names}))
    assert [(f.path, f.split, f.label) for f in found.files] == [
        ("pets/train/cat/1.png", "train", "cat"),
        ("pets/train/dog/1.png", "train", "dog"),
        ("pets/val/dog/1.png", "validation", "dog"),
    ]
    assert found.splits == ("train", "validation")
    assert found.strays == {"pets/train/notes.txt": "no image by its suffix (.txt)"}


LAYOUTS = {
    "classes": ("cat/2.png", "cat/1.PNG", "dog/a/b/c/d/e/3.jpg", "dog/a/b/notes", "dog/a/.b/x.png"),
    "empty classes": ("cat/1.png", "dog/1.png", "emu/", "fox/deep/down/below/here/"),
    "loose images": ("cat/1.png", "dog/1.png", "2.png", "readme.md"),
    "splits": ("training/cat/1.png", "training/dog/1.png", "valid/dog/2.png", "test/cat/a/b/c/3.png", "test/gnu/1.png"),
    "loose in splits": ("train/cat/1.png", "train/dog/1.png", "val/3.png", "4.png", "extra/cat/5.png", "more/"),
    "empty classes in splits": ("train/cat/1.png", "train/dog/", "val/dog/1.png", "val/emu/", "./", ".git/"),
    "names of the challenge": ("n01440764_tench.JPEG", "n01443537_9.JPEG", "other.JPEG", "list.txt"),
    "the challenge's splits": ("train/n01440764_1.JPEG", "train/n01443537_1.JPEG", "val/n01440764_2.JPEG"),
    "a class named test": ("cat/1.png", "test/1.png"),
}


@KINDS
@pytest.mark.parametrize("outer", ["", "pets/", "./", "./pets/"])
@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_an_archive_is_listed_as_its_folder_is(tmp_path: Path, kind: str, outer: str, names: tuple[str, ...]) -> None:
    files = {name: b"" if name.endswith("/") else name.encode() for name in names}
    unpack(tmp_path / "pets", files)
    found = list_archive(make(tmp_path, kind, {f"{outer}{name}": content for name, content in files.items()}))
    expected, prefix = list_folder(tmp_path / "pets"), outer.removeprefix("./")
    assert (found.classes, found.splits) == (expected.classes, expected.splits)
    assert [(file.path, file.split, file.label, file.size) for file in found.files] == [
        (prefix + file.path, file.split, file.label, file.size) for file in expected.files
    ]
    assert found.strays == {prefix + path: why for path, why in expected.strays.items()}


def test_a_link_beside_the_outer_folder_is_a_stray_and_a_file_there_makes_it_a_class(tmp_path: Path) -> None:
    files = {f"pets/{name}": content for name, content in FILES.items()}
    found = list_archive(tar(tmp_path / "a.tar", files, special("latest", tarfile.SYMTYPE)))
    assert (found.classes, found.strays) == (("cat", "dog"), {"latest": "no regular file"})
    found = list_archive(tar(tmp_path / "b.tar", {**files, "readme.md": b"x"}))
    assert (found.classes, found.strays) == (("pets",), {"readme.md": "no image by its suffix (.md)"})


def test_an_only_class_and_an_only_split_are_no_outer_folder(tmp_path: Path) -> None:
    assert list_archive(tar(tmp_path / "a.tar", {"cat/1.png": b"x"})).classes == ("cat",)
    found = list_archive(tar(tmp_path / "b.tar", {"train/cat/1.png": b"x"}))
    assert (found.classes, found.splits) == (("cat",), ("train",))


def old_tar(path: Path, files: dict[str, bytes]) -> Path:
    """As before POSIX: no mark in the headers, and a folder told by its slash alone."""
    content = bytearray(tar(path, files, form=tarfile.USTAR_FORMAT).read_bytes())
    for at in [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]:
        content[at + 156 : at + 157] = b"\0"
        content[at + 257 : at + 512] = bytes(255)
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    path.write_bytes(content)
    return path


def test_an_old_tar_without_a_mark_is_known_by_its_name_and_its_sum(tmp_path: Path) -> None:
    path = old_tar(tmp_path / "a.TAR", {"cat/": b"", **FILES})
    assert is_archive(path)
    found = list_archive(path)
    assert (found.layout, found.classes, [file.path for file in found.files]) == ("tar", ("cat", "dog"), [*FILES])
    assert not is_archive(path.rename(tmp_path / "a.bin"))
    for name, content in {"b.tar": b"\1" + bytes(511), "c.tar": b"cat", "d.tar": b"", "e.tar": b"\xff" * 512}.items():
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_strange_names_are_taken(tmp_path: Path, form: int) -> None:
    names = [f"{'d' * 90}/{'n' * 90}.png", "b/new\nline.png"]
    names += [] if form == tarfile.USTAR_FORMAT else ["c/caf\udce9.png", "c/" + "é" * 120 + ".png"]
    found = list_archive(tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"), form=form))
    assert {file.path for file in found.files} == set(names)


@KINDS
@pytest.mark.parametrize("name", ["/cat/9.png", "../9.png", "cat/../../9.png", "cat/.."])
def test_names_that_lead_outside_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    assert f"its member {name} leads outside the archive" in refusal(make(tmp_path, kind, {**FILES, name: b"x"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_named_twice_is_refused(tmp_path: Path) -> None:
    assert "holds cat/1.png twice" in refusal(tar(tmp_path / "a.tar", FILES, tarfile.TarInfo("cat/1.png")))
    path = packed(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(path, "a") as more:
        more.writestr("cat/1.png", b"other")
    assert "holds cat/1.png twice" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_named_like_images_are_refused_and_others_are_strays(tmp_path: Path, kind: bytes) -> None:
    assert "its member cat/x.png is " in refusal(tar(tmp_path / "a.tar", FILES, special("cat/x.png", kind)))
    assert list(list_archive(tar(tmp_path / "b.tar", FILES, special("cat/x", kind))).strays) == ["cat/x"]


@pytest.mark.parametrize(("kind", "words"), [("tar", "cut"), ("stored", "cut or damaged"), ("deflated", "cut or")])
def test_an_archive_cut_inside_a_member_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = make(tmp_path, kind, FILES)
    path.write_bytes(path.read_bytes()[: 7 * 1024 + 600 if kind == "tar" else -30])
    assert words in refusal(path)


def test_a_member_that_ends_early_when_it_is_read_is_truncated(tmp_path: Path) -> None:
    for path in (tar(tmp_path / "a.tar", FILES), packed(tmp_path / "a.zip", FILES)):
        last = max(list_archive(path).files, key=lambda file: file.member.offset)
        with open(path, "r+b") as file:
            file.truncate(last.member.offset + 5)
            with pytest.raises(UnreadableImage) as caught:
                read_member(file.fileno(), last.member, last.size)
        assert caught.value.reason == "truncated"


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_member_that_unpacks_to_another_size_is_refused(tmp_path: Path, change: int) -> None:
    path = packed(tmp_path / "a.zip", {"a/1.png": bytes(5000), "b/1.png": b"x"})
    found = list_archive(path).files[0]
    with open(path, "rb") as file, pytest.raises(UnreadableImage, match="unpacks to another size"):
        read_member(file.fileno(), found.member, found.size + change)


def test_encrypted_and_other_methods_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "its member cat/0.png is encrypted" in refusal(path)
    assert "packed by method 12" in refusal(packed(tmp_path / "b.zip", FILES, zipfile.ZIP_BZIP2))


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 7)
    assert "has more than 7 members" in refusal(path)
    monkeypatch.setattr(archive, "MAX_BYTES", 300)
    assert "its member cat/0.png has 400 bytes, more than 300" in refusal(path)


@pytest.mark.parametrize(("pack", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2")])
def test_compressed_tars_are_refused_with_the_way_out(tmp_path: Path, pack: object, kind: str) -> None:
    path = tar(tmp_path / "a.tar", FILES)
    path.write_bytes(pack(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"is compressed \({kind}\).*unpack it, or make a plain \.tar"):
        is_archive(path)


@pytest.mark.parametrize("names", [(), ("1.png", "2.png"), ("notes.txt",), ("train/1.png", "val/cat/1.png")])
def test_an_archive_without_class_folders_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
    assert refusal(path) == (f"{path}: holds no class folders; expected <class>/<image> or train/<class>/<image> in it")
    path = tar(tmp_path / "b.tar", {"train/cat/1.png": b"x", "val/": b""})
    assert refusal(path) == f"{path}/val: holds no class folders; expected {path}/val/<class>/<image>"
