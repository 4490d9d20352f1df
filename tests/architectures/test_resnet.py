"""What is special about residual networks: depths counted, options, small stems, starts."""

import math

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.architectures.resnet import TABLE_1, imagenet_stem, residual_network
from fovea.architectures.senet import excited
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.errors import ShapeError, UsageError
from fovea.layers.batch_norm import estimate_statistics
from fovea.layers.pre_activation import PreActivation
from fovea.layers.residual import BasicBlock, PlainBlock, Residual
from fovea.layers.squeeze_excitation import SqueezeExcitation

OURS = ("resnet", "preact_resnet", "senet")
NAMES = [name for name in list_architectures() if facts(name).builder.split(":")[0] in OURS]
NUMBERED = [name for name in NAMES if "depth" in facts(name).options]


def meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def cost(name, **options):
    network, size = meta(name, **options), facts(name).image_size
    return parameters(network), multiply_adds(network, in_channels=3, image_size=size)


@pytest.mark.parametrize("name", NUMBERED)
def test_the_layers_on_the_longest_path_are_as_many_as_the_name_says(name):
    network = meta(name)
    weighted = (nn.Conv2d, nn.Linear)
    apart = [m for m in network.modules() if isinstance(m, SqueezeExcitation)]
    apart += [m.shortcut for m in network.modules() if isinstance(m, (Residual, PreActivation))]
    beside = {id(layer) for part in apart for layer in part.modules()}
    layers = [m for m in network.modules() if isinstance(m, weighted) and id(m) not in beside]
    assert len(layers) == facts(name).options["depth"]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet18", {"shortcut": "A"}, (11_515_688, 1_794_805_760)),
        ("resnet34", {"shortcut": "A"}, (21_623_848, 3_644_493_824)),
        ("resnet34", {"shortcut": "C"}, (22_716_840, 3_830_747_136)),
    ],
)
def test_the_shortcuts_of_the_comparison_cost_what_the_records_say(name, options, expected):
    assert cost(name, **options) == expected


@pytest.mark.parametrize(
    ("depth", "expected"), [(20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770), (110, 1_730_714)]
)
def test_projections_add_2752_parameters_on_cifar(depth, expected):
    projected, padded = (parameters(meta(f"cifar_resnet{depth}", shortcut=option)) for option in "BA")
    assert (projected, projected - padded) == (expected, 2_752)


def test_pre_activation_with_option_b_costs_what_the_records_say():
    assert parameters(meta("cifar_preact_resnet110", shortcut="B")) == 1_730_522


