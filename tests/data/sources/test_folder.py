"""Folders of images as people have them: every layout, every strange name, every link."""

import io
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.data.opening import open_data
from fovea.data.sets import Data, counts
from fovea.data.sources import folder
from fovea.data.sources.folder import list_folder, split_folders
from fovea.errors import DataError


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (value, value, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(root: Path, *places: str, images: int = 10) -> Path:
    """Some images, no two alike, in each of these folders below root."""
    for n, place in enumerate(places):
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            (root / place / f"{i}.png").write_bytes(png(n * 20 + i))
    return root


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(root)
    assert caught.value.exit_code == 3
    return str(caught.value)


def sizes(data: Data) -> tuple[int, ...]:
    return tuple(0 if part is None else len(part) for part in (data.train, data.validation, data.test))


def test_one_folder_per_class_is_cut_into_three(tmp_path: Path) -> None:
    data = open_data(fill(tmp_path / "pets", "cat", "dog"))
    assert sizes(data) == (16, 2, 2)
    assert data.classes == ("cat", "dog")
    assert (data.name, data.channels, data.image_size) == ("pets", 3, None)
    names = [part.images.name(i) for part in (data.train, data.validation, data.test) if part for i in range(len(part))]
    assert sorted(names) == sorted(str(p) for p in (tmp_path / "pets").rglob("*.png"))
    for part in (data.train, data.validation, data.test):
        assert part is not None
        assert all(Path(part.images.name(i)).parent.name == data.classes[part.labels[i]] for i in range(len(part)))


def test_fractions_and_seed_may_be_chosen(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    assert sizes(open_data(tmp_path, split="0.5/0.5/0")) == (10, 10, 0)
    first, again, other = (open_data(tmp_path, split_seed=seed).fingerprint() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
@pytest.mark.parametrize("train", ["train", "training"])
def test_every_name_of_the_split_folders_is_taken(tmp_path: Path, train: str, name: str) -> None:
    fill(tmp_path, f"{train}/cat", f"{train}/dog", images=4)
    fill(tmp_path, f"{name}/cat", f"{name}/dog", images=3)
    fill(tmp_path, "test/cat", "test/dog", images=2)
    data = open_data(tmp_path)
    assert sizes(data) == (8, 6, 4)
    assert data.validation is not None
    assert data.validation.images.name(0) == str(tmp_path / name / "cat" / "0.png")


def test_without_test_the_validation_folder_is_validation_and_never_test(tmp_path: Path) -> None:
    assert sizes(open_data(fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog"))) == (20, 20, 0)


def test_without_validation_it_is_cut_from_train(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", images=9)
    data = open_data(tmp_path)
    assert sizes(data) == (16, 2, 18)  # 1/9 of train
    assert sizes(open_data(tmp_path, split="0.5/0.25/0.25")) == (12, 6, 18)


def test_two_folders_that_mean_the_same_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "validation/cat")
    assert refusal(tmp_path) == f"{tmp_path}: holds val and validation, which mean the same; keep one"


def test_a_class_named_like_a_split_is_a_class_where_there_is_no_train(tmp_path: Path) -> None:
    assert split_folders(fill(tmp_path, "test", "cat")) == {}
    assert open_data(tmp_path).classes == ("cat", "test")


def test_classes_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    fill(tmp_path, "train/ant", "train/bee", "train/cat")
    fill(tmp_path, "val/cat", images=2)
    data = open_data(tmp_path)
    assert data.validation is not None
    assert counts(data.validation.labels, data.classes) == {"ant": 0, "bee": 0, "cat": 2}


def test_a_class_that_is_not_in_train_is_refused_with_the_likely_one(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "val/cats")
    assert refusal(tmp_path) == (
        f"{tmp_path}: the class 'cats' of validation is no class of the training images, which have 2: cat, dog. "
        "Did you mean cat?"
    )


def test_of_many_classes_ten_are_named(tmp_path: Path) -> None:
    fill(tmp_path, *(f"train/{n:02}" for n in range(12)), "val/zebra", images=1)
    assert "which have 12: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, …." in refusal(tmp_path)


def test_a_class_without_images_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "notes.txt").write_text("later")
    assert refusal(tmp_path) == f"{tmp_path}: no training image for emu; add images or remove the class"


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert refusal(fill(tmp_path, "cat")) == (
        f"{tmp_path}: there is one class (cat) only; a classifier needs at least two"
    )


def test_an_empty_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: holds no class folders; expected {tmp_path}/<class>/<image>"


def test_images_beside_no_class_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(1))
    assert "no image has a label; put each into its class's folder" in refusal(tmp_path)
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs/rex.png").write_bytes(png(1))
    assert "cat.png: has no label; put it into its class's folder, or remove it" in refusal(tmp_path)


def test_an_empty_split_folder_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog")
    (tmp_path / "val").mkdir()
    assert (
        refusal(tmp_path) == f"{tmp_path / 'val'}: holds no class folders; expected {tmp_path / 'val'}/<class>/<image>"
    )


def test_classes_without_any_image_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", images=0)
    assert refusal(tmp_path) == (
        f"{tmp_path}: no image to train on; expected root/<class>/<image> or root/train/<class>/<image>"
    )


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(1))
    assert refusal(tmp_path / "cat.png") == (
        f"{tmp_path / 'cat.png'}: is no folder of images, nor a .tar or .zip of one, nor a .csv of paths and labels; "
        "expected root/<class>/<image> or root/train/<class>/<image>"
    )


@pytest.mark.parametrize(
    "name",
    ["a b", "new\nline", "tab\t", "Ä", "🐱", os.fsdecode(b"caf\xe9"), "-rf", "'\"$(x)", "%s{0}", "x" * 200],
)
def test_any_name_of_class_and_file_is_taken(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name, "zz-other")
    (tmp_path / name / f"{name}.png").write_bytes(png(99))
    data = open_data(tmp_path, split="0.5/0.5/0")
    assert set(data.classes) == {name, "zz-other"}
    assert sum(sizes(data)) == 21
    assert data.train is not None
    assert data.train.images[0].shape == (2, 3, 3)
    assert len(data.fingerprint()) == 64


def paths(root: Path) -> list[str]:
    return [file.path for file in list_folder(root).files]


def labels(root: Path) -> dict[str, str]:
    return {file.path: file.label for file in list_folder(root).files}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")
    return root


def test_classes_and_files_come_in_a_fixed_order(tmp_path: Path) -> None:
    names = ["B/x.png", "a/sub/1.png", "a/sub-1.png", "a/z.png", "b/10.png", "b/2.png"]
    found = list_folder(touch(tmp_path, *reversed(names)))
    assert found.classes == ("B", "a", "b")
    assert [file.path for file in found.files] == ["B/x.png", "a/sub-1.png", "a/sub/1.png", *names[3:]]
    assert [file.label for file in found.files] == ["B", "a", "a", "a", "b", "b"]
    assert found.layout == "class folders"
    first = found.files[0]
    status = (tmp_path / "B/x.png").stat()
    assert (first.split, first.size, first.stamp, first.member, first.link) == ("", 5, status.st_mtime_ns, None, False)


def test_splits_come_one_after_the_other(tmp_path: Path) -> None:
    found = list_folder(touch(tmp_path, "test/a/1.png", "valid/z/1.png", "valid/a/1.png", "training/b/1.png"))
    assert [file.path for file in found.files] == ["training/b/1.png", "valid/a/1.png", "valid/z/1.png", "test/a/1.png"]
    assert [file.split for file in found.files] == ["train", "validation", "validation", "test"]
    assert found.layout == "split folders"
    assert found.classes == ("b",)
    assert found.files[2].label == "z"  # a class that training lacks keeps its name


def test_suffixes_of_any_case_are_images_and_other_files_are_strays(tmp_path: Path) -> None:
    names = ["1.JPG", "2.jpeg", "3.Png", "4.gif", "5.bmp", "6.webp", "7.tif", "8.TIFF"]
    found = list_folder(
        touch(tmp_path, *(f"cat/{n}" for n in [*names, "labels.csv", "png", "x.png.part", ".DS_Store"]))
    )
    assert [file.path for file in found.files] == [f"cat/{name}" for name in names]
    assert found.strays == {
        "cat/labels.csv": "no image by its suffix (.csv)",
        "cat/png": "no image by its suffix (it has none)",
        "cat/x.png.part": "no image by its suffix (.part)",
    }


def test_images_outside_any_class_folder_have_no_label(tmp_path: Path) -> None:
    assert labels(touch(tmp_path / "a", "1.png", "cat/2.png")) == {"1.png": "", "cat/2.png": "cat"}
    root = touch(tmp_path / "b", "0.png", "train/1.png", "train/cat/2.png", "test/3.png")
    assert labels(root) == {"0.png": "", "train/1.png": "", "train/cat/2.png": "cat", "test/3.png": ""}
    assert [file.split for file in list_folder(root).files] == ["train", "train", "test", ""]
    assert labels(touch(tmp_path / "c", "1.png")) == {"1.png": ""}


def test_a_folder_beside_the_splits_is_a_stray(tmp_path: Path) -> None:
    found = list_folder(touch(tmp_path, "train/cat/1.png", "extra/cat/1.png"))
    assert [file.path for file in found.files] == ["train/cat/1.png"]
    assert found.strays == {"extra": "a folder beside the splits"}


def test_empty_class_folders_are_classes(tmp_path: Path) -> None:
    (touch(tmp_path, "cat/1.png") / "dog").mkdir()
    assert list_folder(tmp_path).classes == ("cat", "dog")


def test_names_of_the_challenge_tell_the_class_where_there_are_no_folders(tmp_path: Path) -> None:
    root = touch(tmp_path / "a", "n01440764_tench.JPEG", "n01440764_2.JPEG", "n01443537_9.JPEG", "other.JPEG")
    found = list_folder(root)
    assert (found.layout, found.classes) == ("ILSVRC file names", ("n01440764", "n01443537"))
    assert labels(root)["n01440764_tench.JPEG"] == "n01440764"
    assert labels(root)["other.JPEG"] == ""
    root = touch(tmp_path / "b", "train/n01440764_1.JPEG", "val/n01440764_2.JPEG")
    assert [(file.split, file.label) for file in list_folder(root).files] == [
        ("train", "n01440764"), ("validation", "n01440764"),
    ]  # fmt: skip
    assert labels(touch(tmp_path / "c", "cat/1.png", "n01440764_1.JPEG"))["n01440764_1.JPEG"] == ""


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", ".git", "cat/.cache", images=2)
    (tmp_path / "cat" / "._0.png").write_bytes(b"resource fork")
    data = open_data(tmp_path, split="0.5/0.5/0")
    assert data.classes == ("cat", "dog")
    assert sum(sizes(data)) == 4


def test_links_to_files_and_to_class_folders_are_followed(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "anything/0.png", "anything/1.png")
    touch(tmp_path / "pets", "cat/0.png")
    (tmp_path / "pets" / "dog").symlink_to(store / "anything")
    (tmp_path / "pets" / "cat" / "link.png").symlink_to(store / "anything" / "0.png")
    found = list_folder(tmp_path / "pets")
    assert found.classes == ("cat", "dog")
    assert {file.path: file.link for file in found.files} == {
        "cat/0.png": False, "cat/link.png": True, "dog/0.png": False, "dog/1.png": False,
    }  # fmt: skip
    assert {file.size for file in found.files} == {5}


def test_links_that_lead_back_or_to_what_is_listed_are_strays(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "cat/0.png", "dog/sub/0.png")
    for name, target in {
        "a-root": root, "b-above": tmp_path, "c-cat": "cat", "d-sub": "dog/sub", "cat/up": root, "dog/cat": "../cat",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    found = list_folder(root)
    assert [file.path for file in found.files] == ["cat/0.png", "dog/sub/0.png"]
    assert found.classes == ("cat", "dog")
    assert found.strays == {
        "a-root": f"a link to {root}, which leads back",
        "b-above": f"a link to {tmp_path}, which leads back",
        "c-cat": "a link to cat, which is listed already",
        "d-sub": "a link to dog/sub, which is listed already",
        "cat/up": "a link to a folder, which is not followed",
        "dog/cat": "a link to a folder, which is not followed",
    }


def test_a_split_that_is_a_link_to_another_is_not_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/0.png")
    (tmp_path / "val").symlink_to("train")
    assert paths(tmp_path) == ["train/cat/0.png"]
    assert list_folder(tmp_path).strays == {"val": "a link to train, which is listed already"}


@pytest.mark.parametrize("target", ["gone.png", "link.png"])
def test_an_image_that_is_a_broken_link_is_listed_and_then_named(tmp_path: Path, target: str) -> None:
    fill(tmp_path, "cat", "dog", images=2)
    (tmp_path / "cat" / "link.png").symlink_to(target)
    file = list_folder(tmp_path).files[2]
    assert (file.path, file.size, file.stamp, file.link) == ("cat/link.png", 0, 0, True)
    assert "cat/link.png: is a link " in refusal(tmp_path)


def test_a_class_folder_that_is_a_broken_link_does_not_count(tmp_path: Path) -> None:
    touch(tmp_path, "cat/0.png")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert list_folder(tmp_path).classes == ("cat",)
    assert set(list_folder(tmp_path).strays) == {"gone", "loop"}


def test_pipes_are_listed_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "cat/0.png")
    os.mkfifo(tmp_path / "cat" / "1.png")
    os.mkfifo(tmp_path / "pipe")
    assert paths(tmp_path) == ["cat/0.png", "cat/1.png"]
    with pytest.raises(DataError, match=r"pipe: cannot be listed \(Not a directory\)"):
        list_folder(tmp_path / "pipe")


def test_a_folder_that_cannot_be_listed_is_a_stray_and_the_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "cat/0.png", "dog/locked/0.png", "locked/0.png")
    real = os.open

    def opened(path: str, flags: int) -> int:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", opened)
    found = list_folder(tmp_path)
    assert [file.path for file in found.files] == ["cat/0.png"]
    assert found.classes == ("cat", "dog", "locked")
    assert found.strays == dict.fromkeys(("dog/locked", "locked"), "cannot be listed (Permission denied)")
    with pytest.raises(DataError, match=r"/locked: cannot be listed \(Permission denied\)"):
        list_folder(tmp_path / "locked")


def test_a_root_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: cannot be listed \(No such file or directory\)"):
        list_folder(tmp_path / "gone")


@pytest.mark.parametrize("places", [("cat", "dog"), ("train/cat", "train/dog", "val/cat", "val/dog")])
def test_the_same_set_elsewhere_under_another_name_is_the_same_set(tmp_path: Path, places: tuple[str, ...]) -> None:
    fill(tmp_path / "here", *places)
    shutil.copytree(tmp_path / "here", tmp_path / "deep" / "there")
    first, second = open_data(tmp_path / "here"), open_data(tmp_path / "deep" / "there")
    assert first.fingerprint() == second.fingerprint()


def test_a_changed_byte_or_a_moved_image_is_another_set(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    before = open_data(tmp_path).fingerprint()
    image = tmp_path / "cat" / "3.png"
    content = image.read_bytes()
    image.write_bytes(png(255))
    changed = open_data(tmp_path).fingerprint()
    image.write_bytes(content)
    assert open_data(tmp_path).fingerprint() == before != changed
    image.rename(tmp_path / "dog" / "x.png")
    assert open_data(tmp_path).fingerprint() != before


def test_the_source_opens_the_same_set_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "pets", "cat", "dog")
    monkeypatch.chdir(tmp_path)
    data = open_data("pets", split="0.5/0.5/0", split_seed=7)
    monkeypatch.chdir("/")
    assert data.source is not None
    assert data.source.items() >= {"source": str(tmp_path / "pets"), "split": "0.5/0.5/0", "split_seed": 7}.items()
    assert open_data(**data.source).fingerprint() == data.fingerprint()


def test_the_images_taken_are_those_the_pixel_door_takes() -> None:
    assert frozenset(Image.registered_extensions()) >= folder.SUFFIXES
    assert {Image.registered_extensions()[s] for s in folder.SUFFIXES} == {
        "JPEG",
        "PNG",
        "GIF",
        "BMP",
        "WEBP",
        "TIFF",
    }
    assert np.all([s == s.lower() for s in folder.SUFFIXES])


PLACES = [Path(p) for p in (os.environ.get("FOVEA_DATA"), Path.home() / ".cache/fovea/data") if p]
ROOT = next((p for p in PLACES if (p / "cifar10" / "train").is_dir()), None)


@pytest.mark.shared
@pytest.mark.skipif(ROOT is None, reason="neither FOVEA_DATA nor ~/.cache/fovea/data holds cifar10/train")
def test_cifar10_as_folders_has_the_lectures_counts() -> None:
    assert ROOT is not None
    found = list_folder(ROOT / "cifar10")
    counted = Counter((file.split, file.label) for file in found.files)
    assert len(found.classes) == 10
    assert counted == {(split, c): n for split, n in (("train", 5_000), ("test", 1_000)) for c in found.classes}
    assert found.strays == {}
