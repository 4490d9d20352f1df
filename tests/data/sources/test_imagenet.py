"""ImageNet in the layouts in which people have it, with either ground truth of its validation images."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from fovea.data.sources.imagenet import is_imagenet, list_imagenet, synset_words
from fovea.errors import DataError

FISH, BIRD = "n01440764", "n01530575"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def flat(root: Path) -> Path:
    """Training images in folders, three validation images flat."""
    touch(root, f"train/{FISH}/{FISH}_1.JPEG", f"train/{BIRD}/{BIRD}_2.JPEG")
    return touch(root, *(f"val/ILSVRC2012_val_{n:08}.JPEG" for n in (1, 2, 3)))


def solution(folder: Path) -> None:
    rows = [("3", f"{BIRD} 1 2 3 4 {BIRD} 5 6 7 8"), ("1", f"{FISH} 1 2 3 4"), ("2", BIRD)]
    lines = [f"ILSVRC2012_val_0000000{n},{said} \n" for n, said in rows]
    (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))


def devkit(folder: Path, numbers: str = "2\n1\n1\n") -> Path:
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(numbers)
    kinds = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("num_children", float)]
    rows = np.array([(1, BIRD, "brambling", 0), (2, FISH, "tench", 0), (3, "n00001740", "entity", 2)], kinds)
    savemat(data / "meta.mat", {"synsets": rows.reshape(-1, 1)})
    return data


def labels(root: Path) -> dict[str, str]:
    return {f.path.rpartition("/")[2][-7:-5]: f.label for f in list_imagenet(root).files if f.split == "validation"}


def test_folders_by_synset_are_imagenet_and_others_are_not(tmp_path: Path) -> None:
    root = touch(tmp_path / "a", f"train/{FISH}/1.JPEG", f"val/{FISH}/1.JPEG")
    found = list_imagenet(root)
    assert is_imagenet(root)
    assert (found.layout, found.classes, [f.split for f in found.files]) == ("ILSVRC", (FISH,), ["train", "validation"])
    assert not is_imagenet(touch(tmp_path / "b", "train/cat/1.JPEG", f"train/{FISH}/1.JPEG"))
    assert not is_imagenet(touch(tmp_path / "c", f"{FISH}/1.JPEG"))


@pytest.mark.parametrize("where", [".", ".."])
def test_flat_validation_images_are_labelled_by_kaggles_table(tmp_path: Path, where: str) -> None:
    root = flat(tmp_path / "set")
    solution(root / where)
    assert labels(root) == {"01": FISH, "02": BIRD, "03": BIRD}
    assert [f.split for f in list_imagenet(root).files] == ["train", "train", *["validation"] * 3]


@pytest.mark.parametrize("where", [".", ".."])
def test_flat_validation_images_are_labelled_by_the_kit(tmp_path: Path, where: str) -> None:
    root = flat(tmp_path / "set")
    devkit(root / where)
    assert labels(root) == {"01": FISH, "02": BIRD, "03": BIRD}


def test_kaggles_layout_is_known_and_test_images_are_left_out(tmp_path: Path) -> None:
    flat(tmp_path / "ILSVRC/Data/CLS-LOC")
    touch(tmp_path / "ILSVRC/Data/CLS-LOC", "test/ILSVRC2012_test_00000001.JPEG")
    solution(tmp_path)
    assert is_imagenet(tmp_path)
    found = list_imagenet(tmp_path)
    assert len(found.files) == 5
    assert list(found.strays) == ["test/ILSVRC2012_test_00000001.JPEG"]


def test_without_a_ground_truth_both_files_that_would_do_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_imagenet(flat(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'val'}: its images lie flat")
    assert "LOC_val_solution.csv" in str(caught.value)
    assert "ILSVRC2012_validation_ground_truth.txt with meta.mat" in str(caught.value)


@pytest.mark.parametrize("numbers", ["2\n1\n", "2\n1\n9\n", "2\nx\n1\n"])
def test_a_ground_truth_that_does_not_fit_is_refused(tmp_path: Path, numbers: str) -> None:
    devkit(flat(tmp_path), numbers)
    with pytest.raises(DataError):
        list_imagenet(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 50, b"\x80\x04."])
def test_a_damaged_kit_is_refused(tmp_path: Path, content: bytes) -> None:
    (devkit(flat(tmp_path)) / "meta.mat").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read together"):
        list_imagenet(tmp_path)


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_words_are_found_where_they_lie(tmp_path: Path, name: str) -> None:
    assert synset_words(tmp_path) == {}
    (tmp_path / name).write_text(f"{FISH} tench, Tinca tinca\n{BIRD} brambling\n\n")
    assert synset_words(tmp_path) == {FISH: "tench, Tinca tinca", BIRD: "brambling"}
