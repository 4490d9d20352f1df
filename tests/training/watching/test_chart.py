"""The light chart: points where they belong, round ticks, a logarithmic scale only where it is needed."""

from __future__ import annotations

import re

import pytest

from fovea.training.watching.chart import HEIGHT, WIDTH, Line, Scale, chart, round_step, told


def points(drawn):
    return [
        [tuple(map(float, pair.split(","))) for pair in each.split()] for each in re.findall(r'points="([^"]+)"', drawn)
    ]


def ticks(drawn):
    return re.findall(r'text-anchor="end">([^<]+)<', drawn)


def test_a_higher_value_stands_higher_and_a_later_one_further_right():
    (line,) = points(chart("t", [1, 2, 3], [Line("", "--blue", [1.0, 3.0, 2.0])]))
    (x1, y1), (x2, y2), (x3, y3) = line
    assert x1 < x2 < x3
    assert y2 < y3 < y1
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)


@pytest.mark.parametrize("values", [[5.0], [0.0], [0.0, 0.0], [-1.0, -1.0], [1e-12, 1e12], [7, 7, 8], [100.0, 99.999]])
@pytest.mark.parametrize("floor", [False, True])
def test_everything_drawn_lies_within_and_there_are_ticks(values, floor):
    drawn = chart("t", list(range(1, len(values) + 1)), [Line("", "--blue", values)], floor=floor)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in points(drawn) for x, y in line)
    assert len(ticks(drawn)) >= 1
    assert "nan" not in drawn


def test_more_than_two_decades_are_drawn_logarithmically_unless_the_floor_is_wanted():
    values = [10.0, 0.1, 0.001]
    assert ticks(chart("t", [1, 2, 3], [Line("", "--blue", values)])) == ["0.001", "0.01", "0.1", "1", "10"]
    assert ticks(chart("t", [1, 2, 3], [Line("", "--blue", values)], floor=True))[0] == "0"
    assert "0.001" not in ticks(chart("t", [1, 2], [Line("", "--blue", [1.0, 0.02])]))


def test_many_points_are_thinned_for_the_pointer_but_not_in_the_line():
    count = 1000
    drawn = chart("t", list(range(1, count + 1)), [Line("a", "--blue", [float(n) for n in range(count)])])
    assert len(points(drawn)[0]) == count
    assert drawn.count("<circle") <= 50
    assert "a 999, epoch 1000" in drawn


def test_names_cannot_break_the_page():
    drawn = chart('<b>"&', [1], [Line("<i>", "--blue", [1.0])])
    assert "<b>" not in drawn
    assert "<i>" not in drawn


def test_steps_and_numbers_are_round():
    assert [round_step(least) for least in (0.03, 1.0, 1.1, 6.0, 20.0)] == pytest.approx([0.05, 1.0, 2.0, 10.0, 20.0])
    assert Scale(0.0, 1.0).ticks() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert len(Scale(1e-9, 1e9, logarithmic=True).ticks()) <= 8
    assert [told(value) for value in (0.123456, 12345.6, 1e-7)] == ["0.1235", "12,346", "1e-07"]
