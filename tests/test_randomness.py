"""The numbers are ours: they never move, and each depends on its own index alone."""

import numpy as np
import pytest

from fovea.randomness import bits, key, permutation, uniforms


def test_keys_never_move() -> None:
    assert key(42, "order", 0) == 3585333030069913952
    assert key(42, "split", 3) == 293575559665760570
    assert key(0, "measure") == 1740110170832093470


def test_bits_never_move() -> None:
    assert bits(key(42, "order", 0), [0, 1, 2**40]).tolist() == [
        [9491822258942157655],
        [663025702009075896],
        [1572650173757506461],
    ]
    assert bits(key(42, "order", 0), [0, 5], draws=2).tolist() == [
        [9491822258942157655, 663025702009075896],
        [7357704859503364122, 15193169261398942329],
    ]


def test_bits_are_splitmix64() -> None:
    mask, gamma = 2**64 - 1, 0x9E3779B97F4A7C15

    def reference(state: int) -> int:
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & mask
        return mixed ^ (mixed >> 31)

    draw_key = key(7, "order", 3)
    expected = [reference((draw_key + (i + 1) * gamma) & mask) for i in range(100)]
    assert bits(draw_key, np.arange(100))[:, 0].tolist() == expected


def test_uniforms_and_permutations_never_move() -> None:
    draw_key = key(42, "order", 0)
    assert uniforms(draw_key, [0, 1])[:, 0].tolist() == [
        float.fromhex("0x1.0773741bfec94p-1"),
        float.fromhex("0x1.26714b9ea68f0p-5"),
    ]
    assert permutation(draw_key, 10).tolist() == [1, 5, 3, 4, 7, 8, 6, 0, 9, 2]


@pytest.mark.parametrize("draws", [1, 2, 6])
def test_a_row_depends_on_its_index_alone(draws: int) -> None:
    draw_key = key(1, "augmentation", 2)
    whole = uniforms(draw_key, np.arange(500), draws)
    assert whole.shape == (500, draws)
    chosen = np.array([499, 0, 7, 7, 123])
    np.testing.assert_array_equal(uniforms(draw_key, chosen, draws), whole[chosen])
    np.testing.assert_array_equal(uniforms(draw_key, [123], draws), whole[123:124])
    assert uniforms(draw_key, [], draws).shape == (0, draws)


def test_draws_of_different_images_are_different_numbers() -> None:
    drawn = bits(key(1, "augmentation", 2), np.arange(10_000), 6)
    assert len(np.unique(drawn)) == 60_000


def test_every_argument_moves_the_key() -> None:
    arguments = [(0, "order"), (1, "order"), (0, "split"), (0, "order", 0), (0, "order", 1), (0, "order", 0, 0)]
    arguments += [(0, "order", 1, 2), (0, "order", 2, 1), (0, "order", 12), (-1, "order"), (10, "order", 1)]
    keys = [key(*a) for a in arguments]
    assert len(set(keys)) == len(arguments)
    assert all(0 <= k < 2**63 for k in keys)


def test_equal_arguments_give_equal_keys() -> None:
    assert key(3, "order", 4) == key(3, "order", 4)


def test_uniforms_are_uniform() -> None:
    values = uniforms(key(5, "order", 0), np.arange(100_000))[:, 0]
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=100, range=(0, 1))[0]
    assert 60 < ((counts - 1000) ** 2 / 1000).sum() < 149  # chi-square with 99 degrees: 0.05 % on either side
    assert abs(values.mean() - 0.5) < 0.004
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01


def test_uniforms_of_neighbouring_epochs_are_not_related() -> None:
    first, second = (uniforms(key(5, "augmentation", epoch), np.arange(20_000))[:, 0] for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_a_permutation_is_one(n: int) -> None:
    order = permutation(key(9, "order", 0), n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_permutations_of_three_are_equally_frequent() -> None:
    orders = [tuple(permutation(key(0, "order", n), 3).tolist()) for n in range(3000)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 20  # chi-square with 5 degrees: 0.1 %
