"""The index: made once, checked by size and time of change, kept through stops, never believed when damaged."""

import dataclasses
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fovea.data import index_file, indexing
from fovea.data.cutting import Cut
from fovea.data.index import CMYK, DEEP, FRAMES, LINK, SUFFIX, TRANSPARENT, TURNED, Index
from fovea.data.indexed import data_of, notes
from fovea.data.indexing import index_of, open_index
from fovea.data.opening import open_data
from fovea.data.sets import FileImages
from fovea.errors import DataError, UnreadableImage

CUT = Cut(None, 42)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path_factory.mktemp("cache")))


def image(number: int, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind, **options)
    return content.getvalue()


def folder(root: Path, classes: int = 2, images: int = 5) -> Path:
    for label in range(classes):
        for number in range(images):
            place = root / f"class{label}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(image(10 * label + number))
    return root


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are opened from now on."""
    opened: list[str] = []
    real = indexing._open

    def open_(store: Any, file: Any) -> Any:
        opened.append(file.path)
        return real(store, file)

    monkeypatch.setattr(indexing, "_open", open_)
    return opened


def equal(first: Index, second: Index) -> bool:
    return all(
        np.array_equal(a, b) if isinstance(a := getattr(first, f.name), np.ndarray) else a == getattr(second, f.name)
        for f in dataclasses.fields(first)
        for b in [getattr(second, f.name)]
    )


def test_an_index_says_what_each_file_is(tmp_path: Path) -> None:
    index = open_index(folder(tmp_path / "pets"))
    assert index.name == "pets"
    assert index.classes == ("class0", "class1")
    assert index.paths[0] == "class0/0.png"
    assert index.place(0) == str(tmp_path / "pets/class0/0.png")
    content = (tmp_path / "pets/class0/0.png").read_bytes()
    assert index.sizes[0] == len(content)
    assert index.digest(0) == hashlib.sha256(content).hexdigest()
    assert (index.widths[0], index.heights[0]) == (12, 9)
    assert index.format_names[index.formats[0]] == "PNG"
    assert index.mode_names[index.modes[0]] == "RGB"
    assert index.labels.tolist() == [0] * 5 + [1] * 5
    assert len(index.bad()) == 0
    assert not index.odd.any()


def test_a_second_opening_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")
    first = open_index(root)
    opened = counted(monkeypatch)
    assert equal(first, open_index(root))
    assert opened == []


def test_only_what_changed_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")
    open_index(root)
    opened = counted(monkeypatch)
    (root / "class1/9.png").write_bytes(image(99))
    (root / "class0/1.png").write_bytes(image(98) + b"more")
    os.utime(root / "class0/2.png", ns=(5, 5))
    (root / "class0/0.png").unlink()
    index = open_index(root)
    assert sorted(opened) == ["class0/1.png", "class0/2.png", "class1/9.png"]
    assert len(index) == 10
    assert equal(index, open_index(root))


def test_a_file_that_could_not_be_read_is_tried_again_though_it_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "pets")
    real = indexing.Store.read

    def closed(self: Any, path: str, *rest: Any) -> bytes:
        if path == "class0/3.png":
            raise UnreadableImage(f"{path}: may not be read (no permission)", "no permission")
        return real(self, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(indexing.Store, "read", closed)
        assert list(open_index(root).reasons.values()) == ["no permission"]
    opened = counted(monkeypatch)
    assert open_index(root).reasons == {}
    assert opened == ["class0/3.png"]


def test_too_little_memory_is_no_lasting_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")

    def full(_content: bytes, *, name: str) -> Any:
        raise UnreadableImage(f"{name}: does not fit in memory", "out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("fovea.data.pixels.examine", full)
        assert len(open_index(root).bad()) == 10
    assert len(open_index(root).bad()) == 0


def test_a_set_that_moved_is_indexed_anew(tmp_path: Path) -> None:
    first = open_index(folder(tmp_path / "pets"))
    (tmp_path / "pets").rename(tmp_path / "animals")
    second = open_index(tmp_path / "animals")
    assert second.name == "animals"
    np.testing.assert_array_equal(first.digests, second.digests)


@pytest.mark.parametrize("place", [0, 9, 100, -1, "half", "empty"])
def test_a_damaged_index_is_made_again(tmp_path: Path, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")
    first = open_index(root)
    kept = index_file.place_of(root)
    content = bytearray(kept.read_bytes())
    if isinstance(place, int):
        content[place] ^= 1
    kept.write_bytes(content[: {"half": len(content) // 2, "empty": 0}.get(place, len(content))])
    assert index_file.load(kept) is None
    opened = counted(monkeypatch)
    assert equal(first, open_index(root))
    assert len(opened) == 10


def test_every_byte_of_an_index_counts(tmp_path: Path) -> None:
    open_index(folder(tmp_path / "pets", images=1))
    kept = index_file.place_of(tmp_path / "pets")
    content = kept.read_bytes()
    whole = index_file.load(kept)
    assert whole is not None
    for place in range(0, len(content), 7):
        kept.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        found = index_file.load(kept)
        assert found is None or equal(found, whole)


def test_an_index_of_another_version_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")
    open_index(root)
    monkeypatch.setattr(index_file, "VERSION", "999")
    assert index_file.load(index_file.place_of(root)) is None


def test_a_stop_half_way_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets", images=200)

    def stop(done: int, _total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_index(root, workers=1, progress=stop)
    opened = counted(monkeypatch)
    index = open_index(root)
    assert 0 < len(opened) <= 400 - 128
    assert len(index.bad()) == 0


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "file"))
    assert len(open_index(folder(tmp_path / "pets"))) == 10


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_makes_the_same_index(tmp_path: Path, workers: int) -> None:
    root = folder(tmp_path / "pets", images=100)
    (root / "class0/bad.png").write_bytes(b"")
    first = open_index(root, workers=3)
    index_file.place_of(root).unlink()
    assert equal(first, open_index(root, workers=workers))


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    open_index(folder(tmp_path / "pets", images=100), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert told == sorted(told)


def test_bad_files_have_a_reason_and_a_sentence(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    (root / "class0/a.png").write_bytes(b"")
    (root / "class0/b.png").write_bytes(image(1)[:-20])
    (root / "stray.png").write_bytes(image(2))
    index = open_index(root)
    bad = {index.paths[row]: index.why(row) for row in index.bad().tolist()}
    assert set(bad) == {"class0/a.png", "class0/b.png", "stray.png"}
    assert "is empty (0 bytes)" in bad["class0/a.png"]
    assert "is truncated" in bad["class0/b.png"]
    assert "has no label" in bad["stray.png"]
    assert sorted(index.reasons.values()) == ["empty", "truncated"]


def test_oddities_are_noted(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    place = root / "class0"
    exif = Image.Exif()
    exif[274] = 6
    frames = [Image.new("RGB", (9, 9), (n, 0, 0)) for n in (0, 200)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    deep = io.BytesIO()
    Image.fromarray(np.arange(100, dtype=np.uint16).reshape(10, 10) * 600).save(deep, "PNG")
    made = {
        "suffix.jpg": (image(1), SUFFIX),
        "turned.jpg": (image(2, "JPEG", exif=exif), TURNED),
        "frames.gif": (gif.getvalue(), FRAMES),
        "deep.png": (deep.getvalue(), DEEP),
        "cmyk.jpg": (image(3, "JPEG", "CMYK"), CMYK),
        "alpha.png": (image(4, "PNG", "RGBA"), TRANSPARENT),
    }
    for name, (content, _) in made.items():
        (place / name).write_bytes(content)
    (place / "link.png").symlink_to(place / "0.png")
    index = open_index(root)
    found = {path.rpartition("/")[2]: int(odd) for path, odd in zip(index.paths, index.odd, strict=True) if odd}
    assert found == {name: bit for name, (_, bit) in made.items()} | {"link.png": LINK}


@pytest.mark.parametrize("name", [b"a b.png", b"two\nlines.png", "\N{GRINNING FACE}.png".encode(), b"\xff\xfe.png"])
def test_odd_names_survive_the_disk(tmp_path: Path, name: bytes) -> None:
    root = folder(tmp_path / "pets")
    (root / "class0" / os.fsdecode(name)).write_bytes(image(1))
    first, again = open_index(root), open_index(root)
    assert equal(first, again)
    row = first.paths.index(f"class0/{os.fsdecode(name)}")
    assert FileImages(first, np.array([row]))[0].shape == (9, 12, 3)


def packed_as(kind: str, root: Path, target: Path) -> Path:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    if kind == "tar":
        with tarfile.open(target, "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(root.parent))
    else:
        method = zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(target, "w", method) as archive:
            for path in files:
                archive.write(path, path.relative_to(root.parent))
    return target


@pytest.mark.parametrize("kind", ["tar", "stored", "deflated"])
def test_an_archive_gives_the_same_data_as_its_folder(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "pets", classes=3, images=12)
    archive = packed_as(kind, root, tmp_path / "packed.bin")
    lying, packed = data_of(open_index(root), CUT), data_of(open_index(archive), CUT)
    assert packed.classes == lying.classes
    for split in ("train", "validation", "test"):
        one, other = lying.split(split), packed.split(split)
        np.testing.assert_array_equal(one.labels, other.labels)
        for place in range(len(one)):
            np.testing.assert_array_equal(one.images[place], other.images[place])
    opened = counted(monkeypatch)
    open_index(archive)
    assert opened == []
    os.utime(archive, ns=(7, 7))
    open_index(archive)
    assert len(opened) == 36


def as_table(root: Path, target: Path) -> Path:
    lines = ["path,label"] + [f"{p.relative_to(target.parent)},{p.parent.name}" for p in sorted(root.rglob("*.png"))]
    target.with_suffix(".csv").write_text("\n".join(lines))
    return target.with_suffix(".csv")


def as_shards(root: Path, target: Path) -> Path:
    """Three shards in which the images lie in the folder's order, keys sorted as the paths are."""
    target.mkdir()
    files = sorted(root.rglob("*.png"))
    (target / "classes.txt").write_text("\n".join(sorted({path.parent.name for path in files})))
    for shard in range(3):
        with tarfile.open(target / f"{shard:03}.tar", "w") as archive:
            for number in range(shard * 12, shard * 12 + 12):
                label = str(int(files[number].parent.name.removeprefix("class"))).encode()
                for suffix, content in ((".png", files[number].read_bytes()), (".cls", label)):
                    member = tarfile.TarInfo(f"{number:05}{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return target


@pytest.mark.parametrize("packed", [as_table, as_shards])
def test_a_table_and_shards_give_the_same_images_labels_and_classes(tmp_path: Path, packed: Any) -> None:
    root = folder(tmp_path / "pets", classes=3, images=12)
    lying, other = (data_of(open_index(place), CUT) for place in (root, packed(root, tmp_path / "packed")))
    assert other.classes == lying.classes
    for split in ("train", "validation", "test"):
        one, again = lying.split(split), other.split(split)
        assert sorted(zip(*seen(one), strict=True)) == sorted(zip(*seen(again), strict=True))


def test_new_names_of_classes_are_noticed_though_no_shard_changed(tmp_path: Path) -> None:
    shards = as_shards(folder(tmp_path / "pets", classes=3, images=12), tmp_path / "packed")
    assert open_index(shards).classes == ("class0", "class1", "class2")
    (shards / "classes.txt").write_text("ant\nbee\nwasp\n")
    assert open_index(shards).classes == ("ant", "bee", "wasp")
    (shards / "classes.txt").unlink()
    assert open_index(shards).classes == ("0", "1", "2")


def seen(split: Any) -> tuple[list[int], list[bytes]]:
    return split.labels.tolist(), [split.images[place].tobytes() for place in range(len(split))]


def test_an_archive_changed_behind_our_back_is_refused_with_its_name(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    archive = packed_as("tar", root, tmp_path / "packed.tar")
    data = data_of(open_index(archive), CUT)
    assert data.train is not None
    archive.write_bytes(archive.read_bytes()[:600])
    with pytest.raises(DataError, match=r"packed\.tar/pets/class.*is truncated"):
        data.train.images[5]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are read from /proc")
@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_an_archive_is_closed_with_the_data_opened_from_it(tmp_path: Path) -> None:
    archive = packed_as("tar", folder(tmp_path / "pets"), tmp_path / "packed.tar")

    def times_open() -> int:
        return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()].count(str(archive.resolve()))

    data = data_of(open_index(archive), CUT)
    assert times_open() == 0  # the index is made
    assert data.train is not None
    data.train.images[0]
    assert times_open() == 1
    del data
    assert times_open() == 0


def test_too_many_bad_files_are_refused_and_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", images=20)
    for number in range(12):
        (root / f"class0/bad{number:02}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        open_data(root)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"12 of 52 files in {root} cannot be used; mend or remove them")
    assert "--allow-bad 12" in lines[0]
    assert f"fovea check {root}" in lines[0]
    assert "bad00.png: is empty" in lines[1]
    assert lines[-1] == "  and 2 more"
    assert len(lines) == 12
    with pytest.raises(DataError, match=r"12 of 52 files .* more than the 11 allowed"):
        open_data(root, allow_bad=11)
    data = open_data(root, allow_bad=12)
    assert sum(len(data.split(s)) for s in ("train", "validation", "test")) == 40


def test_a_class_that_only_validation_has_is_refused_by_name(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder(tmp_path / "pets" / split)
    (tmp_path / "pets/val/class0").rename(tmp_path / "pets/val/Class0")
    with pytest.raises(DataError, match=r"the class 'Class0' of validation is no class of the training images.*class0"):
        open_data(tmp_path / "pets")


def test_a_validation_class_set_that_is_smaller_is_matched_by_name(tmp_path: Path) -> None:
    folder(tmp_path / "pets/train", classes=3)
    folder(tmp_path / "pets/val", classes=3)
    for path in (tmp_path / "pets/val/class0").iterdir():
        path.unlink()
    (tmp_path / "pets/val/class0").rmdir()
    data = open_data(tmp_path / "pets")
    assert set(data.split("validation").labels.tolist()) == {1, 2}


def test_arrays_have_an_index_too() -> None:
    data = open_data("digits")
    index = index_of(data)
    assert len(index) == 1797
    assert index.label_names == tuple("0123456789")
    assert np.bincount(index.splits).tolist() == [len(data.split(s)) for s in ("train", "validation", "test")]
    assert index.format_names == ("array",)
    assert (index.widths == 8).all()


def test_a_fingerprint_needs_no_reading_and_does_not_depend_on_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = open_data(folder(tmp_path / "a/pets"))
    other = open_data(folder(tmp_path / "b/pets"))
    monkeypatch.setattr(FileImages, "content", lambda *_: pytest.fail("it read a file"))
    assert one.fingerprint() == other.fingerprint()
    (tmp_path / "b/pets/class0/0.png").write_bytes(image(77))
    assert open_data(tmp_path / "b/pets").fingerprint() != one.fingerprint()


def test_what_is_left_out_and_what_is_in_two_splits_is_said(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for split in ("train", "val", "test"):
        folder(root / split, images=5)
    for number in range(3):
        (root / f"val/class0/{number}.png").write_bytes(image(1000 + number))
    (root / "train/class0/bad.png").write_bytes(b"")
    said = notes(open_data(root, allow_bad=1))
    assert said[0].startswith("1 files are left out, because they cannot be used; the first: ")
    assert said[1].startswith("7 of 10 validation images are training images too, byte for byte")
    assert said[2].startswith("10 of 10 test images are training images too")
    assert notes(open_data("digits")) == []
