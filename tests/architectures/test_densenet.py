"""What is special about DenseNet: depths, the CIFAR forms, options, the small stem, how weights start."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build, facts
from fovea.architectures.densenet import DEPTHS, cifar_densenet, densenet
from fovea.cost.count import parameters
from fovea.errors import ShapeError, UsageError

RECORDS = Path(os.environ.get("FOVEA_REFERENCE", Path(__file__).parents[3] / "shared/reference/networks.json"))


def on_meta(builder, **options):
    with torch.device("meta"):
        return builder(**options)


def weighted(network):
    return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_depth_counts_the_layers_with_weights(depth):
    # The slip: the paper's 264 has 265.
    assert len(weighted(on_meta(densenet, depth=depth))) == (265 if depth == 264 else depth)


@pytest.mark.shared
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_records_have_the_same_blocks(depth):
    if not RECORDS.is_file():
        pytest.skip("the reference records are not beside the checkout")
    record = {r["id"]: r for r in json.loads(RECORDS.read_text())}[f"densenet{depth}"]
    assert DEPTHS[depth] == tuple(record["blocks"])
    assert facts(f"densenet{depth}").options.get("growth_rate", 32) == record["growth"]


@pytest.mark.parametrize(("depth", "bottleneck"), [(40, None), (100, None), (100, 4), (190, 4)])
def test_the_cifar_depth_counts_the_layers_with_weights(depth, bottleneck):
    assert len(weighted(on_meta(cifar_densenet, depth=depth, bottleneck=bottleneck))) == depth


def test_the_first_convolution_has_16_channels_but_twice_the_growth_rate_in_bc():
    widths = {
        (bottleneck, compression): on_meta(
            cifar_densenet, bottleneck=bottleneck, compression=compression
        ).features.conv.out_channels
        for bottleneck in (None, 4)
        for compression in (1.0, 0.5)
    }
    assert widths == {(None, 1.0): 16, (None, 0.5): 16, (4, 1.0): 16, (4, 0.5): 24}


def test_dropout_follows_every_convolution_but_the_first():
    kinds = [type(m) for m in on_meta(cifar_densenet, dropout=0.2).modules()]
    assert kinds.count(nn.Dropout) == kinds.count(nn.Conv2d) - 1
    assert kinds.index(nn.Dropout) > kinds.index(nn.BatchNorm2d)
    assert parameters(build("cifar_densenet_40_12", dropout=0.2)) == facts("cifar_densenet_40_12").parameters


def test_growth_rate_bottleneck_and_compression_are_arguments():
    network = on_meta(densenet, depth=(2, 3), growth_rate=8, bottleneck=2, compression=0.25, image_size=64)
    shape = (1, 3, 64, 64)
    outputs = network.stage_outputs(torch.empty(shape, device="meta"), ["dense_block1", "transition1", "norm"])
    assert [o.shape[1] for o in outputs.values()] == [16 + 2 * 8, 8, 8 + 3 * 8]
    assert network.features.dense_block1.layer1.conv1.out_channels == 16
    plain = on_meta(densenet, depth=(2, 3), growth_rate=8, bottleneck=None, image_size=64)
    assert all(m.kernel_size == (3, 3) for m in plain.features.dense_block1.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_small_stem_takes_small_images(size):
    network = on_meta(densenet, image_size=size, stem="small", num_classes=10)
    images = torch.empty(1, 3, size, size, device="meta")
    outputs = network.stage_outputs(images, ["conv", "norm"])
    assert outputs["conv"].shape == (1, 64, size, size)
    assert outputs["norm"].shape == (1, 1024, size // 8, size // 8)


def test_convolutions_start_by_hes_with_fan_out_and_the_output_bias_at_zero():
    network = build("cifar_densenet_bc_100_12", seed=0)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.weight[0, 0].numel()
            # Fewer weights scatter more: three standard errors.
            slack = max(0.05, 4 / module.weight.numel() ** 0.5)
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=slack), name
    bound = network.num_features**-0.5
    assert 0.9 * bound < network.head.output.weight.abs().max() <= bound
    assert not network.head.output.bias.any()


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("densenet121", {"depth": 122}, r"depth \(=122\) must be one of 121, 169, 201, 161, 264"),
        ("densenet121", {"depth": []}, "at least one block"),
        ("densenet121", {"compression": 0.0}, r"compression \(=0.0\)"),
        ("densenet121", {"dropout": 1.0}, r"dropout \(=1.0\)"),
        ("densenet121", {"stem": "tiny"}, r"stem \(='tiny'\) must be one of paper, small"),
        ("cifar_densenet_40_12", {"depth": 41}, r"depth \(=41\) must be 4 and a multiple of 3"),
        ("cifar_densenet_40_12", {"depth": 4}, r"depth \(=4\)"),
        ("cifar_densenet_bc_100_12", {"depth": 43}, r"depth \(=43\) must be 4 and a multiple of 6"),
    ],
)
def test_an_impossible_option_is_refused(name, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(name, **options)


@pytest.mark.parametrize("options", [{"growth_rate": 0}, {"bottleneck": 0}, {"depth": (2, 0)}])
def test_an_impossible_size_is_refused(options):
    with pytest.raises(ShapeError, match=r"\(=0\) must be 1 or more"):
        build("densenet121", **options)


@pytest.mark.parametrize(
    ("name", "size", "stage"), [("densenet121", 16, "transition3"), ("cifar_densenet_40_12", 3, "transition2")]
)
def test_an_image_too_small_names_the_stage_and_the_least_size(name, size, stage):
    with pytest.raises(
        ShapeError, match=rf"image_size \(={size}\) .* reach {stage} and none leave it; \d+ is the least"
    ):
        build(name, image_size=size)
