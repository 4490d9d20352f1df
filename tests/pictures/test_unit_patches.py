"""Blocks of patches."""

import numpy as np
import pytest

from fovea.errors import DataError
from fovea.pictures.unit_patches import GAP, SIDE, Patches, block, draw, unit_patches


def patch(value, *shape):
    return np.full(shape or (4, 4, 3), value, np.uint8)


def test_patches_fill_a_square_row_by_row():
    found = block([patch(value) for value in (10, 20, 30, 40, 50)])
    assert found.shape == (2 * SIDE + GAP, 3 * SIDE + 2 * GAP, 3)
    assert found[5, 5, 0] == 10
    assert found[5, SIDE + GAP + 5, 0] == 20
    assert found[SIDE + GAP + 5, 5, 0] == 40
    assert found[SIDE + GAP + 5, -5, 0] == 255  # none is left


def test_one_that_is_not_square_keeps_its_proportions_on_grey():
    found = block([patch(0, 2, 4)])
    assert found[SIDE // 2, SIDE // 2, 0] == 0
    assert found[2, SIDE // 2, 0] == 230
    assert block([patch(7, 200, 200, 1)]).max() == 7


def test_each_unit_has_its_block_and_its_words():
    units = [Patches(f"unit {number}", [patch(number)], "1 to 0.5") for number in range(5)]
    figure = draw(units, title="t")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.images] == [f"unit {n}" for n in range(5)]
    assert unit_patches(units, title="t") == unit_patches(units, title="t")


@pytest.mark.parametrize("units", [[], [Patches("unit 0", [])]])
def test_nothing_to_draw_is_refused(units):
    with pytest.raises(DataError, match="there is no patch to draw"):
        unit_patches(units, title="t")
