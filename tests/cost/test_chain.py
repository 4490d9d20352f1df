"""Layers one after another, held against the same layers as modules, and what the table says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fovea.architectures.catalogue import build
from fovea.cost.arithmetic import Layer, Maps
from fovea.cost.chain import chain
from fovea.cost.count import multiply_adds, parameters
from fovea.errors import ShapeError


def both(kernel=1, stride=1, padding=0, **more):
    """Settings of a layer that are the same along height and width."""
    return {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": ((padding,) * 2,) * 2} | more


def conv(channels, kernel, stride=1, padding=0, **more):
    return f"conv{kernel}", Layer(kind="conv", out_channels=channels, **both(kernel, stride, padding, **more))


def pool(kernel, stride, **more):
    return f"pool{kernel}", Layer(kind="max", **both(kernel, stride, **more))


def fc(units):
    return f"fc{units}", Layer(kind="fc", out_channels=units)


GAP = "gap", Layer(kind="gap")
ALEXNET = [
    conv(64, 11, 4, 2), pool(3, 2), conv(192, 5, 1, 2), pool(3, 2), conv(384, 3, 1, 1), conv(256, 3, 1, 1),
    conv(256, 3, 1, 1), pool(3, 2), fc(4096), fc(4096), fc(1000),
]  # fmt: skip
VGG16 = [
    layer
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    for layer in [conv(channels, 3, 1, 1)] * depth + [pool(2, 2)]
] + [fc(4096), fc(4096), fc(1000)]


@pytest.mark.parametrize(
    ("layers", "name", "size"), [(ALEXNET, "alexnet_one_tower", 227), (VGG16, "vgg16", 224)], ids=["alexnet", "vgg16"]
)
def test_a_network_as_a_chain_costs_what_it_costs_as_a_module(layers, name, size):
    with torch.device("meta"):
        network = build(name, image_size=size)
    found = chain(layers, Maps(3, size, size))
    assert found.parameters == parameters(network)
    assert found.macs == multiply_adds(network, in_channels=3, image_size=size)
    assert (found.weights, found.biases) == tuple(
        sum(p.numel() for name, p in network.named_parameters() if name.endswith(kind)) for kind in ("weight", "bias")
    )


def module_of(layer, maps):
    """The same layer as torch has it, for as many channels as there are."""
    pads = [layer.padding[1][0], layer.padding[1][1], layer.padding[0][0], layer.padding[0][1]]
    told = {"stride": layer.stride, "dilation": layer.dilation}
    if layer.kind == "max":
        return nn.MaxPool2d(layer.kernel, padding=(pads[2], pads[0]), ceil_mode=layer.ceil, **told)
    return nn.Sequential(
        nn.ZeroPad2d(pads), nn.Conv2d(maps[1], layer.out_channels, layer.kernel, groups=layer.groups, **told)
    )


sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
convolutions = st.builds(
    Layer,
    kind=st.just("conv"),
    kernel=pairs,
    stride=pairs,
    dilation=pairs,
    padding=st.tuples(sides, sides),
    groups=st.sampled_from([1, 2]),
    out_channels=st.sampled_from([2, 4, 6]),
)
poolings = st.builds(Layer, kind=st.just("max"), kernel=pairs, stride=pairs, ceil=st.booleans())


@settings(max_examples=100, deadline=None)
@given(
    layers=st.lists(convolutions | poolings, min_size=1, max_size=5), size=pairs.map(lambda s: (10 + s[0], 20 + s[1]))
)
def test_any_chain_has_the_shapes_and_costs_of_its_modules_or_both_refuse(layers, size):
    image, shapes, counted, macs = torch.empty(1, 2, *size, device="meta"), [], 0, 0
    maps = image
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        for layer in layers:
            module = module_of(layer, maps.shape)
            try:
                maps = module(maps)
            except RuntimeError:
                with pytest.raises(ShapeError, match=rf"^layer {len(shapes) + 1}, x, on \d+×\d+×\d+: the kernel"):
                    chain([("x", each) for each in layers], Maps(2, *size))
                return
            shapes.append(tuple(maps.shape[1:]))
            counted += sum(p.numel() for p in module.parameters())
        macs = counter.get_total_flops() // 2
    found = chain([("x", each) for each in layers], Maps(2, *size))
    assert [tuple(link.worked.after) for link in found.links] == shapes
    assert (found.parameters, found.macs) == (counted, macs)
    assert found.elements == sum(channels * height * width for channels, height, width in shapes)


def seen_by_gradient(layers, size):
    """How many pixels the middle unit sees along height and width, and how far its neighbour's field is shifted."""
    spans = []
    for offset in (0, 1):
        image = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)
        maps = image
        for _, layer in layers:
            weight = torch.ones(1, 1, *layer.kernel, dtype=torch.float64)
            told = {"stride": layer.stride, "padding": tuple(p[0] for p in layer.padding), "dilation": layer.dilation}
            maps = nn.functional.conv2d(maps, weight, **told)
        row, column = (side // 2 + offset for side in maps.shape[2:])
        maps[0, 0, row, column].backward()
        places = image.grad[0, 0].nonzero()
        spans.append([(int(axis.min()), int(axis.max())) for axis in places.T])
    return [(last - first + 1, other - first) for (first, last), (other, _) in zip(*spans, strict=True)]


def test_the_receptive_field_and_stride_are_those_that_gradients_show():
    layers = [
        conv(1, 3, 2, 1),
        ("conv3x5", Layer(kind="conv", kernel=(3, 5), dilation=(2, 1), out_channels=1)),
        ("conv2", Layer(kind="conv", kernel=(2, 2), stride=(1, 2), out_channels=1)),
        conv(1, 3, 1, 1),
    ]
    found = chain(layers, Maps(1, 90, 90))
    assert [(axis.size, axis.stride) for axis in found.links[-1].field] == seen_by_gradient(layers, (90, 90))


def test_the_receptive_fields_of_alexnet_and_vgg16_before_their_dense_layers():
    # 195 at stride 32 and 212 at stride 32: Araujo, Norris and Sim 2019, table 1.
    for layers, size, seen in ((ALEXNET, 227, 195), (VGG16, 224, 212)):
        found = chain(layers, Maps(3, size, size))
        last = [link for link in found.links if link.worked.layer.kind == "max"][-1]
        assert {(axis.size, axis.stride) for axis in last.field} == {(seen, 32)}


def test_what_pools_globally_or_is_fully_connected_sees_the_image_and_so_does_all_behind_it():
    found = chain([conv(4, 3), GAP, conv(8, 1), fc(2)], Maps(3, 9, 9))
    assert [len(link.field) for link in found.links] == [2, 0, 0, 0]
    assert found.as_json()["layers"][1]["receptive_field"] == "image"


# --- what prints -----------------------------------------------------------------------------------------------------

LENET = [conv(6, 5), pool(2, 2), conv(16, 5), pool(2, 2), fc(120), fc(84), fc(10)]
TABLE = """\
layer  output    elements   KiB  weights  biases  multiply-adds  field  stride
input  32×32×1      1,024   4.0
conv5  28×28×6      4,704  18.4      150       6        117,600      5       1
pool2  14×14×6      1,176   4.6        –       –              –      6       2
conv5  10×10×16     1,600   6.2    2,400      16        240,000     14       2
pool2  5×5×16         400   1.6        –       –              –     16       4
fc120  120            120   0.5   48,000     120         48,000  image       –
fc84   84              84   0.3   10,080      84         10,080  image       –
fc10   10              10   0.0      840      10            840  image       –
total               8,094  31.6   61,470     236        416,520

parameters     61,470 weights + 236 biases = 61,706
multiply-adds  416,520; FLOPs 2 · 416,520 = 833,040
feature maps   8,094 elements in float32: 31.6 KiB, or 32.4 kB
batch of 64    26,657,280 multiply-adds; feature maps 2 MiB, or 2.1 MB

share of         parameters          multiply-adds
convolutions          2,572   4.2 %        357,600  85.9 %
fully connected      59,134  95.8 %         58,920  14.1 %"""


def test_the_table_of_lenet():
    assert str(chain(LENET, Maps(1, 32, 32), batch_size=64)) == TABLE


def test_the_sums_of_the_table_are_those_of_its_rows():
    rows = [line.split() for line in TABLE.splitlines()[2:9]]
    whole = TABLE.splitlines()[9].split()
    for column, total in ((2, whole[1]), (4, whole[3]), (5, whole[4]), (6, whole[5])):
        assert sum(int(row[column].replace(",", "")) for row in rows if row[column] != "–") == int(
            total.replace(",", "")
        )
    shares = [line.split() for line in TABLE.splitlines()[-2:]]
    assert sum(float(row[-5]) for row in shares) == sum(float(row[-2]) for row in shares) == 100


def test_sides_that_differ_are_printed_both():
    layer = Layer(kind="conv", kernel=(3, 1), stride=(1, 2), out_channels=2)
    lines = str(chain([("conv3x1", layer)], Maps(1, 9, 9))).splitlines()
    assert lines[2].split() == ["conv3x1", "7×5×2", "70", "0.3", "6", "2", "210", "3×1", "1×2"]


def test_machines_get_every_layer_the_sums_and_the_shares():
    found = chain(LENET, Maps(1, 32, 32)).as_json()
    assert [layer["name"] for layer in found["layers"]] == [name for name, _ in LENET]
    for column in ("elements", "weights", "biases", "parameters", "macs", "bytes", "flops"):
        assert sum(layer[column] for layer in found["layers"]) == found["total"][column]
    assert sum(share["parameters"] for share in found["shares"].values()) == pytest.approx(1)
    assert sum(share["macs"] for share in found["shares"].values()) == pytest.approx(1)
    assert found["layers"][2]["receptive_field"][0]["size"] == 14


def test_layers_without_weights_share_nothing():
    text = str(chain([pool(2, 2)], Maps(3, 8, 8)))
    assert "convolutions              0  0.0 %" in text


def test_what_does_not_fit_says_in_which_layer():
    with pytest.raises(ShapeError, match=r"^layer 5, conv5, on 5×5×16: the kernel \(=7\) must fit .* 5 − 7 = −2"):
        chain([*LENET[:4], ("conv5", conv(4, 7)[1])], Maps(1, 32, 32))
