"""Folders of images as people have them: every layout, every strange name, every link."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.data.opening import open_data
from fovea.data.sets import Data, counts
from fovea.data.sources import folder
from fovea.data.sources.folder import class_names, listing, split_folders
from fovea.errors import DataError, UnreadableImage


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
        f"{tmp_path / 'val' / 'cats'}: is no class of the training set, which has 2: cat, dog. Did you mean cat?"
    )


def test_of_many_classes_ten_are_named(tmp_path: Path) -> None:
    fill(tmp_path, *(f"train/{n:02}" for n in range(12)), "val/zebra", images=1)
    assert "which has 12: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, …." in refusal(tmp_path)


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
    assert "holds no class folders" in refusal(tmp_path)


def test_an_empty_split_folder_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog")
    (tmp_path / "val").mkdir()
    assert (
        refusal(tmp_path) == f"{tmp_path / 'val'}: holds no class folders; expected {tmp_path / 'val'}/<class>/<image>"
    )
    (tmp_path / "val" / "cat").mkdir()
    assert refusal(tmp_path) == f"{tmp_path}: the validation folder holds no image"


def test_classes_without_any_image_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", images=0)
    assert refusal(tmp_path) == (
        f"{tmp_path}: no image to train on; expected root/<class>/<image> or root/train/<class>/<image>"
    )


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(1))
    assert refusal(tmp_path / "cat.png") == (
        f"{tmp_path / 'cat.png'}: is a file, not a folder of images; expected root/<class>/<image>"
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


def test_classes_and_files_come_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "B/x.png", "a/sub/1.png", "a/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    assert class_names(tmp_path) == ("B", "a", "b")
    images, labels = listing(tmp_path, ("B", "a", "b"))
    assert [Path(images.name(i)).relative_to(tmp_path).as_posix() for i in range(len(images))] == [
        "B/x.png",
        "a/sub/1.png",
        "a/z.png",
        "b/10.png",
        "b/2.png",
    ]
    assert labels.tolist() == [0, 1, 1, 2, 2]


def test_suffixes_of_any_case_are_images_and_other_files_are_not(tmp_path: Path) -> None:
    names = ["1.JPG", "2.jpeg", "3.Png", "4.gif", "5.bmp", "6.webp", "7.tif", "8.TIFF"]
    (tmp_path / "cat").mkdir()
    for name in [*names, "Thumbs.db", "labels.csv", "png", "x.png.part", "9.pdf"]:
        (tmp_path / "cat" / name).touch()
    images, _ = listing(tmp_path, ("cat",))
    assert sorted(Path(p).name for p in images.paths) == sorted(names)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", ".git", "cat/.cache", images=2)
    (tmp_path / "cat" / "._0.png").write_bytes(b"resource fork")
    data = open_data(tmp_path, split="0.5/0.5/0")
    assert data.classes == ("cat", "dog")
    assert sum(sizes(data)) == 4


def test_links_to_files_and_to_class_folders_are_followed(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "anything", images=3)
    fill(tmp_path / "pets", "cat", images=3)
    (tmp_path / "pets" / "dog").symlink_to(store / "anything")
    (tmp_path / "pets" / "cat" / "link.png").symlink_to(store / "anything" / "0.png")
    images, labels = listing(tmp_path / "pets", ("cat", "dog"))
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert images[3].shape == (2, 3, 3)


def test_links_that_lead_round_in_circles_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", images=2)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "self").symlink_to("self")
    assert sum(sizes(open_data(tmp_path, split="0.5/0.5/0"))) == 4


@pytest.mark.parametrize("target", ["gone", "loop"])
def test_a_class_folder_that_is_a_broken_link_does_not_count(tmp_path: Path, target: str) -> None:
    fill(tmp_path, "cat", "dog", images=2)
    (tmp_path / "loop").symlink_to(target)
    assert class_names(tmp_path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("target", "words"), [("gone.png", "is a link to a file that does not exist"), ("link.png", "leads back to itself")]
)
def test_an_image_that_is_a_broken_link_is_listed_and_then_named(tmp_path: Path, target: str, words: str) -> None:
    fill(tmp_path, "cat", "dog", images=2)
    (tmp_path / "cat" / "link.png").symlink_to(target)
    images, _ = listing(tmp_path, ("cat", "dog"))
    place = next(i for i in range(len(images)) if images.name(i).endswith("link.png"))
    with pytest.raises(UnreadableImage, match=words):
        images[place]
    with pytest.raises(UnreadableImage, match=r"cat/link\.png: cannot be read \("):
        images.fingerprint()


def test_a_folder_that_cannot_be_listed_is_refused_and_its_images_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "cat", "dog", "cat/locked", images=2)
    real = os.scandir

    def scandir(path: object) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError) as caught:
        listing(tmp_path, ("cat", "dog"))
    assert str(caught.value) == f"{tmp_path / 'cat' / 'locked'}: cannot be listed (Permission denied)"


def test_a_root_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: cannot be listed \(No such file or directory\)"):
        class_names(tmp_path / "gone")


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
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
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
    assert data.source == {"source": str(tmp_path / "pets"), "split": "0.5/0.5/0", "split_seed": 7}
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
