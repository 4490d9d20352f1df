"""Cutting a set: disjoint, complete, stratified, exact in total, and a function of the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fovea.data.splits import parse_fractions, stratified
from fovea.errors import DataError, UsageError


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


def lists(parts: list[np.ndarray]) -> list[list[int]]:
    return [part.tolist() for part in parts]


def test_the_cut_never_moves() -> None:
    train, validation, test = lists(stratified(np.repeat(np.arange(4), 10), (0.8, 0.1, 0.1), 42))
    assert validation == [6, 14, 27, 39]
    assert test == [4, 12, 26, 33]
    assert train == [n for n in range(40) if n not in validation + test]


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=2, max_size=12),
    parts=st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 20)),
    seed=st.integers(0, 3),
)
def test_parts_are_disjoint_complete_exact_and_stratified(
    sizes: list[int], parts: tuple[int, int, int], seed: int
) -> None:
    labels, whole = labels_of(sizes), sum(parts)
    fractions = (parts[0] / whole, parts[1] / whole, parts[2] / whole)
    held = [round(len(labels) * fraction) for fraction in fractions[1:]]
    totals = [len(labels) - sum(held), *held]
    if any(fraction > 0 and total == 0 for fraction, total in zip(fractions, totals, strict=True)):
        with pytest.raises(DataError, match="rounds to nothing"):
            stratified(labels, fractions, seed)
        return
    cut = stratified(labels, fractions, seed)
    assert [len(part) for part in cut] == totals
    assert np.sort(np.concatenate(cut)).tolist() == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in cut)
    for part, fraction in zip(cut[1:], fractions[1:], strict=True):
        found = np.bincount(labels[part], minlength=len(sizes))
        assert (np.abs(found - np.array(sizes) * fraction) < 1 + 1e-6).all()
    found = np.bincount(labels[cut[0]], minlength=len(sizes))
    assert (np.abs(found - np.array(sizes) * fractions[0]) < 2).all()


@pytest.mark.parametrize(
    ("sizes", "fractions", "totals"),
    [
        ([3] * 20, (0.05, 0.475, 0.475), [4, 28, 28]),
        ([1, 1, 1, 1, 1, 10], (0.8, 0.1, 0.1), [11, 2, 2]),
        ([1] * 10, (0.2, 0.4, 0.4), [2, 4, 4]),
    ],
)
def test_no_image_stands_on_two_sides_where_classes_are_tiny(
    sizes: list[int], fractions: tuple[float, float, float], totals: list[int]
) -> None:
    cut = stratified(labels_of(sizes), fractions, 0)
    assert [len(part) for part in cut] == totals
    assert len(set(np.concatenate(cut).tolist())) == sum(sizes)


def test_the_seed_changes_which_images_and_not_how_many() -> None:
    labels = labels_of([20, 30, 50])
    cuts = [lists(stratified(labels, (0.8, 0.1, 0.1), seed)) for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1]
    assert all(a != b for a, b in zip(cuts[0], cuts[2], strict=True))
    assert [len(p) for p in cuts[0]] == [len(p) for p in cuts[2]] == [80, 10, 10]


def test_a_class_is_cut_the_same_whatever_the_other_classes_are() -> None:
    alone, together = np.zeros(40, np.int64), np.repeat([0, 1], [40, 40])
    for a, b in zip(stratified(alone, (0.5, 0.25, 0.25), 3), stratified(together, (0.5, 0.25, 0.25), 3), strict=True):
        assert a.tolist() == [n for n in b.tolist() if n < 40]


def test_everything_may_be_for_training() -> None:
    train, validation, test = stratified(labels_of([3, 4]), (1.0, 0.0, 0.0), 0)
    assert train.tolist() == list(range(7))
    assert len(validation) == len(test) == 0


@pytest.mark.parametrize(
    ("fractions", "name", "fraction"),
    [((0.9, 0.1, 0.0), "validation", "0.1"), ((0.9, 0.0, 0.1), "test", "0.1"), ((0.01, 0.99, 0.0), "train", "0.01")],
)
def test_a_fraction_that_rounds_to_nothing_is_refused_with_counts(
    fractions: tuple[float, float, float], name: str, fraction: str
) -> None:
    with pytest.raises(DataError) as caught:
        stratified(labels_of([2, 2]), fractions, 0)
    assert str(caught.value) == (
        f"the {name} split rounds to nothing: {fraction} of 4 images in 2 classes; add images, or change --split"
    )


def test_fractions_are_read_from_text() -> None:
    assert parse_fractions("0.8/0.1/0.1") == (0.8, 0.1, 0.1)
    assert parse_fractions("1/0/0") == (1, 0, 0)
    assert parse_fractions("0.3333333/0.3333333/0.3333334") == (0.3333333, 0.3333333, 0.3333334)


@pytest.mark.parametrize(
    "text", ["", "0.8", "0.8/0.2", "0.5/0.3/0.1/0.1", "a/b/c", "0.8/0.1/0.2", "1.2/-0.1/-0.1", "0/0.5/0.5", "nan/0/0"]
)
def test_other_fractions_are_a_usage_error_that_shows_them(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fractions(text)
    assert str(caught.value).startswith(f"split (={text}) must be three fractions ")
    assert caught.value.exit_code == 2
