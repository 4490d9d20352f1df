"""What is special about VGG: the paper's table, its starts, any block, divided channels, the small stem."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build, facts
from fovea.architectures.vgg import COLUMNS, vgg
from fovea.cost.count import multiply_adds, parameters
from fovea.errors import ShapeError, UsageError
from fovea.layers.local_response_norm import LocalResponseNorm

RECORDS = Path(os.environ.get("FOVEA_REFERENCE", Path(__file__).parents[3] / "shared/reference/networks.json"))
NAMES = {"vgg11": "A", "vgg11_lrn": "A-LRN", "vgg13": "B", "vgg16_c": "C", "vgg16": "D", "vgg19": "E"}


def on_meta(**options):
    with torch.device("meta"):
        return vgg(**options)


@pytest.mark.parametrize(("name", "column"), NAMES.items())
def test_the_table_gives_the_papers_number_of_weight_layers(name, column):
    assert facts(name).options["column"] == column
    depth = sum(len(kernels) for kernels in COLUMNS[column]) + 3
    assert depth == int(name[3:5])
    weighted = [m for m in on_meta(column=column).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth


def test_column_c_differs_from_d_in_three_1x1_convolutions():
    c, d = ([m.kernel_size for m in on_meta(column=x).modules() if isinstance(m, nn.Conv2d)] for x in ("C", "D"))
    assert d == [(3, 3)] * 13
    assert [n for n, kernel in enumerate(c) if kernel == (1, 1)] == [6, 9, 12]


def test_a_lrn_is_a_with_alexnets_normalisation_behind_the_first_convolution():
    stages = dict(on_meta(column="A-LRN").features.named_children())
    assert list(stages)[:3] == ["conv1", "lrn1", "pool1"]
    norm = stages["lrn1"]
    assert isinstance(norm, LocalResponseNorm)
    assert (norm.size, norm.alpha, norm.beta, norm.k) == (5, 1e-4, 0.75, 2.0)


@pytest.mark.shared
@pytest.mark.parametrize("record", ["vgg11_A", "vgg13_B", "vgg16_D", "vgg19_E"])
def test_the_records_count_the_normalised_forms_likewise(record):
    if not RECORDS.is_file():
        pytest.skip("the reference records are not beside the checkout")
    counts = {r["id"]: r for r in json.loads(RECORDS.read_text())}[record]["params"]["other_measured"]
    name = f"vgg{record[3:5]}_bn"
    with torch.device("meta"):
        network = build(name)
    assert parameters(network) == counts[f"torchvision {name}"] == counts["own build BN, conv biases kept"]
    biases = sum(m.bias.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
    assert parameters(network) - biases == counts["own build BN, no conv biases"]


def small(**options):
    return vgg(**{"num_classes": 10, "image_size": 32, "ratio": 4} | options)


def deviations(network):
    """The standard deviation of each convolution's and full layer's weights, times the root of its fan-in."""
    weighted = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert all(not m.bias.any() for m in weighted)
    return [(m.weight.std().item(), m.weight[0].numel(), m.weight.shape[0]) for m in weighted]


def test_column_a_starts_gaussian_and_its_biases_at_zero():
    torch.manual_seed(0)
    assert all(std == pytest.approx(0.01, rel=0.1) for std, _, _ in deviations(small(column="A")))


def test_deeper_columns_start_by_glorot():
    torch.manual_seed(0)
    network = small(column="E")
    for (std, fan_in, out), module in zip(
        deviations(network),
        (m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))),
        strict=True,
    ):
        fan_out = out * (module.weight[0, 0].numel() if module.weight.ndim == 4 else 1)
        assert std == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.1)


def test_torchvisions_start_is_he_by_fan_out_and_gaussian_in_full_layers():
    torch.manual_seed(0)
    found = deviations(small(column="A", start="he"))
    assert all(std == pytest.approx((2 / (9 * out)) ** 0.5, rel=0.15) for std, _, out in found[:8])
    assert all(std == pytest.approx(0.01, rel=0.1) for std, _, _ in found[8:])


def averaging(in_channels, out_channels, kernels, *, width):
    """A block of the user's own: grouped, and of another length than the table says."""
    assert all(kernel in (1, 3) for kernel in kernels)
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, width, padding=width // 2), nn.Sigmoid())


def test_any_block_may_be_passed_in():
    network = small(block=partial(averaging, width=5), column="D")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in convolutions] == [(5, 5)] * 5
    assert [m.out_channels for m in convolutions] == [16, 32, 64, 128, 128]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_ratio_divides_the_channels_and_leaves_the_full_layers():
    network = on_meta(column="A", ratio=4)
    assert network.features(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 128, 7, 7)
    assert network.num_features == 4096
    assert on_meta(ratio=64, image_size=32).features.conv1.conv1.out_channels == 1


@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_small_stem_takes_small_images_without_the_first_pooling(size):
    network = on_meta(column="A", image_size=size, num_classes=10, stem="small")
    assert "pool1" not in dict(network.features.named_children())
    assert network.features(torch.empty(1, 3, size, size, device="meta")).shape == (1, 512, size // 16, size // 16)


@pytest.mark.parametrize(("size", "stem", "least"), [(31, "paper", 32), (28, "paper", 32), (15, "small", 16)])
def test_an_image_too_small_names_the_stage_and_the_least_size(size, stem, least):
    with pytest.raises(
        ShapeError, match=rf"image_size \(={size}\) .*1 pixels a side reach pool5.* {least} is the least"
    ):
        build("vgg16", image_size=size, stem=stem)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"column": "F"}, r"column \(='F'\) must be one of A, A-LRN"),
        ({"ratio": 0}, r"ratio \(=0\) must be a whole number from 1 to 64"),
        ({"ratio": 65}, r"ratio \(=65\)"),
        ({"ratio": 0.5}, r"ratio \(=0.5\)"),
        ({"start": "she"}, r"start \(='she'\).*Did you mean he"),
        ({"stem": "tiny"}, r"stem \(='tiny'\) must be one of paper, small"),
    ],
)
def test_an_impossible_option_is_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        build("vgg16", **options)


def test_normalisation_costs_no_multiply_adds():
    costs = [multiply_adds(on_meta(column="A"), in_channels=3, image_size=224), facts("vgg11_bn").macs]
    assert costs[0] == costs[1]
