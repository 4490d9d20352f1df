"""Shifts, rotations and scales as geometry has them, and curves of models whose fate is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, UsageError
from fovea.evaluation.corruptions import corrupted
from fovea.evaluation.judge import evaluate
from fovea.evaluation.metrics import wilson_interval
from fovea.evaluation.robustness import (
    CHANGES,
    Changed,
    changed_images,
    curve,
    default_values,
    rotated,
    scaled,
    shifted,
)
from fovea.runtime.model import as_model

SIDE = 20
MARGIN = 6  # pixels of background around every figure


def smooth(height=24, width=24, channels=3):
    y, x = np.mgrid[:height, :width]
    waves = [127 + 60 * np.sin(x / 5 + c) + 60 * np.cos(y / 6 - c) for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8)


def bars(count=40):
    """Digits of a kind: a standing bar (class 0) or a lying one (class 1), on black, a little off the centre."""
    images, labels = np.zeros((count, SIDE, SIDE), np.uint8), np.arange(count) % 2
    for place, label in enumerate(labels):
        y, x = SIDE // 2 + place // 2 % 3 - 1, SIDE // 2 + place // 6 % 3 - 1
        rows, columns = (slice(y - 3, y + 3), slice(x, x + 1))
        images[(place, columns, rows) if label else (place, rows, columns)] = 200
    return Split("test", ArrayImages(images, "bars"), labels.astype(np.int64), ("standing", "lying"))


class Pooled(nn.Module):
    """Steps along y and along x, squared and averaged over the whole image: where the figure is, it cannot know."""

    def __init__(self):
        super().__init__()
        self.steps = nn.Conv2d(1, 2, 3, padding="same", bias=False)
        with torch.no_grad():
            self.steps.weight.zero_()
            self.steps.weight[0, 0, 1] = torch.tensor([-1.0, 0.0, 1.0])  # a standing bar has steps along x
            self.steps.weight[1, 0, :, 1] = torch.tensor([-1.0, 0.0, 1.0])

    def forward(self, images):
        return self.steps(images).square().mean(dim=(2, 3))


class Linear(nn.Module):
    """The mean image of each class, as a linear classifier on pixels."""

    def __init__(self, split):
        super().__init__()
        pixels = torch.tensor(np.stack([split.images[i] for i in range(len(split))]) / 255).float().flatten(1)
        means = torch.stack([pixels[torch.tensor(split.labels == label)].mean(dim=0) for label in (0, 1)])
        self.register_buffer("means", means)

    def forward(self, images):
        return images.flatten(1) @ self.means.T - self.means.square().sum(dim=1) / 2


class Told:
    """Answers from a table: the label where the pixel at the centre is lit."""

    classes = ("dark", "lit")

    def __init__(self):
        self.asked = 0

    def logits(self, images):
        self.asked += 1
        lit = [float(images[index][2, 2] > 100) for index in range(len(images))]
        return torch.tensor([[1 - each, each] for each in lit])


def dots(places):
    """Images of 5×5 with one pixel lit, all of class lit."""
    images = np.zeros((len(places), 5, 5), np.uint8)
    for image, place in zip(images, places, strict=True):
        image[place] = 255
    return Split("test", ArrayImages(images, "dots"), np.ones(len(places), np.int64), ("dark", "lit"))


def model_of(network, split):
    return as_model(network, split.images, split.classes)


@pytest.mark.parametrize("fill", [None, 0, 77])
@pytest.mark.parametrize("image", [smooth(), smooth(9, 14)[:, :, 0], smooth(1, 1), np.full((1, 1), 9, np.uint8)])
def test_no_change_gives_the_same_bytes(image, fill):
    assert np.array_equal(shifted(image, 0, 0, fill=fill), image)
    assert np.array_equal(rotated(image, 0, fill=fill), image)
    assert np.array_equal(scaled(image, 1, fill=fill), image)


@pytest.mark.parametrize("shape", [(1, 1), (7, 12), (7, 12, 1), (7, 12, 3), (1, 9, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_shape_and_type_are_kept(shape, kind):
    image = np.ones(shape, kind)
    for found in (shifted(image, 3, -2), rotated(image, 33), scaled(image, 0.5), scaled(image, 3.3)):
        assert (found.shape, found.dtype) == (shape, kind)
        assert (found == 1).all()  # of one value with its edge repeated, every change is the same


def test_a_shift_goes_right_and_down():
    image = np.zeros((5, 6), np.uint8)
    image[1, 2] = 9
    assert np.argwhere(shifted(image, 3, 2)).tolist() == [[3, 5]]


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-3, 0), (0, 4), (2, -4)])
def test_there_and_back_leaves_the_interior(dx, dy):
    image = smooth(20, 17)
    back = shifted(shifted(image, dx, dy, fill=0), -dx, -dy, fill=0)
    assert np.array_equal(back[4:-4, 4:-4], image[4:-4, 4:-4])
    assert not np.array_equal(back, image)


def test_the_border_is_the_edge_or_the_fill():
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert shifted(image, 2, 0).tolist() == [[1, 1, 1], [4, 4, 4]]
    assert shifted(image, 1, 1, fill=0).tolist() == [[0, 0, 0], [0, 1, 2]]
    assert shifted(image, -1, 0, fill=7).tolist() == [[2, 3, 7], [5, 6, 7]]
    assert shifted(image, 50, 0, fill=8).tolist() == [[8, 8, 8], [8, 8, 8]]


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [12, 13])
def test_right_angles_turn_anticlockwise(turns, side):
    image = smooth(side, side)
    assert np.array_equal(rotated(image, 90 * turns), np.rot90(image, turns))


def test_four_right_angles_are_near_no_turn():
    image = turned = smooth()
    for _ in range(4):
        turned = rotated(turned, 90)
    assert np.abs(turned.astype(int) - image).max() <= 1


def test_small_turns_there_and_back_leave_the_interior():
    image = smooth()
    back = rotated(rotated(image, 20), -20).astype(int)
    assert np.abs(back - image)[8:-8, 8:-8].max() < 8
    assert np.abs(rotated(image, 20).astype(int) - image)[8:-8, 8:-8].max() > 20


def test_a_turn_fills_the_corners():
    white = np.full((20, 20), 255, np.uint8)
    assert (rotated(white, 45) == 255).all()
    filled = rotated(white, 45, fill=0)
    assert [filled[0, 0], filled[0, -1], filled[-1, 0], filled[-1, -1], filled[10, 10]] == [0, 0, 0, 0, 255]


def test_half_the_size_shows_half_the_square():
    image = np.zeros((16, 24, 3), np.uint8)
    image[4:12, 8:16] = 200
    lit = scaled(image, 0.5, fill=0)[:, :, 1] > 100
    assert np.argwhere(lit).min(axis=0).tolist() == [6, 10]
    assert np.argwhere(lit).max(axis=0).tolist() == [9, 13]
    assert (scaled(image, 2)[:, :, 0] > 100).sum() == 16 * 16


def test_resampling_does_not_darken():
    ramp = np.tile(np.arange(40, 140, dtype=np.uint8), (100, 1))  # what is interpolated lies between whole values
    assert scaled(ramp, 1.7).mean() == pytest.approx(ramp.mean(), abs=0.05)
    assert rotated(ramp, 30).mean() == pytest.approx(ramp.mean(), abs=0.05)


def test_a_fill_that_is_no_byte_is_refused():
    for move in (lambda image: shifted(image, 1, 0, fill=256), lambda image: rotated(image, 5, fill=-1)):
        with pytest.raises(UsageError, match="from 0 to 255"):
            move(smooth())


@pytest.mark.parametrize("factor", [0.1, 5, 0, float("nan")])
def test_a_scale_outside_its_range_is_refused(factor):
    with pytest.raises(UsageError, match=r"scale \(=.*\) must be from 1/4 to 4"):
        scaled(smooth(), factor)


def test_changed_images_are_made_when_asked_for_and_keep_their_names():
    made = []
    base = ArrayImages(np.arange(12, dtype=np.uint8).reshape(3, 2, 2), "few")
    changed = Changed(base, lambda image, index: made.append(index) or image + index, "plus its place")
    assert (len(changed), made, changed.name(2)) == (3, [], "few/2")
    assert changed[2].tolist() == [[10, 11], [12, 13]]
    assert made == [2]


def test_fingerprints_differ_with_every_option():
    base = bars(4).images
    asked = [
        ("shift", 1, 0, None),
        ("shift", 2, 0, None),
        ("shift", 1, 0, 0),
        ("jpeg", 1, 0, None),
        ("jpeg", 1, 1, None),
    ]
    sets = [s for name, value, seed, fill in asked for s in changed_images(base, name, value, seed=seed, fill=fill)]
    prints = [base.fingerprint(), *(each.fingerprint() for each in sets)]
    assert len(set(prints)) == len(prints) == 15
    assert changed_images(base, "shift", 1.0)[0].fingerprint() == changed_images(base, "shift", 1)[0].fingerprint()


def test_a_corrupted_set_has_the_draws_of_each_place():
    split = bars(6)
    (images,) = changed_images(split.images, "gaussian_noise", 3, seed=5)
    expected = corrupted(split.images[4], "gaussian_noise", 3, seed=5, index=4)
    assert np.array_equal(images[4], expected)
    assert np.array_equal(images[4], images[4])


def test_global_pooling_does_not_feel_shifts_and_a_linear_classifier_does():
    split, values = bars(), range(MARGIN + 1)
    pooled = curve(model_of(Pooled(), split), split, "shift", values, fill=0)
    linear = curve(model_of(Linear(split), split), split, "shift", values, fill=0)
    assert pooled.top1 == pooled.mean_agreement == (1.0,) * len(values)
    assert linear.top1[0] == 1.0
    assert linear.top1[MARGIN] < 0.8
    assert linear.mean_agreement[MARGIN] < 0.8


def test_a_right_angle_turns_one_class_into_the_other():
    split = bars()
    found = curve(model_of(Pooled(), split), split, "rotation", (0, 10, 90), fill=0)
    assert found.top1 == found.mean_agreement == (1.0, 1.0, 0.0)


def test_directions_are_pooled_over_the_images():
    model, split = Told(), dots([(2, 2), (2, 1), (0, 0)])
    found = curve(model, split, "shift", (0, 1), fill=0)
    # Only the dot left of the centre meets it, and only when moved right: 1 of 12 answers.
    assert found.top1 == pytest.approx((1 / 3, 1 / 12))
    # As unchanged: none of the first image's four, three of the second's, four of the third's.
    assert found.mean_agreement == pytest.approx((1.0, 7 / 12))
    assert model.asked == 1 + 4  # the unchanged images once


def test_the_interval_is_one_of_as_many_answers_as_images():
    found = curve(Told(), dots([(2, 2), (2, 1), (0, 0)]), "shift", (0, 1), fill=0)
    assert found.intervals[0] == wilson_interval(1, 3)
    low, high = found.intervals[1]  # a quarter of one answer in three, rounded outwards
    assert (low, high) == (0.0, wilson_interval(1, 3)[1])


def test_corruption_zero_is_what_evaluate_gives():
    split = bars()
    model = model_of(Linear(split), split)
    found = curve(model, split, "gaussian_noise", (0, 5), seed=3)
    assert found.top1[0] == evaluate(model, split).top1
    assert found.intervals[0] == evaluate(model, split).top1_interval
    assert found == curve(model, split, "gaussian_noise", (0, 5), seed=3)


def test_labels_meet_the_models_classes_by_name():
    split = bars()
    swapped = Split("test", split.images, 1 - split.labels, ("lying", "standing"))
    model = model_of(Pooled(), split)
    assert curve(model, swapped, "scale", (1,)).top1 == (1.0,)


def test_the_curve_prints_a_line_for_each_value():
    lines = str(curve(Told(), dots([(2, 2), (0, 0)]), "scale", (1, 0.5))).splitlines()
    assert lines[0].startswith("scale 1: top-1 accuracy 50.00% (95 % interval ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("change", "value", "rule"),
    [
        ("shift", 1.5, r"shift \(=1.5\) must be a whole number of pixels"),
        ("shift", -1, r"shift \(=-1\)"),
        ("shift", float("inf"), r"shift \(=inf\)"),
        ("jpeg", 6, r"severity of jpeg \(=6\) must be a whole number from 0 to 5"),
        ("jpeg", 0.5, r"severity of jpeg \(=0.5\)"),
        ("rotation", 181, r"rotation \(=181\) must be from 0 to 180"),
        ("scale", 0, r"scale \(=0\) must be from 1/4 to 4"),
        ("rotatoin", 1, r"unknown change 'rotatoin'.* Did you mean rotation"),
    ],
)
def test_values_are_checked_before_anything_is_predicted(change, value, rule):
    model = Told()
    with pytest.raises(UsageError, match=rule):
        curve(model, dots([(2, 2)]), change, (1, value))
    assert model.asked == 0


def test_no_value_and_no_image_are_refused():
    with pytest.raises(UsageError, match="one value or more"):
        curve(Told(), dots([(2, 2)]), "shift", ())
    with pytest.raises(DataError, match="no image"):
        curve(Told(), dots([]), "shift", (1,))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [1, 28, 224])
def test_default_values_are_taken_and_contain_no_change(change, size):
    values = default_values(change, size)
    assert list(values) == sorted(set(values))
    sets = [changed_images(bars(2).images, change, value) for value in values]
    assert sets.count(()) == 1


def test_default_shifts_reach_a_quarter_and_are_no_multiples_of_a_stride():
    assert default_values("shift", 28) == tuple(map(float, range(8)))
    assert default_values("shift", 224) == tuple(map(float, range(0, 57, 7)))
    assert default_values("shift", 48)[1] % 2 == 1


def test_default_values_of_an_unknown_change_are_refused():
    with pytest.raises(UsageError, match=r"Did you mean scale"):
        default_values("scal", 28)


def test_images_of_floats_can_be_moved_but_not_corrupted():
    split = bars()
    array = np.stack([split.images[i] for i in range(len(split))]) / np.float32(255)
    floats = Split("test", ArrayImages(array, "floats"), split.labels, split.classes)
    model = model_of(Pooled(), floats)
    assert curve(model, floats, "rotation", (5,), fill=0).top1 == (1.0,)
    with pytest.raises(DataError, match=r"uint8.*float32"):
        curve(model, floats, "contrast", (1,))
