"""WebDataset shards: labels from beside the images, splits from names, nothing unpickled, nothing written."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from fovea.data.sources.archive import read_member
from fovea.data.sources.shards import is_shards, list_shards
from fovea.errors import DataError


def tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def samples(*labels: int | str, first: int = 0, suffix: str = "cls") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for key, label in enumerate(labels, start=first):
        files |= {f"{key:04}.jpg": f"image {key}".encode(), f"{key:04}.{suffix}": str(label).encode()}
    return files


def shard(root: Path, name: str, files: dict[str, bytes]) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    return tar(root / name, files)


def refusal(root: Path) -> str:
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError) as caught:
        list_shards(root)
    assert sorted(root.rglob("*")) == before
    return str(caught.value)


def test_numbers_are_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    path = shard(tmp_path, "000.tar", samples(10, 9, 2))
    found = list_shards(tmp_path)
    assert is_shards(tmp_path)
    assert (found.layout, found.classes, found.containers) == ("WebDataset", ("2", "9", "10"), (path,))
    assert {(f.path, f.split, f.label) for f in found.files} == {
        ("000.tar/0000.jpg", "", "10"), ("000.tar/0001.jpg", "", "9"), ("000.tar/0002.jpg", "", "2"),
    }  # fmt: skip
    with open(path, "rb") as file:
        content = {f.path: read_member(file.fileno(), f.member, f.size) for f in found.files}
    assert content["000.tar/0001.jpg"] == b"image 1"


@pytest.mark.parametrize("name", ["classes.txt", "classnames.txt"])
def test_numbers_are_named_by_the_lines_of_a_file(tmp_path: Path, name: str) -> None:
    shard(tmp_path, "000.tar", samples(1, 0, 1))
    (tmp_path / name).write_text("zebra\nant\n")
    found = list_shards(tmp_path)
    assert found.classes == ("zebra", "ant")
    assert sorted(f.label for f in found.files) == ["ant", "ant", "zebra"]
    shard(tmp_path, "001.tar", samples(2, first=3))
    assert "0003 has the label 2; classes.txt names 2, from 0" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [("txt", "cat\n"), ("label", "cat"), ("json", json.dumps({"label": "cat"})), ("json", '{"class": "cat", "w": 3}')],
)
def test_names_come_from_text_or_json(tmp_path: Path, suffix: str, content: str) -> None:
    shard(tmp_path, "000.tar", samples(content, suffix=suffix))
    assert [f.label for f in list_shards(tmp_path).files] == ["cat"]


@pytest.mark.parametrize(
    "names",
    [("train/0.tar", "val/0.tar", "test/0.tar"), ("train-0.tar", "val-0.tar", "test-0.tar"),
     ("imagenet-train-0.tar", "imagenet-validation-0.tar", "imagenet-test-0.tar")],
)  # fmt: skip
def test_splits_are_told_by_folder_or_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        shard(tmp_path, name, samples("a", "b", suffix="txt"))
    found = list_shards(tmp_path)
    assert [f.split for f in found.files] == ["train", "train", "validation", "validation", "test", "test"]
    assert {f.path.rpartition("/")[0] for f in found.files} == set(names)
    assert [found.containers[f.member.container].relative_to(tmp_path).as_posix() for f in found.files[::2]] == [*names]


def test_some_shards_with_a_split_and_some_without_are_refused(tmp_path: Path) -> None:
    shard(tmp_path, "train-0.tar", samples(1))
    shard(tmp_path, "more.tar", samples(1, first=5))
    assert "more.tar: its name tells no split, but others' do" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["pyd", "pkl", "pickle", "pth", "PT", "x.pyd"])
def test_pickles_are_refused_by_name_and_never_loaded(tmp_path: Path, suffix: str) -> None:
    payload = b"cos\nsystem\n(S'touch pwned'\ntR."
    path = shard(tmp_path, "000.tar", {**samples(1), f"0000.{suffix}": payload})
    assert refusal(tmp_path).startswith(f"{path}: its member 0000.{suffix} is pickled")


def test_one_key_in_two_shards_of_a_split_is_refused(tmp_path: Path) -> None:
    for name in ("train-0.tar", "train-1.tar", "val-0.tar"):
        shard(tmp_path, name, samples(1))
    assert f"train-1.tar: the key 0000 is in {tmp_path / 'train-0.tar'} already" in refusal(tmp_path)


def test_two_images_of_one_key_are_refused(tmp_path: Path) -> None:
    shard(tmp_path, "000.tar", {**samples(1), "0000.png": b"x"})
    assert "the key 0000 has two images" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../0000.jpg", "/0000.jpg", "a/../../b.jpg"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    shard(tmp_path / "set", "000.tar", {**samples(1), name: b"x"})
    assert "leads outside the archive" in refusal(tmp_path / "set")


def test_links_named_like_images_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "000.tar", samples(1), special("0001.jpg", b"2"))
    assert "its member 0001.jpg is a link" in refusal(tmp_path)


def test_a_shard_cut_inside_a_member_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path, "000.tar", {**samples(1), "0001.jpg": bytes(2000), "0001.cls": b"1"})
    path.write_bytes(path.read_bytes()[: 5 * 512])
    assert "cut" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'{"label": [1]}', b'{"label": true}', b"\xff"])
def test_a_json_without_a_label_to_use_is_refused(tmp_path: Path, content: bytes) -> None:
    shard(tmp_path, "000.tar", {"0.jpg": b"x", "0.json": content})
    assert "000.tar: 0.json: " in refusal(tmp_path)


def test_shards_without_labels_are_refused(tmp_path: Path) -> None:
    shard(tmp_path, "000.tar", {"0.jpg": b"x", "1.jpg": b"x"})
    assert "hold no labelled image" in refusal(tmp_path)
