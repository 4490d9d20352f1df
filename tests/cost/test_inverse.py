"""The question backwards, held against windows laid one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fovea.cost.arithmetic import Extent
from fovea.cost.inverse import inverse
from fovea.errors import ShapeError, UsageError


def laid(size, padding, *, reach, stride):
    """How many windows lie wholly inside, how many with one that may hang over, and what is left behind the last."""
    before, after = padding
    padded = size + before + after
    inside = [first for first in range(0, padded, stride) if first + reach <= padded]
    left = padded - (inside[-1] + reach) if inside else padded - reach
    following = inside[-1] + stride if inside else 0
    hangs = left and following < size + before and following + reach - padded < stride
    return len(inside), len(inside) + bool(hangs), left


def by_hand(output, kernel, *, stride, dilation):
    """Every solution, by trying every size and padding."""
    reach = dilation * (kernel - 1) + 1
    found = set()
    for total in range(2 * reach - 1):
        padding = (total // 2, total - total // 2)
        for size in range(1, output * stride + reach + 2):
            down, up, left = laid(size, padding, reach=reach, stride=stride)
            if down == output:
                found.add((size, *padding, "down" if left else "exactly", left))
            elif up == output:
                following = (output - 1) * stride + reach
                found.add((size, *padding, "up", size + total - following))
    return found


@settings(max_examples=150, deadline=None)
@given(output=st.integers(1, 9), kernel=st.integers(1, 6), stride=st.integers(1, 5), dilation=st.integers(1, 3))
def test_the_solutions_are_all_there_are(output, kernel, stride, dilation):
    found = inverse(output, kernel, stride=stride, dilation=dilation).solutions
    assert len(found) == len(set(found))
    assert {tuple(each) for each in found} == by_hand(output, kernel, stride=stride, dilation=dilation)


@settings(max_examples=150, deadline=None)
@given(
    output=st.integers(1, 9),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 5),
    size=st.integers(1, 40),
    data=st.data(),
)
def test_one_size_or_one_padding_gives_those_of_all_that_have_it(output, kernel, stride, size, data):
    everything = inverse(output, kernel, stride=stride).solutions
    padding = data.draw(st.sampled_from(sorted({each.padding for each in everything})))
    assert inverse(output, kernel, stride=stride, padding=padding).solutions == tuple(
        each for each in everything if each.padding == padding
    )
    chosen = tuple(each for each in everything if each.size == size)
    if chosen:
        assert inverse(output, kernel, stride=stride, size=size).solutions == chosen
    else:
        with pytest.raises(ShapeError, match=rf"gives {output} with kernel {kernel} and stride {stride} from {size}"):
            inverse(output, kernel, stride=stride, size=size)


def test_each_solution_worked_forwards_gives_the_output():
    for each in inverse(55, 11, stride=4).solutions:
        told = {"size": each.size, "before": each.before, "after": each.after, "ceil": each.rounding == "up"}
        axis = Extent(kernel=11, stride=4, **told)
        assert (axis.output, axis.left) == (55, each.left)


def test_the_puzzle_of_alexnet():
    found = {(each.size, each.before, each.after): each.rounding for each in inverse(55, 11, stride=4).solutions}
    assert found[227, 0, 0] == "exactly"
    assert found[224, 2, 2] == "down"
    assert found[224, 1, 2] == "exactly"
    assert found[224, 0, 0] == "up"  # rounded down it gives 54
    assert {each.padding for each in inverse(55, 11, stride=4, size=224).solutions if each.rounding != "up"} == {
        (1, 2), (2, 2), (2, 3), (3, 3)
    }  # fmt: skip


# --- what prints -----------------------------------------------------------------------------------------------------

SIZES = """\
Which sizes give 55 with kernel 11, stride 4?

55 = (n + padding − 11) / 4 + 1
exactly       where n + padding is 227
rounded down  where it is 228–230: 1–3 pixels at the end under no window
rounded up    where it is 224–226: the last window hangs 3–1 pixels over the end

padding   exactly  rounded down  rounded up
0             227       228–230     224–226
0 and 1       226       227–229     223–225
1             225       226–228     222–224
1 and 2       224       225–227     221–223
2             223       224–226     220–222
"""
REST = """\
9 and 10      208       209–211           –
10            207       208–210           –

