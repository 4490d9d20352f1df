"""The packed cache: the same pixels, whole or not at all, verified when read."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.data import packing
from fovea.data.indexing import open_index
from fovea.data.packing import packed
from fovea.data.preprocessing import Preprocessing, resized
from fovea.data.remembered import Remembered, bytes_of
from fovea.data.sets import FileImages, Images
from fovea.errors import DataError, MachineError


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileImages:
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for number, (height, width) in enumerate([(40, 60), (60, 40), (20, 20), (16, 90), (7, 8), (64, 64)]):
        place = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(place)
    index = open_index(tmp_path / "photos")
    return FileImages(index, np.arange(len(index)))


def cache(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "cache/packed").iterdir()
    return found


@pytest.mark.parametrize("workers", [0, 3])
def test_pixels_are_those_of_the_resized_files_and_none_is_enlarged(images: FileImages, workers: int) -> None:
    made = packed(images, 20, workers=workers)
    assert isinstance(made, Images)
    assert len(made) == len(images)
    for place in range(len(images)):
        original = images[place]
        expected = resized(original, 20) if min(original.shape[:2]) > 20 else original
        np.testing.assert_array_equal(made[place], expected)
        assert made.name(place) == images.name(place)
    assert made.fingerprint() == images.fingerprint()


def test_evaluation_sees_the_very_same_pixels_where_the_sides_agree(images: FileImages) -> None:
    spec = Preprocessing(image_size=16, resize=20, in_channels=3)
    made = packed(images, 20)
    for place in range(len(images)):
        np.testing.assert_array_equal(spec.fit(made[place]), spec.fit(images[place]))


def test_a_second_time_nothing_is_decoded(images: FileImages, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packed(images, 20)
    monkeypatch.setattr(FileImages, "__getitem__", lambda *_: pytest.fail("it decoded"))
    again = packed(images, 20)
    for place in range(len(images)):
        np.testing.assert_array_equal(again[place], first[place])


def test_another_side_or_another_choice_has_a_cache_of_its_own(images: FileImages, tmp_path: Path) -> None:
    packed(images, 20)
    packed(images, 30)
    packed(FileImages(images.index, np.array([1, 0])), 20)
    assert len(list((tmp_path / "cache/packed").iterdir())) == 3


@pytest.mark.parametrize("cut", [0, 1, 10, 40, 200])
def test_a_cut_cache_is_made_again(images: FileImages, tmp_path: Path, cut: int) -> None:
    packed(images, 20)
    path = cache(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: -cut - 1] if cut else b"")
    made = packed(images, 20)
    np.testing.assert_array_equal(made[2], images[2])
    assert path.read_bytes() == content


def test_a_changed_byte_of_pixels_is_found_when_it_is_read(images: FileImages, tmp_path: Path) -> None:
    packed(images, 20)
    path = cache(tmp_path)
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    made = packed(images, 20)
    with pytest.raises(DataError, match=r"the pixels of .*0\.png are damaged; remove the file"):
        made[0]
    np.testing.assert_array_equal(made[1], packed(images, 20)[1])


def test_a_full_disk_is_said_before_the_work_and_leaves_nothing(
    images: FileImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10, "total": usage.f_blocks})())
    with pytest.raises(MachineError, match=r"the disk is full: [\d,]+ bytes needed, 10 available"):
        packed(images, 20)
    assert list((tmp_path / "cache/packed").iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    images: FileImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MachineError, match="the disk is full"):
        packed(images, 20)
    assert list((tmp_path / "cache/packed").iterdir()) == []


def test_a_file_that_cannot_be_read_leaves_nothing(images: FileImages, tmp_path: Path) -> None:
    Path(images.name(3)).write_bytes(b"broken")
    with pytest.raises(DataError, match="is none of JPEG"):
        packed(images, 20)
    assert list((tmp_path / "cache/packed").iterdir()) == []


def test_the_bytes_foreseen_are_enough_and_near(images: FileImages, tmp_path: Path) -> None:
    packed(images, 20)
    size = cache(tmp_path).stat().st_size
    assert size - packing.FOOTER.size <= packing._bytes(images, 20) <= 1.1 * size


def test_remembered_images_are_decoded_once(images: FileImages, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Remembered(images)
    first = [kept[place] for place in range(len(kept))]
    assert sum(image.nbytes for image in first) == bytes_of(images)
    monkeypatch.setattr(FileImages, "__getitem__", lambda *_: pytest.fail("it decoded again"))
    for place, image in enumerate(first):
        assert kept[place] is image
    assert (kept.name(2), kept.fingerprint()) == (images.name(2), images.fingerprint())
