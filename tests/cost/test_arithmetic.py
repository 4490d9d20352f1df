"""The arithmetic of one layer, held against torch on the meta device and against windows laid by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fovea.cost.arithmetic import Extent, Layer, Maps, same_padding, work
from fovea.cost.chain import decimal, formula, memory, rounding
from fovea.errors import ShapeError
from fovea.layers.same_padding import SameAvgPool2d, SameMaxPool2d, SamePadConv2d
from fovea.layers.same_padding import same_padding as of_the_layers

pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731  # shorter than a def
sizes, kernels, strides, dilations = pairs(1, 40), pairs(1, 7), pairs(1, 5), pairs(1, 3)
paddings = st.tuples(pairs(0, 6), pairs(0, 6))


def of_torch(run):
    """The shape that torch gives, or None where it refuses."""
    try:
        return tuple(run().shape[1:])
    except RuntimeError:
        return None


def of_ours(layer, maps):
    try:
        return tuple(work(layer, maps).after)
    except ShapeError:
        return None


@settings(max_examples=400, deadline=None)
@given(size=sizes, kernel=kernels, stride=strides, dilation=dilations, padding=paddings)
@example(size=(227, 224), kernel=(11, 11), stride=(4, 4), dilation=(1, 1), padding=((2, 2), (2, 2)))
@example(size=(5, 40), kernel=(6, 1), stride=(1, 1), dilation=(1, 1), padding=((0, 0), (0, 0)))
def test_a_convolution_has_the_shape_that_torch_gives_or_both_refuse(size, kernel, stride, dilation, padding):
    images, weight = torch.empty(1, 1, *size, device="meta"), torch.empty(2, 1, *kernel, device="meta")
    expected = of_torch(
        lambda: F.conv2d(F.pad(images, (*padding[1], *padding[0])), weight, stride=stride, dilation=dilation)
    )
    layer = Layer(kind="conv", kernel=kernel, stride=stride, dilation=dilation, padding=padding, out_channels=2)
    assert of_ours(layer, Maps(1, *size)) == expected


@settings(max_examples=400, deadline=None)
@given(size=sizes, kernel=kernels, stride=strides, dilation=dilations, padding=pairs(0, 4), ceil=st.booleans())
@example(size=(3, 3), kernel=(2, 2), stride=(2, 2), dilation=(1, 1), padding=(1, 1), ceil=True)
@example(size=(1, 2), kernel=(2, 3), stride=(2, 2), dilation=(1, 1), padding=(0, 0), ceil=True)
def test_a_max_pooling_has_the_shape_that_torch_gives_or_both_refuse(size, kernel, stride, dilation, padding, ceil):
    images = torch.empty(1, 3, *size, device="meta")
    expected = of_torch(lambda: F.max_pool2d(images, kernel, stride, padding, dilation, ceil_mode=ceil))
    sides = tuple((side, side) for side in padding)
    layer = Layer(kind="max", kernel=kernel, stride=stride, dilation=dilation, padding=sides, ceil=ceil)
    assert of_ours(layer, Maps(3, *size)) == expected


@settings(max_examples=200, deadline=None)
@given(size=sizes, kernel=kernels, stride=strides, padding=pairs(0, 4), ceil=st.booleans())
def test_an_average_pooling_has_the_shape_that_torch_gives_or_both_refuse(size, kernel, stride, padding, ceil):
    images = torch.empty(1, 3, *size, device="meta")
    expected = of_torch(lambda: F.avg_pool2d(images, kernel, stride, padding, ceil_mode=ceil))
    sides = tuple((side, side) for side in padding)
    layer = Layer(kind="avg", kernel=kernel, stride=stride, padding=sides, ceil=ceil)
    assert of_ours(layer, Maps(3, *size)) == expected


@settings(max_examples=200, deadline=None)
@given(
    size=sizes,
    kernel=kernels,
    stride=strides,
    ins=st.integers(1, 4),
    outs=st.integers(1, 4),
    groups=st.integers(1, 4),
    bias=st.booleans(),
)
def test_parameters_and_multiply_adds_are_those_of_the_module(size, kernel, stride, ins, outs, groups, bias):
    assume(all(k <= n for k, n in zip(kernel, size, strict=True)))
    module = torch.nn.Conv2d(ins * groups, outs * groups, kernel, stride, groups=groups, bias=bias, device="meta")
    layer = Layer(kind="conv", kernel=kernel, stride=stride, groups=groups, out_channels=outs * groups, bias=bias)
    found = work(layer, Maps(ins * groups, *size))
    with FlopCounterMode(display=False) as counter:
        maps = module(torch.empty(1, ins * groups, *size, device="meta"))
    assert found.weights == module.weight.numel()
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert 2 * found.macs == counter.get_total_flops()
    assert (found.after.elements, found.after.bytes) == (maps.numel(), maps.nbytes)


def test_a_fully_connected_layer_sees_every_element():
    found = work(Layer(kind="fc", out_channels=10), Maps(16, 5, 4))
    module = torch.nn.Linear(16 * 5 * 4, 10, device="meta")
    assert (found.weights, found.biases) == (module.weight.numel(), module.bias.numel())
    assert found.macs == found.weights
    assert found.after == Maps(10, 1, 1)


def test_a_depthwise_convolution_takes_its_channels_from_the_input():
    found = work(Layer(kind="dw", kernel=(3, 3), padding="same"), Maps(32, 14, 14))
    module = torch.nn.Conv2d(32, 32, 3, groups=32, device="meta")
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert found.after == Maps(32, 14, 14)


def test_poolings_have_no_weights_and_keep_the_channels():
    for kind in ("max", "avg", "gap"):
        found = work(Layer(kind=kind, kernel=(2, 2), stride=(2, 2)), Maps(7, 6, 8))
        assert (found.parameters, found.macs) == (0, 0)
        assert found.after == (Maps(7, 1, 1) if kind == "gap" else Maps(7, 3, 4))


# --- TensorFlow's same -----------------------------------------------------------------------------------------------


@given(size=st.integers(1, 60), kernel=st.integers(1, 9), stride=st.integers(1, 6), dilation=st.integers(1, 3))
def test_same_pads_as_the_layers_do_and_gives_the_size_over_the_stride_rounded_up(size, kernel, stride, dilation):
    reach = dilation * (kernel - 1) + 1
    padding = same_padding(size, reach, stride=stride)
    assert padding == of_the_layers(size, kernel, stride=stride, dilation=dilation)
    axis = Extent(size=size, kernel=kernel, stride=stride, dilation=dilation, before=padding[0], after=padding[1])
    assert axis.output == -(-size // stride)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (225, 3, 2), (7, 2, 1), (28, 4, 3), (13, 2, 2)])
def test_same_is_what_the_layers_of_that_name_do(size, kernel, stride):
    images = torch.zeros(1, 2, size, size)
    told = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": "same"}
    modules = {
        "conv": SamePadConv2d(2, 2, kernel, stride=stride),
        "max": SameMaxPool2d(kernel, stride=stride),
        "avg": SameAvgPool2d(kernel, stride=stride),
    }
    for kind, module in modules.items():
        found = work(Layer(kind=kind, out_channels=2, **told), Maps(2, size, size))
        assert tuple(found.after) == module(images).shape[1:]


@given(size=st.integers(1, 30), kernel=st.integers(1, 7), dilation=st.integers(1, 3))
def test_full_is_wherever_the_kernel_touches_the_input(size, kernel, dilation):
    layer = Layer(kind="conv", kernel=(kernel, 1), dilation=(dilation, 1), padding="full")
    assert work(layer, Maps(1, size, 1)).after.height == size + dilation * (kernel - 1)


# --- what rounding costs ---------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 8),
    dilation=st.integers(1, 4),
    padding=pairs(0, 5),
    ceil=st.booleans(),
)
@example(size=14, kernel=1, stride=2, dilation=1, padding=(0, 0), ceil=False)
def test_what_is_left_lost_and_unseen_is_counted_pixel_by_pixel(size, kernel, stride, dilation, padding, ceil):
    before, after = padding
    try:
        told = {"size": size, "kernel": kernel, "stride": stride, "dilation": dilation, "ceil": ceil}
        axis = Extent(before=before, after=after, **told)
    except ShapeError:
        assume(False)
    met = {i * stride + j * dilation for i in range(axis.output) for j in range(kernel)}
    end = (axis.output - 1) * stride + dilation * (kernel - 1)  # the last pixel that the last window reaches
    own = range(before, before + size)
    assert axis.left == size + before + after - 1 - end
    assert axis.lost == sum(place > end for place in own)
    assert axis.unseen == sum(place not in met for place in own)


@pytest.mark.parametrize(
    ("told", "steps", "said"),
    [
        (
            {"size": 227, "kernel": 11, "stride": 4, "before": 2, "after": 2},
            "floor((227 + 2·2 − 11) / 4) + 1 = floor(220 / 4) + 1 = 55 + 1 = 56",
            "220 / 4 = 55 comes out exactly: nothing is left over",
        ),
        (
            {"size": 224, "kernel": 11, "stride": 4, "before": 2, "after": 2},
            "floor((224 + 2·2 − 11) / 4) + 1 = floor(217 / 4) + 1 = 54 + 1 = 55",
            "217 / 4 = 54.25 is rounded down: the last 1 pixel of 228 under no window, all padding",
        ),
        (
            {"size": 226, "kernel": 11, "stride": 4, "before": 1, "after": 1},
            "floor((226 + 2·1 − 11) / 4) + 1 = floor(217 / 4) + 1 = 54 + 1 = 55",
            "217 / 4 = 54.25 is rounded down: the last 1 pixel of 228 under no window, all padding",
        ),
        (
            {"size": 14, "kernel": 3, "stride": 4, "after": 2},
            "floor((14 + 0 + 2 − 3) / 4) + 1 = floor(13 / 4) + 1 = 3 + 1 = 4",
            "13 / 4 = 3.25 is rounded down: the last 1 pixel of 16 under no window, all padding; "
            "between windows and weights 3 pixels of 14 are never seen",
        ),
        (
            {"size": 30, "kernel": 3, "stride": 5, "after": 1},
            "floor((30 + 0 + 1 − 3) / 5) + 1 = floor(28 / 5) + 1 = 5 + 1 = 6",
            "28 / 5 = 5.6 is rounded down: the last 3 pixels of 31 under no window, 2 of them the input's own; "
            "between windows and weights 10 pixels of 30 are never seen",
        ),
        ({"size": 28, "kernel": 5}, "28 − 5 + 1 = 24", ""),
        ({"size": 28, "kernel": 3, "dilation": 2}, "28 − 5 + 1 = 24", ""),
        (
            {"size": 12, "kernel": 3, "stride": 2, "ceil": True},
            "ceil((12 − 3) / 2) + 1 = ceil(9 / 2) + 1 = 5 + 1 = 6",
            "9 / 2 = 4.5 is rounded up: the last window hangs 1 pixel over the end",
        ),
        (
            {"size": 3, "kernel": 2, "stride": 2, "before": 1, "after": 1, "ceil": True},
            "ceil((3 + 2·1 − 2) / 2) + 1 = ceil(3 / 2) + 1 = 2 + 1 = 3, less the window that would begin behind the "
            "input: 2",
            "3 / 2 = 1.5 is rounded down: the last 1 pixel of 5 under no window, all padding",
        ),
    ],
)
def test_the_formula_has_its_numbers_and_says_what_rounding_costs(told, steps, said):
    axis = Extent(**told)
    assert formula(axis) == steps
    assert rounding(axis) == said
    assert steps.endswith(str(axis.output))


# --- what prints -----------------------------------------------------------------------------------------------------

WORKED = """\
convolution 11×11, stride 4, padding 2: 227×227×3 → 56×56×64