same (TensorFlow's): ceil(n / 4) = 55 for 217–220, with 10–7 pixels of padding in all
rounded up, a window that would begin in the padding behind the input is dropped

AlexNet's paper has 224 pixels here, gives 55, and names no padding:
  224 with padding 0: (224 + 0 − 11) / 4 + 1 = 54.25, so 54 rounded down
  224 with padding 1: (224 + 2 − 11) / 4 + 1 = 54.75, so 54 rounded down
  224 with padding 2: (224 + 4 − 11) / 4 + 1 = 55.25, so 55 rounded down
  227 with padding 0: (227 + 0 − 11) / 4 + 1 = 55 exactly"""
PADDINGS = """\
Which paddings of 224 give 55 with kernel 11, stride 4?

padding  (224 + padding − 11) / 4 + 1  rounding
0        54.25                         rounded up: the last window hangs 3 pixels over the end
0 and 1  54.5                          rounded up: the last window hangs 2 pixels over the end
1        54.75                         rounded up: the last window hangs 1 pixel over the end
1 and 2  55                            comes out exactly
2        55.25                         rounded down: the last 1 pixel under no window, all padding
2 and 3  55.5                          rounded down: the last 2 pixels under no window, all padding
3        55.75                         rounded down: the last 3 pixels under no window, all padding

same (TensorFlow's) gives ceil(224 / 4) = 56
"""
STEPS = """\
Which sizes give 26 with kernel 2, stride 1, dilation 2?

26 = n + padding − 3 + 1, so n + padding = 28

padding  exactly
0             28
0 and 1       27
1             26
1 and 2       25
2             24"""
ONE = """\
Which sizes give 27 with kernel 3, stride 2?

27 = (n + padding − 3) / 2 + 1
exactly       where n + padding is 55
rounded down  where it is 56: 1 pixel at the end under no window
rounded up    where it is 54: the last window hangs 1 pixel over the end

padding  exactly  rounded down  rounded up
1             53            54          52"""


def test_sizes_are_printed_in_ranges_by_padding_and_alexnet_is_explained():
    text = str(inverse(55, 11, stride=4))
    assert text.startswith(SIZES)
    assert text.endswith(REST)
    table = text.split("\n\n")[2].splitlines()
    assert len(table) == 1 + 2 * 10 + 1  # heads, and paddings of 0 to 20 pixels in all


def test_paddings_of_a_size_are_printed_with_what_each_rounds():
    assert str(inverse(55, 11, stride=4, size=224)).startswith(PADDINGS)


def test_at_stride_1_nothing_is_rounded():
    assert str(inverse(26, 2, dilation=2)) == STEPS


def test_one_padding_is_one_line():
    assert str(inverse(27, 3, stride=2, padding=(1, 1))) == ONE


def test_machines_get_what_was_asked_and_every_solution():
    found = inverse(2, 2, stride=2, size=4).as_json()
    assert {name: found[name] for name in ("output", "kernel", "stride", "dilation", "size")} == {
        "output": 2, "kernel": 2, "stride": 2, "dilation": 1, "size": 4,
    }  # fmt: skip
    assert found["solutions"] == [
        {"size": 4, "before": 0, "after": 0, "rounding": "exactly", "left": 0},
        {"size": 4, "before": 0, "after": 1, "rounding": "down", "left": 1},
    ]
    assert "size" not in inverse(2, 2).as_json()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            {"output": 55, "kernel": 11, "stride": 4, "size": 100},
            r"no padding from 0 to 10 gives 55 with kernel 11 and stride 4 from 100, which comes to 89 / 4 \+ 1 = "
            r"23.25 and 109 / 4 \+ 1 = 28.25; sizes from 207 to 230 would do$",
        ),
        (
            {"output": 55, "kernel": 11, "stride": 4, "size": 227, "padding": (3, 3)},
            r"no rounding with padding 3 .* from 227, which comes to 222 / 4 \+ 1 = 56.5; sizes from 218 to 224 "
            r"would do$",
        ),
        (
            {"output": 1, "kernel": 3, "padding": (50, 50)},
            r"no rounding with padding 50 gives 1 .* from a size of 1 or more: the padding alone gives more",
        ),
        ({"output": 0, "kernel": 3}, r"output \(=0\) must be 1 or more"),
        ({"output": 3, "kernel": 0}, r"kernel \(=0\) must be 1 or more"),
    ],
)
def test_what_nothing_gives_is_refused_with_what_is_near(told, said):
    with pytest.raises(ShapeError, match=said):
        inverse(told.pop("output"), told.pop("kernel"), **told)


def test_what_would_fill_pages_is_refused():
    with pytest.raises(UsageError, match=r"kernel times stride \(=501 · 20 pixels\) must be at most 10,000"):
        inverse(3, 501, stride=20)
