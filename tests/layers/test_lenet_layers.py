"""The building blocks of LeNet-5 of 1998, each against an independent computation."""

import math

import pytest
import torch
from torch.nn import functional as F

from fovea.architectures.lenet import C3_TABLE
from fovea.errors import ModelError, ShapeError, UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.partial_convolution import PartialConv2d
from fovea.layers.radial_basis import DIGIT_BITMAPS, RadialBasisOutput, digit_codes
from fovea.layers.scaled_tanh import ScaledTanh
from fovea.layers.trainable_subsampling import TrainableSubsampling


def test_scaled_tanh_passes_through_plus_and_minus_one():
    values = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0, 100.0]))
    assert values.tolist() == pytest.approx([-1.0, 0.0, 1.0, 1.7159], abs=2e-5)


def test_subsampling_is_sum_times_coefficient_plus_bias():
    layer = TrainableSubsampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    expected = torch.stack(
        [
            torch.tensor([[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]) * 2.0 + 0.5,
            torch.tensor([[16 + 17 + 20 + 21, 18 + 19 + 22 + 23], [24 + 25 + 28 + 29, 26 + 27 + 30 + 31]]) * -1.0,
        ]
    )
    assert torch.equal(layer(maps)[0], expected)


def test_subsampling_starts_as_mean_pooling():
    maps = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(TrainableSubsampling(4)(maps), F.avg_pool2d(maps, 2), atol=1e-6)


def test_partial_convolution_sees_only_the_maps_of_its_table():
    layer = PartialConv2d(6, C3_TABLE, 5)
    maps = torch.randn(2, 6, 14, 14, generator=torch.Generator().manual_seed(1))
    outputs, start = [], 0
    for i, row in enumerate(C3_TABLE):
        weight = layer.weight[start : start + len(row)].unsqueeze(0)
        outputs.append(F.conv2d(maps[:, list(row)], weight, layer.bias[i : i + 1]))
        start += len(row)
    assert torch.allclose(layer(maps), torch.cat(outputs, dim=1), atol=1e-5)


def test_absent_connections_carry_neither_signal_nor_gradient():
    layer = PartialConv2d(3, [(0,), (1, 2)], 3)
    maps = torch.zeros(1, 3, 3, 3, requires_grad=True)
    layer(maps)[0, 0].sum().backward()
    assert maps.grad is not None
    assert maps.grad[0, 1:].abs().sum() == 0
    assert maps.grad[0, 0].abs().sum() > 0


@pytest.mark.parametrize(
    ("table", "sentence"),
    [([], "at least one input map"), ([(0,), ()], "at least one input map"), ([(0, 6)], r"input maps \[6\]")],
)
def test_an_impossible_connection_table_is_refused(table, sentence):
    with pytest.raises(ShapeError, match=sentence):
        PartialConv2d(6, table, 5)


def test_digit_codes_are_twelve_rows_of_seven_pixels_and_far_apart():
    assert all(len(row) == 7 for bitmap in DIGIT_BITMAPS for row in bitmap.split())
    assert all(len(bitmap.split()) == 12 for bitmap in DIGIT_BITMAPS)
    codes = digit_codes()
    distances = (codes[:, None] - codes).square().sum(-1)
    assert distances[~torch.eye(10, dtype=torch.bool)].min() >= 4 * 10  # at least ten pixels differ


def test_radial_basis_output_is_minus_the_squared_distance():
    layer = RadialBasisOutput(84, 10)
    logits = layer(layer.codes)
    assert torch.equal(logits.argmax(dim=1), torch.arange(10))
    assert torch.equal(logits.diagonal(), torch.zeros(10))
    assert torch.allclose(logits, -torch.cdist(layer.codes, layer.codes).square(), atol=1e-3)


def test_radial_basis_codes_for_other_sizes_are_the_same_each_time():
    torch.manual_seed(5)
    first = RadialBasisOutput(20, 7).codes
    torch.manual_seed(6)
    assert torch.equal(first, RadialBasisOutput(20, 7).codes)
    assert set(first.unique().tolist()) == {-1.0, 1.0}
    assert not list(RadialBasisOutput(20, 7).parameters())


def test_radial_basis_output_names_the_lengths_that_disagree():
    with pytest.raises(ShapeError, match="length 5, but the codes have 84"):
        RadialBasisOutput(84, 10)(torch.zeros(1, 5))


def small_network() -> ConvNet:
    stages = {"stem": torch.nn.Conv2d(3, 4, 3), "last": torch.nn.Conv2d(4, 5, 3)}
    head = {"pool": torch.nn.AdaptiveAvgPool2d(1), "flatten": torch.nn.Flatten(), "output": torch.nn.Linear(5, 7)}
    return ConvNet(stages, head=head, in_channels=3)


def test_stage_outputs_come_by_name_and_stop_early():
    network, images = small_network(), torch.randn(2, 3, 8, 8)
    ran = []
    network.features.last.register_forward_hook(lambda *_: ran.append("last"))
    outputs = network.stage_outputs(images, ["stem"])
    assert list(outputs) == ["stem"]
    assert torch.equal(outputs["stem"], network.features.stem(images))
    assert ran == []
    both = network.stage_outputs(images, ["last", "stem"])
    assert list(both) == ["stem", "last"]
    assert torch.equal(network.head(both["last"]), network(images))


def test_an_unknown_stage_is_named_with_its_neighbours():
    with pytest.raises(UsageError, match=r"no stage is called lost; there are stem, last. Did you mean last"):
        small_network().stage_outputs(torch.zeros(1, 3, 8, 8), ["lost"])


def test_wrong_channels_are_named_with_the_remedy():
    with pytest.raises(ShapeError, match="images have 1 channels, but the network takes in_channels=3"):
        small_network()(torch.zeros(1, 1, 8, 8))


def test_reset_head_changes_the_number_of_classes_alone():
    network = small_network()
    stem = network.features.stem.weight.clone()
    network.reset_head(3)
    assert (network.num_classes, network.num_features) == (3, 5)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    assert torch.equal(network.features.stem.weight, stem)


def test_a_head_that_cannot_be_replaced_says_so():
    network = ConvNet({"stem": torch.nn.Conv2d(1, 1, 1)}, head={"output": torch.nn.Flatten()}, in_channels=1)
    with pytest.raises(ModelError, match="give it resized"):
        network.reset_head(3)


def test_partial_convolution_starts_within_its_bound():
    layer = PartialConv2d(6, C3_TABLE, 5, bound=lambda fan_in: 2.4 / fan_in)
    assert layer.weight[:3].abs().max() <= 2.4 / 75
    assert layer.weight[:3].abs().max() > 0.8 * 2.4 / 75
    assert layer.weight[-6:].abs().max() <= 2.4 / 150
    assert math.isclose(layer.weight.mean().item(), 0, abs_tol=2.4 / 75 / 10)
