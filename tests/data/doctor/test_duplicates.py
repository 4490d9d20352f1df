"""Copies are found, by bytes and by looks; what looks alike by nature is not called a copy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fovea.data.doctor import duplicates
from fovea.data.doctor.duplicates import NEAR, exact, groups, near


def random_looks(count: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


def flipped(look: NDArray[np.uint64], bits: int, seed: int = 0) -> NDArray[np.uint64]:
    """The same hash with so many bits changed."""
    places = np.random.default_rng(seed).choice(128, bits, replace=False)
    changed = look.copy()
    for place in places.tolist():
        changed[place // 64] ^= np.uint64(1 << (place % 64))
    return changed


def digests(*names: str) -> NDArray[np.uint8]:
    """A letter for each row; "-" for a file that could not be read."""
    return np.array([[0 if name == "-" else ord(name)] * 32 for name in names], np.uint8).reshape(-1, 32)


def test_equal_digests_make_groups_by_their_first_row() -> None:
    found = exact(digests("b", "a", "c", "a", "b", "a"), np.arange(6))
    assert found == [[0, 4], [1, 3, 5]]


def test_files_that_could_not_be_read_and_rows_that_do_not_count_are_no_copies() -> None:
    column = digests("-", "a", "-", "a", "a")
    assert exact(column, np.array([0, 1, 2, 4])) == [[1, 4]]
    assert exact(column, np.array([1])) == []
    assert exact(column[:0], np.arange(0)) == []


@pytest.mark.parametrize("bits", range(NEAR + 4))
def test_pairs_up_to_near_bits_are_found_and_no_others(bits: int) -> None:
    looks = random_looks(400)
    for seed in range(20):
        looks[200 + seed] = flipped(looks[seed], bits, seed)
    found = near(looks)
    wanted = [[row, 200 + row] for row in range(20)] if bits <= NEAR else []
    assert found.pairs.tolist() == wanted
    assert found.distances.tolist() == [bits] * len(wanted)
    assert found.alike == 0
    assert found.complete


def test_the_same_pairs_as_comparing_all_with_all() -> None:
    rng = np.random.default_rng(1)
    looks = random_looks(300)
    looks = np.concatenate([looks, [flipped(looks[n % 300], int(rng.integers(0, 12)), n) for n in range(300)]])
    distances = np.unpackbits((looks[:, None] ^ looks[None]).view(np.uint8), axis=2).sum(axis=2)
    wanted = [list(pair) for pair in itertools.combinations(range(600), 2) if distances[pair] <= NEAR]
    assert near(looks).pairs.tolist() == wanted


def test_hashes_of_zero_never_count() -> None:
    looks = random_looks(50)
    looks[10:20] = 0
    looks[20] = [0, 1]
    assert near(looks).pairs.tolist() == []


def test_many_rows_of_one_hash_are_paired_with_the_first_only() -> None:
    looks = random_looks(30)
    looks[5:15] = looks[5]
    assert near(looks).pairs.tolist() == [[5, row] for row in range(6, 15)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows(count: int) -> None:
    assert near(random_looks(count)).pairs.shape == (0, 2)


def test_pairs_that_do_not_stand_out_are_counted_as_alike() -> None:
    """Drawings of one thing: all within some bits of one pattern, most pairs a little farther apart than NEAR."""
    pattern = random_looks(1)[0]
    looks = np.array([flipped(pattern, 6, seed) for seed in range(300)])
    found = near(looks)
    assert found.alike > 100
    assert len(found.pairs) == 0


def test_copies_stand_out_beside_images_that_are_alike() -> None:
    pattern = random_looks(1, seed=9)[0]
    drawings = np.array([flipped(pattern, 6, seed) for seed in range(60)])
    photographs = random_looks(200)
    copies = np.array([flipped(photographs[row], 3, row) for row in range(100)])
    found = near(np.concatenate([photographs, copies, drawings]))
    assert {(row, 200 + row) for row in range(100)} <= set(map(tuple, found.pairs.tolist()))
    assert found.alike > 10


def test_frames_of_a_film_stand_out() -> None:
    """Each differs a little from the one before, in other bits."""
    looks = [random_looks(1)[0]]
    order = np.random.default_rng(3).permutation(128)
    for frame in range(40):
        following = looks[-1].copy()
        for place in order[3 * frame % 128 :][:3].tolist():
            following[place // 64] ^= np.uint64(1 << (place % 64))
        looks.append(following)
    assert len(groups(near(np.array(looks)).pairs)) == 1


def test_too_many_alike_are_passed_over_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 50)
    pattern = random_looks(1)[0]
    found = near(np.array([flipped(pattern, 4, seed) for seed in range(60)]))
    assert not found.complete


def test_small_parts_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = random_looks(3000)
    looks[1500:1600] = [flipped(looks[row], 5, row) for row in range(100)]
    whole = near(looks)
    monkeypatch.setattr(duplicates, "TOGETHER", 7)
    parts = near(looks)
    assert parts.pairs.tolist() == whole.pairs.tolist()
    assert len(whole.pairs) == 100


def test_bits_are_counted_alike_without_numpy_2() -> None:
    numbers = random_looks(50)
    wanted = [[int(number).bit_count() for number in row] for row in numbers]
    assert duplicates._counted_by_table(numbers).tolist() == wanted
    assert duplicates._counted_by_table(numbers[:, None, 0] ^ numbers[None, :, 0]).shape == (50, 50)
    assert duplicates._ones(numbers).tolist() == wanted


def test_groups_connect_pairs() -> None:
    assert groups(np.array([[4, 9], [1, 2], [2, 7], [0, 9]])) == [[0, 4, 9], [1, 2, 7]]
    assert groups(np.empty((0, 2), np.int64)) == []
