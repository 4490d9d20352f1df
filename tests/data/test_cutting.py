"""Who trains, who validates, who tests."""

import numpy as np
import pytest

from fovea.data.cutting import LEFT_OUT, TEST, TRAIN, VALIDATION, Cut, assigned
from fovea.data.splits import folded, parse_fold, stratified, thinned
from fovea.errors import DataError, UsageError

LABELS = np.repeat(np.arange(4), 25)
WHOLE = np.full(100, LEFT_OUT, np.int8)
CUT = Cut((0.8, 0.1, 0.1), 42)


def counts(places: np.ndarray) -> list[int]:
    return [int((places == place).sum()) for place in (LEFT_OUT, TRAIN, VALIDATION, TEST)]


def test_what_is_not_split_is_cut_as_the_fractions_say() -> None:
    places = assigned(LABELS, WHOLE, CUT)
    assert counts(places) == [0, 80, 10, 10]
    for place, part in zip((TRAIN, VALIDATION, TEST), stratified(LABELS, CUT.fractions, 42), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(places == place), part)
    assert not (WHOLE >= 0).any()


def test_splits_that_lie_apart_stay_apart() -> None:
    places = np.repeat(np.array([TRAIN, VALIDATION, TEST, TRAIN], np.int8), 25)
    np.testing.assert_array_equal(assigned(LABELS, places, CUT), places)


def test_missing_validation_images_are_cut_from_the_training_images_alone() -> None:
    places = np.tile(np.array([TRAIN, TRAIN, TRAIN, TRAIN, TEST], np.int8), 20)
    found = assigned(LABELS, places, CUT)
    np.testing.assert_array_equal(found == TEST, places == TEST)
    assert counts(found) == [0, 71, 9, 20]


@pytest.mark.parametrize("fold", range(5))
def test_folds_cut_train_and_validation_and_leave_test_alone(fold: int) -> None:
    plain = assigned(LABELS, WHOLE, CUT)
    found = assigned(LABELS, WHOLE, CUT._replace(fold=(fold, 5)))
    np.testing.assert_array_equal(found == TEST, plain == TEST)
    assert counts(found) == [0, 72, 18, 10]


def test_every_image_validates_in_exactly_one_fold() -> None:
    for folds in (2, 5, 7):
        found = [assigned(LABELS, WHOLE, CUT._replace(fold=(fold, folds))) for fold in range(folds)]
        pool = found[0] != TEST
        times = sum((each == VALIDATION).astype(int) for each in found)
        np.testing.assert_array_equal(times, pool.astype(int))


def test_folds_are_stratified_and_even() -> None:
    labels = np.repeat(np.arange(3), [10, 11, 12])
    found = folded(labels, 4, 1)
    sizes = np.bincount(found)
    assert sizes.max() - sizes.min() <= 1
    for label in range(3):
        of_class = np.bincount(found[labels == label], minlength=4)
        assert of_class.max() - of_class.min() <= 1
    assert not (folded(labels, 4, 1) == folded(labels, 4, 2)).all()
    with pytest.raises(DataError, match="3 images cannot make 4 folds"):
        folded(labels[:3], 4, 1)


def test_a_fraction_thins_the_training_images_only() -> None:
    found = assigned(LABELS, WHOLE, CUT._replace(fraction=0.25))
    whole = assigned(LABELS, WHOLE, CUT)
    assert counts(found) == [60, 20, 10, 10]
    assert (whole[found == TRAIN] == TRAIN).all()
    np.testing.assert_array_equal(np.bincount(LABELS[found == TRAIN]), [5, 5, 5, 5])


def test_a_smaller_fraction_lies_in_a_larger_and_no_class_vanishes() -> None:
    labels = np.repeat(np.arange(3), [1, 10, 100])
    small, large = thinned(labels, 0.1, 7), thinned(labels, 0.3, 7)
    assert set(small) < set(large)
    np.testing.assert_array_equal(np.bincount(labels[small]), [1, 1, 10])
    np.testing.assert_array_equal(thinned(labels, 1.0, 7), np.arange(111))


@pytest.mark.parametrize("text", ["", "2", "0/5", "6/5", "1/1", "a/5", "1/5/2", "-1/5", "1.5/5", "²/5"])
def test_a_fold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"fold \(=.*\) must be"):
        parse_fold(text)


def test_a_fold_is_counted_from_one() -> None:
    assert parse_fold("2/5") == (1, 5)
