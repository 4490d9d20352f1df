"""Each image's changes are a function of (seed, epoch, index): not of its batch, not of its place in it."""

import numpy as np
import pytest
import torch

from fovea.data.augmentation import batch
from fovea.data.augmentation.batch import alternating, augment
from fovea.data.options import Augmentation
from fovea.errors import UsageError
from fovea.randomness import key, uniforms

KEY = key(0, "augmentation", 0)
EVERYTHING = Augmentation(shift=2, rotate=15.0, zoom=0.2, flip=True)
OPTIONS = [Augmentation(shift=2, flip=True), Augmentation(rotate=10.0), Augmentation(zoom=0.3), EVERYTHING]


def noise(n: int = 40, side: int = 12, kind: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.randint(1, 256, (n, 2, side, side), generator=torch.Generator().manual_seed(0)).to(kind)


def test_no_options_change_nothing() -> None:
    pixels = noise()
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(), KEY), pixels)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_batch_around_an_image_does_not_matter(options: Augmentation, kind: torch.dtype) -> None:
    pixels = noise(kind=kind)
    whole = augment(pixels, np.arange(40), options, KEY)
    assert whole.dtype == kind
    assert whole.shape == pixels.shape
    assert not torch.equal(whole, pixels)
    for n in (1, 2, 3, 7, 8, 9, 16, 17, 33, 40):
        chosen = np.random.default_rng(n).permutation(40)[:n]
        part = augment(pixels[torch.from_numpy(chosen)], chosen, options, KEY)
        assert torch.equal(part, whole[torch.from_numpy(chosen)])


@pytest.mark.parametrize("options", OPTIONS)
def test_seed_epoch_and_index_each_matter(options: Augmentation) -> None:
    pixels = noise()
    first = augment(pixels, np.arange(40), options, KEY)
    for indices, draw_key in (
        (np.arange(40), key(0, "augmentation", 1)),
        (np.arange(40), key(1, "augmentation", 0)),
        (np.arange(1, 41), KEY),
    ):
        assert not torch.equal(augment(pixels, indices, options, draw_key), first)
    assert torch.equal(augment(pixels, np.arange(40), options, KEY), first)


def test_the_given_pixels_are_not_changed_in_place() -> None:
    pixels = noise()
    before = pixels.clone()
    for options in OPTIONS:
        augment(pixels, np.arange(40), options, KEY)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_a_shift_moves_by_whole_pixels_within_its_reach_and_zeros_come_in(reach: int) -> None:
    pixels = noise(400, 8)
    moved = augment(pixels, np.arange(400), Augmentation(shift=reach), KEY)
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    offsets = []
    for before, after in zip(padded, moved.numpy(), strict=True):
        fits = [
            (y, x)
            for y in range(2 * reach + 1)
            for x in range(2 * reach + 1)
            if (before[:, y : y + 8, x : x + 8] == after).all()
        ]
        assert len(fits) == 1
        offsets += fits
    assert len(set(offsets)) == (2 * reach + 1) ** 2  # every offset occurs
    assert abs(np.mean(offsets) - reach) < 0.2


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_others() -> None:
    pixels = noise(1000, 4)
    found = augment(pixels, np.arange(1000), Augmentation(flip=True), KEY)
    mirrored = (found == pixels.flip(-1)).flatten(1).all(1)
    kept = (found == pixels).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 440 < int(mirrored.sum()) < 560


def test_a_turn_by_next_to_nothing_changes_nothing() -> None:
    pixels = noise()
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(rotate=1e-6), KEY), pixels)
    assert torch.equal(augment(pixels, np.arange(40), Augmentation(zoom=1e-8), KEY), pixels)


def blob(side: int = 33) -> torch.Tensor:
    """A bright bar from the centre to the right."""
    pixels = torch.zeros(300, 1, side, side)
    pixels[:, :, side // 2 - 1 : side // 2 + 2, side // 2 :] = 1.0
    return pixels


def test_rotations_stay_within_their_angle_and_go_both_ways() -> None:
    turned = augment(blob(), np.arange(300), Augmentation(rotate=20.0), KEY)
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = turned.sum((1, 2, 3))
    y, x = ((turned[:, 0] * places).sum((1, 2)) / mass for places in (rows, columns))
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.min() < -15
    assert angles.max() > 15
    assert angles.abs().max() < 21


def test_zooms_stay_within_their_factor_and_go_both_ways() -> None:
    square = torch.zeros(300, 1, 33, 33)
    square[:, :, 11:22, 11:22] = 1.0
    found = augment(square, np.arange(300), Augmentation(zoom=0.25), KEY).sum((1, 2, 3)).sqrt() / 11
    assert 1 / 1.27 < found.min() < 0.85
    assert 1.18 < found.max() < 1.27
    assert abs(found.log().mean()) < 0.02


def test_with_a_rotation_a_shift_still_stays_in_reach() -> None:
    point = torch.zeros(300, 1, 21, 21)
    point[:, :, 10, 10] = 1.0
    moved = augment(point, np.arange(300), Augmentation(shift=3, rotate=1e-6), KEY)
    rows, columns = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(21.0) - 10, indexing="ij")
    for places in (rows, columns):
        offsets = (moved[:, 0] * places).sum((1, 2)) / moved.sum((1, 2, 3))
        assert 2.5 < offsets.abs().max() < 3.001
        assert abs(offsets.mean()) < 0.4