def test_the_printed_parameters_of_1001_layers_leave_out_the_normalisations():
    network = meta("cifar_preact_resnet1001")
    norms = sum(parameters(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert parameters(network) - norms == 10_178_490


@pytest.mark.parametrize(
    ("name", "expected"), [("se_resnet50", 16_048), ("se_resnet101", 34_544), ("se_resnet152", 50_864)]
)
def test_the_biases_of_the_excitations_are_as_many_as_in_the_release(name, expected):
    gates = [m for m in meta(name).modules() if isinstance(m, SqueezeExcitation)]
    assert sum(layer.bias.numel() for gate in gates for layer in (gate.reduce, gate.expand)) == expected


def strided(network):
    """The convolutions that step, shortcuts apart, by the end of their names."""
    return {
        name.rsplit("branch.")[-1].split(".")[0]
        for name, m in network.features.named_modules()
        if isinstance(m, nn.Conv2d) and m.stride != (1, 1) and "branch" in name
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("resnet50", "conv1"),
        ("resnet50_v1_5", "conv2"),
        ("se_resnet50", "conv1"),
        ("se_resnext50_32x4d", "conv2"),
        ("preact_resnet50", "conv2"),
        ("cifar_preact_resnet164", "conv1"),
    ],
)
def test_bottlenecks_stride_where_the_released_networks_do(name, place):
    assert strided(meta(name)) == {place}


def test_activations_are_shared_where_a_stage_begins():
    for name, places in (("preact_resnet50", "none"), ("cifar_preact_resnet164", "both")):
        first = meta(name).features.conv2_x[0]
        assert first.shared is (places == "both")
        assert isinstance(first.before, nn.Identity) is (places == "none")
    shared = [[block.shared for block in stage] for stage in list(meta("cifar_preact_resnet164").features)[1:4]]
    assert shared == [[True] + [False] * 17] * 3


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_v1_5", "plain18", "preact_resnet50", "se_resnet50"])
def test_a_small_stem_keeps_small_images(name):
    network = meta(name, stem="small", image_size=32, num_classes=10)
    shapes = stage_shapes(network, in_channels=3, image_size=32)
    assert [shapes[stage][1] for stage in ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")] == [32, 32, 16, 8, 4]
    assert "pool1" not in shapes
    assert network.features.conv1.conv.kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet18", {"depth": 19}, r"depth \(=19\) must be one of 18, 34, 50, 101, 152"),
        ("resnet50_v1_5", {"depth": 34}, r"depth \(=34\) has no bottlenecks.*take resnet34"),
        ("plain18", {"depth": 50}, r"depth \(=50\) of a plain network must be 18 or 34"),
        ("preact_resnet50", {"depth": 18}, r"depth \(=18\) must be one of 50, 101, 152, 200"),
        ("se_resnet50", {"depth": 34}, r"depth \(=34\) must be one of 50, 101, 152"),
        ("cifar_resnet20", {"depth": 21}, r"depth \(=21\) must be 6n \+ 2"),
        ("cifar_plain20", {"depth": 2}, r"depth \(=2\) must be 6n \+ 2"),
        ("cifar_preact_resnet164", {"depth": 111}, r"depth \(=111\) must be 9n \+ 2"),
        ("resnet18", {"shortcut": "D"}, r"shortcut \(='D'\) must be one of A .*, B .*, C "),
        ("resnet18", {"stem": "big"}, r"stem \(='big'\) must be paper or small"),
    ],
)
def test_impossible_options_are_refused(name, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        meta(name, **options)


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "se_resnext50_32x4d"])
def test_the_least_image_of_the_overhanging_pooling_is_named_and_works(name):
    with pytest.raises(ShapeError, match=r"image_size \(=2\) leaves pool1 nothing to pool; 3 is the least"):
        meta(name, image_size=2)
    assert meta(name, image_size=3)(torch.empty(2, 3, 3, 3, device="meta")).shape == (2, 1000)


def test_weights_start_as_he_has_it_by_fan_out():
    network = build("resnet18", seed=0)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 10_000]
    assert len(convolutions) > 15
    for convolution in convolutions:
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        assert convolution.weight.mean().item() == pytest.approx(0, abs=0.002)
    output = network.head.output
    assert output.weight.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)
    assert output.bias.abs().sum() == 0


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_v1_5", "cifar_resnet20", "se_resnet50"])
def test_the_last_gain_starts_at_one_or_on_request_at_zero(name):
    for asked in (False, True):
        network = build(name, zero_last_gamma=asked, image_size=32, seed=0)
        gains = {key: p for key, p in network.named_parameters() if key.endswith("norm.weight")}
        zeros = {key for key, gain in gains.items() if gain.abs().sum() == 0}
        last = "conv2" if name in ("resnet18", "cifar_resnet20") else "conv3"
        assert zeros == ({key for key in gains if f"branch.{last}" in key} if asked else set())
        assert all(gain.unique().numel() == 1 for gain in gains.values())


def test_any_block_can_be_passed_to_the_fold():
    network = residual_network(
        imagenet_stem(3, 64),
        lambda channels, width, *, stride=1: excited(BasicBlock, channels, width, stride=stride),
        TABLE_1[18].depths,
        num_classes=10,
        widths=(16, 32, 64, 128),
    )
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 10)
    with pytest.raises(UsageError, match="PlainBlock has no branch to end in squeeze-and-excitation"):
        excited(PlainBlock, 8, 8)


@pytest.mark.parametrize("name", ["cifar_resnet1202", "cifar_preact_resnet1001"])
@torch.no_grad()
def test_a_thousand_layers_explode_untrained_until_their_statistics_are_measured(name):
    # Each block doubles the variance where nothing is normalised yet: NaN, or nearly.
    network = build(name, seed=0).eval()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not network(images).abs().max() < 1e30
    estimate_statistics(network, [images])
    assert network(images).isfinite().all()
    assert network(images).abs().max() < 100
