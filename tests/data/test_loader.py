"""Batches: an order that is f(seed, epoch), the same for any number of workers and ranks, from any step on."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.data import fitted as fitting
from fovea.data import loader
from fovea.data.batch import Batch
from fovea.data.fitted import Fitted, fit_split
from fovea.data.indexing import open_index
from fovea.data.loader import TrainingBatches
from fovea.data.options import Augmentation
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, FileImages, Split
from fovea.errors import DataError, ShapeError

SPEC = Preprocessing(image_size=8, resize=8, in_channels=1)
EVERYTHING = Augmentation(shift=1, rotate=10.0, zoom=0.1, flip=True)


def split(n: int = 50) -> Split:
    """Images that tell their index by every pixel."""
    pixels = np.repeat(np.arange(n, dtype=np.uint8), 64).reshape(n, 8, 8)
    return Split("train", ArrayImages(pixels, "x"), np.arange(n) % 5, tuple("abcde"))


def batches(
    n: int = 50, *, batch_size: int = 8, augmentation: Augmentation | None = None, **more: int
) -> TrainingBatches:
    options = augmentation or Augmentation()
    return TrainingBatches(
        fitted=fit_split(split(n), SPEC), batch_size=batch_size, augmentation=options, **{"seed": 3, **more}
    )


def seen(made: list[Batch]) -> list[int]:
    return [round(float(v) * 255) for batch in made for v in batch.images[:, 0, 0, 0]]


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(first, second, strict=True)
    )


def test_an_epoch_shows_each_image_at_most_once_with_its_label() -> None:
    made = list(batches().epoch(0))
    assert len(made) == len(batches()) == 6
    assert all(batch.images.shape == (8, 1, 8, 8) for batch in made)
    assert len(set(seen(made))) == 48
    assert [int(label) for batch in made for label in batch.labels] == [v % 5 for v in seen(made)]
    assert all(batch.images.dtype == torch.float32 and batch.labels.dtype == torch.int64 for batch in made)


def test_over_some_epochs_every_image_is_shown() -> None:
    training = batches()
    assert {v for epoch in range(6) for v in seen(list(training.epoch(epoch)))} == set(range(50))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = seen(list(batches().epoch(0)))
    assert first == seen(list(batches().epoch(0)))
    assert first != seen(list(batches().epoch(1)))
    assert first != seen(list(batches(seed=4).epoch(0)))
    assert first != sorted(first)


def test_the_order_never_moves() -> None:
    assert seen(list(batches(10, batch_size=5, seed=42).epoch(0))) == [1, 5, 3, 4, 7, 8, 6, 0, 9, 2]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_bits(workers: int) -> None:
    alone = batches(augmentation=EVERYTHING)
    helped = batches(augmentation=EVERYTHING, workers=workers)
    for epoch in (0, 1):
        assert equal(list(helped.epoch(epoch)), list(alone.epoch(epoch)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_starting_at_a_step_gives_the_tail(workers: int, start: int) -> None:
    training = batches(augmentation=EVERYTHING, workers=workers)
    assert equal(list(training.epoch(2, start=start)), list(training.epoch(2))[start:])


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_share_each_batch_out_among_them(ranks: int) -> None:
    whole = list(batches(augmentation=EVERYTHING).epoch(1))
    shares = [list(batches(augmentation=EVERYTHING, rank=r, ranks=ranks).epoch(1)) for r in range(ranks)]
    for step, batch in enumerate(whole):
        parts = [shares[rank][step] for rank in range(ranks)]
        assert all(len(part.labels) == 8 // ranks for part in parts)
        assert torch.equal(torch.stack([p.images for p in parts], 1).flatten(0, 1), batch.images)
        assert torch.equal(torch.stack([p.labels for p in parts], 1).flatten(), batch.labels)


def test_an_image_is_augmented_the_same_in_a_batch_of_another_size() -> None:
    plain = batches(48, batch_size=8)
    order = seen(list(plain.epoch(0)))
    by_size = []
    for size in (3, 8, 48):
        made = torch.cat([b.images for b in batches(48, batch_size=size, augmentation=EVERYTHING).epoch(0)])
        by_size.append(made[np.argsort(order)])
    assert torch.equal(by_size[0], by_size[1])
    assert torch.equal(by_size[1], by_size[2])


def test_too_few_images_are_refused_with_the_counts() -> None:
    with pytest.raises(DataError) as caught:
        batches(5, batch_size=8)
    assert str(caught.value) == (
        "there are 5 training images, fewer than one batch of 8; choose --batch-size 5 or less"
    )
    assert len(batches(8, batch_size=8)) == 1


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(DataError, match=r"batch_size \(=8\) must be divisible by the 3 ranks"):
        batches(ranks=3)


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("fovea-loader")]


def test_a_generator_closed_early_leaves_no_threads() -> None:
    generator = batches(250, batch_size=2, workers=3).epoch(0)
    next(generator)
    assert len(loader_threads()) > 0
    generator.close()
    assert loader_threads() == []


def test_a_generator_never_begun_has_no_threads() -> None:
    generator = batches(workers=3).epoch(0)
    assert loader_threads() == []
    generator.close()


def test_a_failure_in_a_worker_reaches_the_loop_and_ends_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise DataError("a failure on the way")

    training = batches(workers=2)
    monkeypatch.setattr(loader, "augment", fail)
    with pytest.raises(DataError, match="a failure on the way"):
        list(training.epoch(0))
    assert loader_threads() == []


def test_only_a_few_batches_are_prepared_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loader.augment, []

    def counted(*arguments: object) -> object:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(loader, "augment", counted)
    generator = batches(250, batch_size=2, workers=2).epoch(0)
    next(generator)
    generator.close()
    assert len(calls) <= 6


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_fitting_keeps_the_order_and_packs_pixels(workers: int) -> None:
    fitted = fit_split(split(), SPEC, workers=workers)
    assert fitted.packed is not None
    assert fitted.packed.dtype == torch.uint8
    assert fitted.packed[:, 0, 0, 0].tolist() == list(range(50))
    assert fitted.labels.tolist() == [n % 5 for n in range(50)]
    assert len(fitted) == 50


def test_what_does_not_fit_in_the_budget_is_read_again_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = fit_split(split(), SPEC)
    monkeypatch.setattr(fitting, "MEMORY_FOR_PIXELS", 50 * 64 - 1)
    lazy = fit_split(split(), SPEC)
    assert lazy.packed is None
    chosen = np.array([3, 0, 49, 3])
    assert torch.equal(lazy.gather(chosen), packed.gather(chosen))

    def of(fitted: Fitted) -> list[Batch]:
        return list(TrainingBatches(fitted=fitted, batch_size=8, seed=1, augmentation=EVERYTHING, workers=2).epoch(0))

    assert equal(of(lazy), of(packed))


def files(folder: Path, n: int, broken: set[int]) -> Split:
    """A split of files of which some break after they were listed."""
    for i in range(n):
        path = folder / f"{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
    index = open_index(folder)
    for i in broken:
        (folder / f"{i % 2}" / f"{i:02}.png").write_bytes(b"" if i % 2 else b"no image")
    return Split("train", FileImages(index, np.arange(n)), np.zeros(n, np.int64), ("a", "b"))


@pytest.mark.parametrize("workers", [0, 3])
def test_unreadable_images_are_all_counted_and_the_first_ten_named(tmp_path: Path, workers: int) -> None:
    broken = {*range(0, 26, 2), 5}
    with pytest.raises(DataError) as caught:
        fit_split(files(tmp_path, 30, broken), SPEC, workers=workers)
    lines = str(caught.value).splitlines()
    assert lines[0] == "14 of 30 train images cannot be read; mend or remove them:"
    assert [line.split(": ")[0].strip() for line in lines[1:11]] == [
        str(tmp_path / f"{i % 2}" / f"{i:02}.png") for i in sorted(broken, key=lambda i: (i % 2, i))[:10]
    ]
    assert "00.png: is none of JPEG" in lines[1]
    assert "05.png: is empty (0 bytes)" in str(caught.value) or "  and 4 more" in lines
    assert lines[11:] == ["  and 4 more"]
    assert caught.value.exit_code == 3


def test_up_to_ten_unreadable_images_are_named_and_no_more_are_claimed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fit_split(files(tmp_path, 12, set(range(10))), SPEC)
    assert str(caught.value).startswith("10 of 12 train images cannot be read")
    assert "more" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 11


def test_a_split_without_one_readable_image_is_refused_in_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 of 3 train images cannot be read"):
        fit_split(files(tmp_path, 3, {0, 1, 2}), SPEC)


def test_images_that_cannot_be_fitted_are_a_shape_error() -> None:
    images = ArrayImages(np.zeros((4, 8, 8, 2), np.uint8), "x")
    with pytest.raises(ShapeError, match="an image has 2 channels"):
        fit_split(Split("train", images, np.zeros(4, np.int64), ("a",)), SPEC)


@pytest.mark.parametrize("policy", ["none", "trivialaugment"])  # whole batches, and images one by one
def test_alternating_flips_mirror_each_image_in_every_other_epoch(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fovea.data.augmentation.image.distort", lambda image, *_: image)
    pixels = np.zeros((20, 8, 8), np.uint8)
    pixels[:, :, 0] = 255  # a bright edge on the left
    whole = fit_split(Split("train", ArrayImages(pixels, "x"), np.arange(20) % 5, tuple("abcde")), SPEC)
    options = Augmentation(flip_alternately=True, policy=policy)
    made = TrainingBatches(fitted=whole, batch_size=5, seed=3, augmentation=options)
    right = []
    for epoch in range(3):
        images = torch.cat([batch.images for batch in made.epoch(epoch)])
        order = np.concatenate([made.share(epoch, step) for step in range(4)])
        right.append(images[np.argsort(order), 0, 0, 7] > images[np.argsort(order), 0, 0, 0])
    assert torch.equal(right[0], ~right[1])
    assert torch.equal(right[0], right[2])
    assert 0 < right[0].sum() < 20
    ahead = dataclasses.replace(made, workers=2)
    assert equal(list(made.epoch(1)), list(ahead.epoch(1)))