size           floor((227 + 2·2 − 11) / 4) + 1 = floor(220 / 4) + 1 = 55 + 1 = 56
               220 / 4 = 55 comes out exactly: nothing is left over
output         56 · 56 · 64 = 200,704 elements
memory         200,704 · 4 bytes (float32) = 802,816 bytes: 784 KiB, or 802.8 kB
weights        11 · 11 · 3 · 64 = 23,232
parameters     23,232 + 64 biases = 23,296
multiply-adds  56 · 56 · 11 · 11 · 3 · 64 = 72,855,552, or 72.9 million
               73,056,256 with the addition of a bias for each element
FLOPs          2 · 72,855,552 = 145,711,104
batch of 32    6,422,528 elements: 24.5 MiB, or 25.7 MB; 2,331,377,664 multiply-adds"""

SAME = """\
max pooling 3×2, stride 2×1, padding same: 28×33×4 → 14×33×4

height         same: ceil(28 / 2) = 14, as TensorFlow has it, takes 0 before and 1 after
               floor((28 + 0 + 1 − 3) / 2) + 1 = floor(26 / 2) + 1 = 13 + 1 = 14
               26 / 2 = 13 comes out exactly: nothing is left over
width          same: ceil(33 / 1) = 33, as TensorFlow has it, takes 0 before and 1 after
               33 + 0 + 1 − 2 + 1 = 33
