"""Sets of images, splits, data sets, and fingerprints that say when two of them are equal."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.data.indexing import open_index
from fovea.data.sets import ArrayImages, Chosen, Data, FileImages, Images, Split, check_classes, counts
from fovea.errors import DataError, UnreadableImage, UsageError

PIXELS = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def data(array: np.ndarray = PIXELS, labels: np.ndarray = LABELS, classes: tuple[str, ...] = ("cat", "dog")) -> Data:
    train = Split("train", ArrayImages(array, "images"), labels, classes)
    return Data(name="pets", classes=classes, train=train, validation=None, test=None, channels=1)


def files(folder: Path, contents: dict[str, bytes]) -> FileImages:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    index = open_index(folder)
    return FileImages(index, np.array([index.paths.index(name) for name in contents]))


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def test_arrays_give_their_images_and_places() -> None:
    images = ArrayImages(PIXELS, "digits")
    assert isinstance(images, Images)
    assert len(images) == 6
    np.testing.assert_array_equal(images[4], PIXELS[4])
    assert images.name(4) == "digits/4"


def test_files_come_through_the_pixel_door(tmp_path: Path) -> None:
    images = files(tmp_path, {"cat/1.png": png(7), "dog/2.png": b"no image"})
    assert isinstance(images, Images)
    assert len(images) == 2
    assert images[0].shape == (4, 5, 3)
    assert images[0][0, 0].tolist() == [7, 0, 255]
    assert images.name(1) == str(tmp_path / "dog/2.png")
    with pytest.raises(UnreadableImage, match=r"dog/2\.png: is none of JPEG"):
        images[1]


def test_chosen_images_keep_their_names_and_the_order_of_the_choice() -> None:
    chosen = Chosen(ArrayImages(PIXELS, "digits"), np.array([5, 0]))
    assert isinstance(chosen, Images)
    assert len(chosen) == 2
    assert [chosen.name(i) for i in range(2)] == ["digits/5", "digits/0"]
    np.testing.assert_array_equal(chosen[0], PIXELS[5])


def test_a_fingerprint_of_arrays_depends_on_every_value_the_shape_and_the_type() -> None:
    changed = PIXELS.copy()
    changed[5, 3, 3] += 1
    variants = [
        ArrayImages(PIXELS, "images"),
        ArrayImages(changed, "images"),
        ArrayImages(PIXELS.reshape(6, 2, 8), "images"),
        ArrayImages(PIXELS.view(np.int8), "images"),
        ArrayImages(PIXELS, "digits"),
        Chosen(ArrayImages(PIXELS, "images"), np.arange(6)),
        Chosen(ArrayImages(PIXELS, "images"), np.arange(5)),
        Chosen(ArrayImages(changed, "images"), np.arange(6)),
    ]
    assert len({images.fingerprint() for images in variants}) == len(variants)
    assert all(len(images.fingerprint()) == 64 for images in variants)


def test_a_fingerprint_does_not_depend_on_how_the_array_lies_in_memory() -> None:
    turned = np.asfortranarray(PIXELS)
    assert ArrayImages(turned, "images").fingerprint() == ArrayImages(PIXELS, "images").fingerprint()


def test_a_fingerprint_of_files_is_the_same_elsewhere(tmp_path: Path) -> None:
    contents = {"cat/1.png": png(1), "dog/caf\udce9.png": png(2)}
    here, there = files(tmp_path / "here", contents), files(tmp_path / "there", contents)
    assert here.fingerprint() == there.fingerprint()


@pytest.mark.parametrize(
    "contents",
    [
        {"cat/1.png": png(1), "dog/2.png": png(3)},
        {"cat/1.png": png(1), "dog/3.png": png(2)},
        {"dog/2.png": png(2), "cat/1.png": png(1)},
        {"cat/1.png": png(2), "dog/2.png": png(1)},
        {"cat/1.png": png(1)},
    ],
    ids=["a byte", "a name", "the order", "swapped", "one less"],
)
def test_a_fingerprint_of_files_tells_changes(tmp_path: Path, contents: dict[str, bytes]) -> None:
    first = files(tmp_path / "1", {"cat/1.png": png(1), "dog/2.png": png(2)})
    assert files(tmp_path / "2", contents).fingerprint() != first.fingerprint()


def test_equal_data_sets_have_equal_fingerprints_and_others_do_not() -> None:
    assert data().fingerprint() == data(PIXELS.copy(), LABELS.copy()).fingerprint()
    changed, swapped = PIXELS.copy(), LABELS.copy()
    changed[0, 0, 0] ^= 1
    swapped[[0, 1]] = [1, 0]
    others = [data(changed), data(labels=swapped), data(classes=("cat", "fox")), data(classes=("dog", "cat"))]
    assert len({d.fingerprint() for d in [data(), *others]}) == 5


def test_the_same_images_for_another_purpose_are_another_data_set() -> None:
    one = data()
    assert one.train is not None
    other = Data(name="pets", classes=one.classes, train=None, validation=None, test=one.train, channels=1)
    assert other.fingerprint() != one.fingerprint()


def test_a_split_is_found_by_name_and_a_missing_one_names_those_there_are() -> None:
    pets = data()
    assert pets.split("train") is pets.train
    for name in ("test", "validation", "val", "classes", "fingerprint"):
        with pytest.raises(UsageError) as caught:
            data().split(name)
        assert str(caught.value) == f"pets has no split {name!r}; there are train, and all"


def test_all_is_every_split_one_after_another() -> None:
    classes, grey = ("a", "b"), np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2)
    train = Split("train", ArrayImages(grey[:3], "x"), np.array([0, 1, 0]), classes)
    test = Split("test", ArrayImages(grey[3:], "y"), np.array([1, 1]), classes)
    every = Data(name="pets", classes=classes, train=train, validation=None, test=test, channels=1).split("all")
    assert every.name == "all"
    assert every.labels.tolist() == [0, 1, 0, 1, 1]
    assert [every.images.name(i) for i in range(len(every))] == ["x/0", "x/1", "x/2", "y/0", "y/1"]
    assert np.array_equal(np.stack([every.images[i] for i in range(5)]), grey)
    assert every.images.fingerprint() not in (train.images.fingerprint(), test.images.fingerprint())
    with pytest.raises(IndexError):
        every.images[5]


def test_counts_name_every_class_also_an_empty_one() -> None:
    assert counts(np.array([2, 0, 2]), ("a", "b", "c")) == {"a": 1, "b": 0, "c": 2}


def split(labels: list[int], classes: tuple[str, ...]) -> Split:
    return Split("train", ArrayImages(PIXELS[: len(labels)], "x"), np.array(labels, np.int64), classes)


@pytest.mark.parametrize(
    ("labels", "classes", "sentence"),
    [
        ([], ("a", "b"), "no image to train on; expected root/<class>/<image> or root/train/<class>/<image>"),
        ([0, 0], ("cat",), "there is one class (cat) only; a classifier needs at least two"),
        ([0, 2], ("a", "b", "c", "d"), "no training image for b, d; add images or remove the class"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(labels: list[int], classes: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        check_classes("pets", split(labels, classes))
    assert str(caught.value) == f"pets: {sentence}"
    assert caught.value.exit_code == 3


def test_two_classes_with_an_image_each_are_enough() -> None:
    assert check_classes("pets", split([0, 1], ("a", "b"))) is None