def test_bytes_are_rounded_and_never_wrap_around() -> None:
    pixels = torch.full((50, 1, 9, 9), 255, dtype=torch.uint8)
    found = augment(pixels, np.arange(50), EVERYTHING, KEY)
    assert (found[:, :, 4, 4] == 255).all()


def plainly(pixels: np.ndarray, indices: np.ndarray, options: Augmentation) -> np.ndarray:
    """Flip and shift, image by image and pixel by pixel."""
    found = np.zeros_like(pixels)
    size, reach = pixels.shape[-1], options.shift
    for place, draws in enumerate(uniforms(KEY, indices, draws=6)):
        image = pixels[place][:, :, ::-1] if options.flip and draws[0] < 0.5 else pixels[place]
        down, right = (int(draw * (2 * reach + 1)) - reach for draw in draws[1:3])
        for row in range(size):
            for column in range(size):
                y, x = row + down, column + right
                if options.border == "reflect":
                    y, x = (abs(p) if p < size else 2 * (size - 1) - p for p in (y, x))
                if 0 <= y < size and 0 <= x < size:
                    found[place, :, row, column] = image[:, y, x]
    return found


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        Augmentation(flip=True, shift=3),
        Augmentation(flip=True, shift=3, border="reflect"),
        Augmentation(shift=6, border="reflect"),
        Augmentation(shift=9),
        Augmentation(flip=True),
    ],
)
def test_flips_and_shifts_equal_the_plain_definition(
    options: Augmentation, last: bool, kind: type, channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (24, channels, 7, 7)).astype(kind)
    pixels = torch.from_numpy(values).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    indices = np.arange(100, 124)
    found = augment(pixels, indices, options, KEY)
    assert np.array_equal(found.numpy(), plainly(values, indices, options))
    assert found.dtype == pixels.dtype
    if last:
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_way_for_other_devices_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branches without NumPy, which a GPU takes."""
    pixels = noise()
    options = Augmentation(flip=True, shift=2)
    expected = augment(pixels, np.arange(40), options, KEY)

    class Elsewhere(torch.Tensor):
        device = type("Device", (), {"type": "elsewhere"})()  # type: ignore[assignment]

    chosen, offsets = uniforms(KEY, np.arange(40), draws=6)[:, 0] < 0.5, np.zeros((40, 2), np.int64)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)
    there = batch.flipped(pixels.as_subclass(Elsewhere), chosen).as_subclass(torch.Tensor)
    assert torch.equal(there, batch.flipped(pixels, chosen))
    offsets = (uniforms(KEY, np.arange(40), draws=6)[:, 1:3] * 5).astype(np.int64)
    wide = torch.nn.functional.pad(there, (2,) * 4).as_subclass(Elsewhere)
    assert torch.equal(batch.shifted(wide, offsets, 12).as_subclass(torch.Tensor), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("border", ["zeros", "reflect"])
def test_a_gpu_gives_the_same_pixels(border: str) -> None:
    options = Augmentation(flip=True, shift=2, border=border)
    found = augment(noise().cuda(), np.arange(40), options, KEY)
    assert torch.equal(found.cpu(), augment(noise(), np.arange(40), options, KEY))


def test_in_every_other_epoch_each_image_is_mirrored_and_half_of_them_in_each() -> None:
    epochs = np.stack([alternating(np.arange(1000), 5, epoch) for epoch in range(4)])
    assert (epochs[0] != epochs[1]).all()
    assert np.array_equal(epochs[:2], epochs[2:])
    assert 450 < epochs[0].sum() < 550
    assert np.array_equal(alternating(np.array([7, 3]), 5, 0), epochs[0][[7, 3]])
    assert not np.array_equal(alternating(np.arange(1000), 6, 0), epochs[0])
    with pytest.raises(UsageError, match="flip_alternately"):
        Augmentation(flip=True, flip_alternately=True)


def test_a_reflection_cannot_reach_beyond_the_image() -> None:
    with pytest.raises(UsageError, match=r"shift \(=12\) must be below the image's side \(=12\)"):
        augment(noise(), np.arange(40), Augmentation(shift=12, border="reflect"), KEY)


def test_with_a_reflected_border_no_rotation_leaves_black() -> None:
    pixels = torch.full((50, 1, 12, 12), 200, dtype=torch.uint8)
    turned = augment(pixels, np.arange(50), Augmentation(rotate=40.0, shift=3, border="reflect"), KEY)
    assert (turned == 200).all()


def test_what_is_added_later_does_not_move_the_draws_of_published_runs() -> None:
    """Recorded before reflect, crops and policies were added."""
    pixels = noise()
    sums = [int(augment(pixels, np.arange(40), options, KEY).long().square().sum()) for options in OPTIONS]
    assert sums == pytest.approx([205720290, 204573390, 188414829, 171143625], rel=1e-5)
    assert sums[0] == 205720290  # whole pixels: exactly, on every machine


def test_no_global_generator_is_touched() -> None:
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    augment(noise(), np.arange(40), EVERYTHING, KEY)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
