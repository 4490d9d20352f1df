"""Mosaics whose object's place we know, and methods that point at it, or elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fovea.errors import DataError, ShapeError, UsageError
from fovea.explain.pointing import Composed, composed, pointing

NETWORK = nn.Flatten()  # the methods here do not ask it


def coloured(labels: list[int], side: int = 8) -> tuple[Tensor, Tensor]:
    """Images of one value, ten times their class and their place among those of it."""
    values = [10 * label + labels[:place].count(label) for place, label in enumerate(labels)]
    pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
    return pixels.contiguous(), torch.tensor(labels)


def quarters_of(mosaics: Composed) -> Tensor:
    """(n, 4): the value in the middle of each quarter."""
    half = mosaics.images.shape[-1] // 2
    middle = half // 2
    places = [(middle, middle), (middle, half + middle), (half + middle, middle), (half + middle, half + middle)]
    return torch.stack([mosaics.images[:, 0, row, column] for row, column in places], dim=1)


def test_a_mosaic_has_four_classes_and_its_target_where_it_says() -> None:
    pixels, labels = coloured([1, 1, 2, 2, 3, 3, 4, 5])
    mosaics = composed(pixels, labels, count=40)
    assert mosaics.images.dtype == torch.uint8
    assert mosaics.images.shape == (40, 3, 8, 8)
    classes = quarters_of(mosaics) // 10
    assert all(len(set(row)) == 4 for row in classes.tolist())
    assert torch.equal(classes.gather(1, mosaics.places[:, None])[:, 0].long(), mosaics.targets)
    assert set(mosaics.places.tolist()) == {0, 1, 2, 3}
    assert set(mosaics.targets.tolist()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("labels", "distinct"), [([1, 1, 1, 2, 2, 2], 2), ([1, 2, 3, 3, 2, 1], 3)])
def test_of_fewer_classes_the_target_is_still_in_one_quarter_alone(labels: list[int], distinct: int) -> None:
    mosaics = composed(*coloured(labels), count=30)
    found = quarters_of(mosaics)
    classes = found // 10
    assert all(len(set(row)) == distinct for row in classes.tolist())
    assert ((classes == mosaics.targets[:, None]).sum(1) == 1).all()
    assert all(len(set(row)) == 4 for row in found.tolist())  # a class that comes again comes with another image


def test_images_shrink_by_averaging_areas_and_keep_their_type() -> None:
    pixels, labels = coloured([1, 2], side=4)
    pixels[:, :, ::2] += 4  # every other row, so that the mean of two is 2 more
    assert sorted(set(quarters_of(composed(pixels, labels, count=1)).flatten().tolist())) == [12, 22]
    floats = composed(pixels.float() / 255, labels, count=1)
    assert floats.images.dtype == torch.float32
    assert sorted(set((quarters_of(floats) * 255).round().flatten().tolist())) == [12, 22]


def test_of_an_odd_side_the_last_row_and_column_belong_to_nobody() -> None:
    mosaics = composed(*coloured([1, 2], side=7), count=2)
    assert mosaics.images.shape == (2, 3, 7, 7)
    assert not mosaics.images[:, :, 6].any()
    assert not mosaics.images[:, :, :, 6].any()
    assert mosaics.images[:, :, :6, :6].all()
    margin = torch.zeros(2, 7, 7)
    margin[:, 6, 6] = 9
    margin[:, 0, 0] = margin[:, 0, 3] = margin[:, 3, 0] = margin[:, 3, 3] = 1
    found = pointing(NETWORK, mosaics.images.float(), mosaics.targets, lambda *_: margin, places=mosaics.places)
    assert found.hits == 0
    assert found.share == pytest.approx(1 / 13)


def test_a_mosaic_depends_on_seed_and_place_alone() -> None:
    pixels, labels = coloured([1, 1, 2, 3, 4, 4])
    before = torch.random.get_rng_state()
    many, few, other = (composed(pixels, labels, count=n, seed=s) for n, s in ((30, 0), (5, 0), (30, 1)))
    assert torch.equal(many.images[:5], few.images)
    assert torch.equal(many.targets[:5], few.targets)
    assert not torch.equal(many.images, other.images)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_method_that_points_at_the_target_is_told_from_one_that_points_elsewhere() -> None:
    mosaics = composed(*coloured([1, 2, 3, 4]), count=20)
    images = mosaics.images.float()

    def finds(_: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return -(images[:, 0] - 10 * targets[:, None, None]).abs() + 1  # 1 at the target, below 0 elsewhere

    good = pointing(NETWORK, images, mosaics.targets, finds, places=mosaics.places)
    assert (good.hits, good.accuracy, good.share) == (20, 1.0, 1.0)
    assert good.interval[0] == pytest.approx(0.8389, abs=1e-4)  # Wilson: 20 / (20 + 1.96²)
    bad = pointing(NETWORK, images, mosaics.targets, lambda *given: -finds(*given), places=mosaics.places, name="not")
    assert (bad.hits, bad.share) == (0, 0.0)
    assert str(bad) == (
        "not: the maximum lies in the target's quarter of 0 of 20 mosaics, 0.00% (95 % interval 0.00% to 16.11%; by "
        "chance 25%), and 0.00% of what is positive in the map lies there"
    )


def test_a_map_that_is_the_same_everywhere_does_not_point() -> None:
    mosaics = composed(*coloured([1, 2, 3, 4]), count=8)
    given = (NETWORK, mosaics.images.float(), mosaics.targets)
    flat = pointing(*given, lambda _, images, __: torch.ones_like(images[:, 0]), places=mosaics.places)
    assert (flat.hits, flat.share) == (0, 0.25)
    nothing = pointing(*given, lambda _, images, __: torch.zeros_like(images[:, 0]), places=mosaics.places)
    assert (nothing.hits, nothing.share) == (0, 0.0)


def test_images_of_one_class_and_what_does_not_fit_are_refused() -> None:
    pixels, labels = coloured([1, 1, 2])
    with pytest.raises(DataError, match="needs images of 2 classes or more, and these 2 are of 1"):
        composed(pixels[:2], labels[:2], count=1)
    with pytest.raises(ShapeError, match=r"need as many labels \(=2\)"):
        composed(pixels, labels[:2], count=1)
    with pytest.raises(ShapeError, match="images of 1×1 pixels need"):
        composed(pixels[:, :, :1, :1], labels, count=1)
    with pytest.raises(UsageError, match=r"count \(=0\) must be 1 or more"):
        composed(pixels, labels, count=0)
    mosaics = composed(pixels, labels, count=2)
    given = (NETWORK, mosaics.images.float(), mosaics.targets, lambda _, images, __: images[:, 0])
    with pytest.raises(ShapeError, match="must name a quarter for each of 2 images"):
        pointing(*given, places=mosaics.places[:1])
    with pytest.raises(UsageError, match=r"places \(=\[4\]\) must be 0 to 3"):
        pointing(*given, places=torch.tensor([0, 4]))
