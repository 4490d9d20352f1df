"""Every way in but folders and idx files: names, arrays, tensors, other people's Datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from fovea.data import arrays
from fovea.data.arrays import images_of_arrays
from fovea.data.opening import open_data
from fovea.errors import DataError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
LABELS = np.arange(40) % 4


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield PIXELS[0], 0


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_data(source, **options)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_data_is_given_back_as_it_is() -> None:
    data = open_data("digits")
    assert open_data(data) is data


def test_arrays_become_train_and_validation() -> None:
    data = open_data((PIXELS, LABELS))
    assert (len(data.split("train")), len(data.split("validation")), data.test) == (36, 4, None)
    assert data.classes == ("0", "1", "2", "3")
    assert (data.name, data.channels, data.image_size, data.source) == ("arrays", 1, 6, None)
    seen = {data.split(s).images.name(i) for s in ("train", "validation") for i in range(len(data.split(s)))}
    assert seen == {f"images/{i}" for i in range(40)}
    train = data.split("train")
    place = int(train.images.name(3).split("/")[1])
    np.testing.assert_array_equal(train.images[3], PIXELS[place])
    assert train.labels[3] == LABELS[place]


def test_arrays_may_be_cut_in_three_and_have_named_classes() -> None:
    data = open_data((PIXELS, LABELS), split="0.5/0.25/0.25", classes=["a", "b", "c", "d"])
    assert [len(data.split(s)) for s in ("train", "validation", "test")] == [20, 10, 10]
    assert data.classes == ("a", "b", "c", "d")


def test_seeds_cut_arrays_differently_but_repeatably() -> None:
    first, again, other = (open_data((PIXELS, LABELS), split_seed=s).fingerprint() for s in (1, 1, 2))
    assert first == again != other


def test_a_tensor_has_its_channels_first_and_an_array_last() -> None:
    colour = np.random.default_rng(1).integers(0, 256, (40, 6, 8, 3), dtype=np.uint8)
    of_array = open_data((colour, LABELS))
    of_tensor = open_data((torch.from_numpy(colour).permute(0, 3, 1, 2), torch.from_numpy(LABELS)))
    assert of_array.channels == of_tensor.channels == 3
    assert of_array.image_size is None
    assert of_array.fingerprint() == of_tensor.fingerprint()


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_floats_of_any_width_become_32_bits(kind: torch.dtype) -> None:
    values = torch.linspace(-1, 1, 40 * 36).reshape(40, 6, 6).to(kind).requires_grad_()
    images, _ = images_of_arrays(values, LABELS)
    assert images.array.dtype == np.float32
    np.testing.assert_array_equal(images.array, values.detach().float().numpy())


def test_lists_are_arrays() -> None:
    data = open_data(([*PIXELS], LABELS.tolist()))
    assert data.fingerprint() == open_data((PIXELS, LABELS)).fingerprint()


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (PIXELS, LABELS[:39], "images (40, 6, 6) and labels (39,) do not agree on the number of images"),
        (PIXELS, np.eye(4)[LABELS], "images (40, 6, 6) and labels (40, 4) do not agree on the number of images"),
        (PIXELS, LABELS.astype(float), "labels (40 of type float64) must be class indices from 0, at least one"),
        (PIXELS, LABELS == 1, "labels (40 of type bool) must be class indices from 0, at least one"),
        (PIXELS, LABELS - 1, "labels (40 of type int64) must be class indices from 0, at least one"),
        (PIXELS[:0], LABELS[:0], "labels (0 of type int64) must be class indices from 0, at least one"),
        (PIXELS[0], LABELS, "images of shape (6, 6) must be (N, H, W), (N, H, W, C) or a tensor (N, C, H, W)"),
        (PIXELS.astype(int), LABELS, "images of type int64 must be uint8 (0 to 255) or floating point"),
        (
            np.full((40, 6, 6), np.nan),
            LABELS,
            "images hold NaN or infinity at 0, 1, 2, 3, 4 and 35 more; mend them first",
        ),
        (
            np.full((40, 6, 6), 1e300),
            LABELS,
            "images hold NaN or infinity at 0, 1, 2, 3, 4 and 35 more; mend them first",
        ),
        (PIXELS, LABELS * 0, "images: there is one class (0) only; a classifier needs at least two"),
        (PIXELS, LABELS * 2, "images: no training image for 1, 3, 5; add images or remove the class"),
        (
            [*PIXELS[:39], PIXELS[0, :3]],
            LABELS,
            "images differ in shape among themselves; bring them to one shape first",
        ),
        (PIXELS, [[0], [1, 2]], "labels differ in shape among themselves; bring them to one shape first"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_arrays_that_cannot_be_used_are_refused(images: Any, labels: Any, sentence: str) -> None:
    assert refusal((images, labels)) == sentence


def test_a_label_beyond_the_named_classes_is_refused() -> None:
    assert refusal((PIXELS, LABELS), classes=["a", "b"]) == ("label 3 is beyond the 2 classes; labels count from 0")


def test_a_tuple_of_another_length_is_refused() -> None:
    assert refusal((PIXELS, LABELS, LABELS)) == ("a tuple of 3 was given; arrays come as the pair (images, labels)")


@pytest.mark.parametrize(
    "dataset",
    [
        Pairs([(p, int(y)) for p, y in zip(PIXELS, LABELS, strict=True)]),
        Pairs([(p, y, "more") for p, y in zip(PIXELS, LABELS, strict=True)]),
        Pairs([(Image.fromarray(p), int(y)) for p, y in zip(PIXELS, LABELS, strict=True)]),
        TensorDataset(torch.from_numpy(PIXELS), torch.from_numpy(LABELS)),
        [(p, y) for p, y in zip(PIXELS, LABELS, strict=True)],
    ],
    ids=["arrays", "triples", "PIL", "tensors", "a list"],
)
def test_any_dataset_of_pairs_is_read_into_memory(dataset: Any) -> None:
    assert open_data(dataset).fingerprint() == open_data((PIXELS, LABELS)).fingerprint()


def test_a_dataset_of_float_tensors_has_channels_first() -> None:
    images = torch.rand(40, 3, 5, 6)
    data = open_data(TensorDataset(images, torch.from_numpy(LABELS)))
    assert data.channels == 3
    assert data.fingerprint() == open_data((images, LABELS)).fingerprint()


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Pairs([]), "the Dataset is empty"),
        (Pairs([(PIXELS[0], 0), (PIXELS[0, :3], 1)]), "image 1 has shape (3, 6), the first (6, 6); resize them alike"),
        (Pairs([(PIXELS[0], "cat")]), "item 0 of the Dataset is no pair of an image and a class index, but a tuple"),
        (Pairs([(PIXELS[0], 0.5)]), "item 0 of the Dataset is no pair of an image and a class index, but a tuple"),
        (Pairs([PIXELS[0]]), "item 0 of the Dataset is no pair of an image and a class index, but a ndarray"),
        (Pairs([{"image": 1}]), "item 0 of the Dataset is no pair of an image and a class index, but a dict"),
        (
            Pairs([(PIXELS[0], 0), None]),
            "item 1 of the Dataset is no pair of an image and a class index, but a NoneType",
        ),
        (Stream(), "Stream has no length or no places; give a Dataset of (image, label) pairs"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_refused(dataset: Any, sentence: str) -> None:
    assert refusal(dataset) == sentence


def test_a_dataset_too_large_for_memory_is_refused_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGEST_DATASET", 100)
    dataset = Pairs([(p, 0) for p in PIXELS])
    assert "the Dataset is larger than 0 GiB; give a folder of images instead" in refusal(dataset)


@pytest.mark.parametrize(
    ("source", "words"), [("digit", " Did you mean digits?"), ("mnst", " Did you mean mnist"), ("/no/such/place", "")]
)
def test_an_unknown_name_is_a_usage_error_with_the_known_ones(source: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_data(source)
    sentence = str(caught.value)
    assert sentence.startswith(f"'{source}' is neither a folder nor a known data set; known are digits, mnist, ")
    assert words in sentence
    assert caught.value.exit_code == 2


def test_bad_fractions_are_a_usage_error_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"split \(=0\.5/0\.6/0\.1\) must be"):
        open_data(tmp_path, split="0.5/0.6/0.1")


def test_too_few_images_for_a_split_are_refused_with_counts() -> None:
    assert refusal((PIXELS[:4], LABELS[:4])) == (
        "the validation split rounds to nothing: 0.1 of 4 images in 4 classes; add images, or change --split"
    )
