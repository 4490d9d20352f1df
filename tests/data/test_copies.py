"""Images that stand in two splits."""

from __future__ import annotations

import numpy as np
from PIL import Image

import fovea
from fovea.data.copies import copies
from fovea.data.sets import ArrayImages, Chosen, Split

CLASSES = ("a", "b")


def split(images, count):
    return Split("some", images, np.zeros(count, np.int64), CLASSES)


def test_arrays_are_compared_by_their_values() -> None:
    array = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    train = split(ArrayImages(array[:4], "train"), 4)
    judged = split(Chosen(ArrayImages(array, "all"), np.array([5, 2, 0])), 3)
    assert copies(judged, train).tolist() == [1, 2]
    assert copies(train, split(ArrayImages(array[4:], "rest"), 2)).tolist() == []


def test_files_are_compared_by_their_bytes(tmp_path) -> None:
    random = np.random.default_rng(0)
    trained = [f"train/{kind}/{number}" for kind in ("ant", "bee") for number in range(20)]
    for place in [*trained, "test/ant/4", "test/bee/5"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / f"{place}.png")
    (tmp_path / "test/bee/6.png").write_bytes((tmp_path / "train/ant/2.png").read_bytes())
    data = fovea.open_data(tmp_path)
    found = copies(data.split("test"), data.split("train"))
    assert [data.split("test").images.name(int(index)) for index in found] == [str(tmp_path / "test/bee/6.png")]