output         14 · 33 · 4 = 1,848 elements
memory         1,848 · 4 bytes (float32) = 7,392 bytes: 7.2 KiB, or 7.4 kB"""


def test_a_layer_prints_itself_step_by_step():
    told = {"kernel": (11, 11), "stride": (4, 4), "padding": ((2, 2), (2, 2)), "out_channels": 64}
    assert str(work(Layer(kind="conv", **told), Maps(3, 227, 227), batch_size=32)) == WORKED
    assert str(work(Layer(kind="max", kernel=(3, 2), stride=(2, 1), padding="same"), Maps(4, 28, 33))) == SAME


def test_without_biases_none_are_printed_and_no_addition_counted():
    text = str(work(Layer(kind="conv", kernel=(3, 3), out_channels=8, bias=False), Maps(4, 9, 9)))
    assert "288 + 0 biases = 288" in text
    assert "addition" not in text


def test_groups_and_dilation_are_printed():
    layer = Layer(kind="conv", kernel=(3, 3), dilation=(2, 2), groups=2, out_channels=8)
    text = str(work(layer, Maps(4, 9, 9)))
    assert text.startswith("convolution 3×3, stride 1, dilation 2, 2 groups: 9×9×4 → 5×5×8\n")
    assert "the kernel reaches over 2·(3 − 1) + 1 = 5 pixels" in text
    assert "3 · 3 · 2 · 8 = 144" in text


def test_without_output_channels_only_sizes_are_worked_out():
    found = work(Layer(kind="conv", kernel=(3, 3)), Maps(3, 9, 9))
    assert str(found).splitlines()[0] == "convolution 3×3, stride 1: 9×9×3 → 7×7"
    assert "weights" not in found.as_json()
    assert found.as_json()["output"] == {"channels": None, "height": 7, "width": 7}


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (999, "999 bytes"),
        (1000, "1000 bytes, or 1 kB"),
        (802_816, "784 KiB, or 802.8 kB"),
        (1_000_000, "976.6 KiB, or 1 MB"),
        (2**20, "1 MiB, or 1 MB"),
        (5 * 2**30, "5 GiB, or 5.4 GB"),
    ],
)
def test_memory_is_said_in_both_systems(count, said):
    assert memory(count) == said


def test_decimals_have_no_needless_digits():
    assert [decimal(value) for value in (55.0, 54.25, 1 / 3, 1234.5)] == ["55", "54.25", "0.333", "1234.5"]


# --- what does not fit -----------------------------------------------------------------------------------------------


def conv(**told):
    return Layer(kind="conv", **({"kernel": (3, 3), "out_channels": 64} | told))


@pytest.mark.parametrize(
    ("layer", "maps", "said"),
    [
        (
            conv(kernel=(11, 11)),
            Maps(3, 5, 5),
            r"the kernel \(=11\) must fit the padded input, and 5 − 11 = −6 is below 0: a kernel of 5, a size of 11 or "
            r"3 more padding on each side would do",
        ),
        (
            conv(dilation=(4, 4), padding=((1, 1), (1, 1))),
            Maps(3, 5, 5),
            r"the kernel \(=3, over 9 pixels with dilation 4\) .* 5 \+ 1 \+ 1 − 9 = −2 .* a size of 7 or 1 more",
        ),
        (
            conv(groups=4),
            Maps(30, 9, 9),
            r"in_channels \(=30\) must be divisible by groups \(=4\), and 30 / 4 = 7.5: 28 or 32 .* groups of 2",
        ),
        (
            conv(groups=3),
            Maps(9, 9, 9),
            r"out_channels \(=64\) must be divisible by groups \(=3\).*: 63 or 66 channels",
        ),
        (conv(groups=4), Maps(3, 9, 9), r"in_channels \(=3\) .* 3 / 4 = 0.75: 4 channels would do, or groups of 1"),
        (
            Layer(kind="max", kernel=(3, 3), padding=((2, 2), (2, 2))),
            Maps(3, 9, 9),
            r"the padding \(=2\) of a pooling must be at most half its kernel \(=3\).*: 1 would do",
        ),
        (conv(kernel=(0, 3)), Maps(3, 9, 9), r"kernel \(=0\) must be 1 or more"),
        (conv(stride=(1, 0)), Maps(3, 9, 9), r"stride \(=0\) must be 1 or more"),
        (conv(groups=0), Maps(3, 9, 9), r"groups \(=0\) must be 1 or more"),
        (conv(padding=((-1, 0), (0, 0))), Maps(3, 9, 9), r"padding \(=-1 and 0\) must be 0 or more"),
        (conv(), Maps(3, 0, 9), r"size \(=0\) must be 1 or more"),
        (conv(), Maps(0, 9, 9), r"in_channels \(=0\) must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers_and_what_would_do(layer, maps, said):
    with pytest.raises(ShapeError, match=said):
        work(layer, maps)


@settings(max_examples=200)
@given(
    size=st.integers(1, 10),
    kernel=st.integers(1, 12),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    ceil=st.booleans(),
)
def test_what_a_refusal_offers_does_fit(size, kernel, stride, dilation, ceil):
    told = {"size": size, "kernel": kernel, "stride": stride, "dilation": dilation, "ceil": ceil}
    try:
        Extent(**told)
        assume(False)
    except ShapeError as error:
        offer = str(error).split("below 0: ")[1].split()
    assert Extent(**told | {"kernel": int(offer[3].rstrip(","))}).output >= 1
    assert Extent(**told | {"size": int(offer[7])}).output == 1
    padding = int(offer[9])
    assert Extent(**told, before=padding, after=padding).output >= 1
