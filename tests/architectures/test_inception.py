"""GoogLeNet's table row by row, the variants and options of the Inception family, and how its networks start."""

import itertools

import pytest
import torch

from fovea.architectures import bn_inception, googlenet, inception_v3
from fovea.architectures.catalogue import build
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.errors import ShapeError, UsageError

# fmt: off
PRINTED = {  # Table 1: parameters in thousands of 1,024, operations in millions
    "conv1": (2.7, 34), "conv2": (112, 360),
    "inception_3a": (159, 128), "inception_3b": (380, 304),
    "inception_4a": (364, 73), "inception_4b": (437, 88), "inception_4c": (463, 100), "inception_4d": (580, 119),
    "inception_4e": (840, 170), "inception_5a": (1072, 54), "inception_5b": (1388, 71), "linear": (1000, 1),
}
COUNTED = {  # weights, biases, multiply-adds, with the separable stem
    "conv1": (2712, 64, 34_019_328), "conv2": (114_688, 256, 359_661_568),
    "inception_3a": (163_328, 368, 128_049_152), "inception_3b": (388_096, 640, 304_267_264),
    "inception_4a": (375_552, 624, 73_608_192), "inception_4b": (448_512, 648, 87_908_352),
    "inception_4c": (509_440, 664, 99_850_240), "inception_4d": (604_672, 704, 118_515_712),
    "inception_4e": (867_328, 1024, 169_996_288), "inception_5a": (1_042_432, 1024, 51_079_168),
    "inception_5b": (1_442_816, 1264, 70_697_984), "linear": (1_024_000, 1000, 1_024_000),
}
# fmt: on
SLIPS = {"inception_4a", "inception_4c", "inception_4d", "inception_4e", "inception_5a", "inception_5b"}


def on_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def rows(network):
    """Weights, biases and multiply-adds of each weighted stage, each on the maps that reach it."""
    shapes = stage_shapes(network, in_channels=3, image_size=224)
    found, channels, side = {}, 3, 224
    for name, part in itertools.chain(network.features.named_children(), network.head.named_children()):
        biases = sum(p.numel() for key, p in part.named_parameters() if key.endswith("bias"))
        if parameters(part):
            alone = torch.nn.Sequential(torch.nn.Flatten(), part) if name == "linear" else part
            macs = multiply_adds(alone, in_channels=channels, image_size=side)
            found[name] = (parameters(part) - biases, biases, macs)
        channels, side = shapes[name][0], shapes[name][-1] if len(shapes[name]) == 3 else 1
    return found


def test_every_row_of_the_table_counts_what_its_filters_make():
    assert rows(on_meta("googlenet_separable_stem")) == COUNTED


def test_the_rows_that_follow_from_their_filters_are_the_printed_ones():
    for name in PRINTED.keys() - SLIPS:
        weights, _, macs = COUNTED[name]
        assert weights / 1024 == pytest.approx(PRINTED[name][0], rel=0.02), name
        assert macs / 1e6 == pytest.approx(PRINTED[name][1], rel=0.03), name


def test_the_rows_known_not_to_follow_do_not():
    # Printed for computed: 4a 364, 366.8; 4c 463, 497.5; 4d 580, 590.5; 4e 840, 847; 5a 1072, 1018; 5b 1388, 1409.
    away = {name: round(COUNTED[name][0] / 1024 - PRINTED[name][0], 2) for name in sorted(SLIPS)}
    assert away == {
        "inception_4a": 2.75,
        "inception_4c": 34.5,
        "inception_4d": 10.5,
        "inception_4e": 7.0,
        "inception_5a": -54.0,
        "inception_5b": 21.0,
    }
    macs = {name for name in PRINTED if abs(COUNTED[name][2] / 1e6 - PRINTED[name][1]) > 0.03 * PRINTED[name][1]}
    assert macs == {"inception_5a"}  # 54M for 51.1M


def test_the_columns_of_the_table_sum_to_what_the_text_rounds():
    assert sum(thousands for thousands, _ in PRINTED.values()) == pytest.approx(6797.7)
    assert sum(millions for _, millions in PRINTED.values()) == 1502
    weights, biases, macs = (sum(column) for column in zip(*COUNTED.values(), strict=True))
    assert (weights, weights + biases, macs) == (6_983_576, 6_991_856, 1_498_677_248)


def test_the_stem_read_as_a_dense_convolution_is_not_what_the_row_counts():
    assert rows(on_meta("googlenet"))["conv1"] == (9408, 64, 118_013_952)


@pytest.mark.parametrize(
    ("name", "counted"),
    [("googlenet", 13_378_280), ("googlenet_torchvision", 13_004_888), ("inception_v3", 27_161_264)],
)
def test_auxiliary_classifiers_count_only_when_they_are_there(name, counted):
    plain, with_auxiliary = on_meta(name), on_meta(name, auxiliary=True)
    assert parameters(with_auxiliary) == counted
    assert parameters(plain) == counted - sum(parameters(head) for head in with_auxiliary.auxiliary.children())
    assert not list(plain.auxiliary.children())


def test_the_auxiliary_classifiers_of_the_paper_add_8_million_multiply_adds():
    network = on_meta("googlenet", auxiliary=True)
    heads = network.auxiliary
    run = sum(
        multiply_adds(heads[name], in_channels=channels, image_size=14)
        for name, channels in (("inception_4a", 512), ("inception_4d", 528))
    )
    assert 1_582_671_872 + run == 1_591_044_096


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({}, (11_285_224, 2_032_600_064)),
        ({"projection": 96}, (11_194_984, 2_018_851_840)),
        ({"stem": "separable"}, (11_278_528, 1_948_605_440)),
        ({"stem": "separable", "projection": 96}, (11_188_288, 1_934_857_216)),
    ],
)
def test_each_reading_of_bn_inceptions_figure_is_counted(options, counted):
    network = on_meta("bn_inception", **options)
    assert (parameters(network), multiply_adds(network, in_channels=3, image_size=224)) == counted


def test_the_figures_outputs_need_projections_of_96():
    shapes = stage_shapes(on_meta("bn_inception_96"), in_channels=3, image_size=224)
    assert [shapes[f"inception_{name}"][0] for name in ("4c", "4d", "4e")] == [576, 576, 1024]


LEAST = {
    "googlenet": googlenet.LEAST,
    "googlenet_torchvision": googlenet.LEAST_TORCHVISION,
    "bn_inception": bn_inception.LEAST,
    "inception_v3": inception_v3.LEAST,
}


@pytest.mark.parametrize(("name", "stem"), [(name, stem) for name, stems in LEAST.items() for stem in stems])
def test_the_least_image_size_is_the_least_that_passes(name, stem):
    least = LEAST[name][stem]
    network = on_meta(name, stem=stem, image_size=least)
    assert network.eval()(torch.empty(1, 3, least, least, device="meta")).shape == (1, 1000)
    if least > 1:
        with pytest.raises(RuntimeError):
            network.features(torch.empty(1, 3, least - 1, least - 1, device="meta"))
        with pytest.raises(ShapeError, match=rf"image_size \(={least - 1}\) is too small .*; {least} is the least"):
            on_meta(name, stem=stem, image_size=least - 1)


@pytest.mark.parametrize(
    ("name", "stem", "least"),
    [
        *(("googlenet", *item) for item in googlenet.LEAST_WITH_AUXILIARY.items()),
        *(("inception_v3", *item) for item in inception_v3.LEAST_WITH_AUXILIARY.items()),
    ],
)
def test_the_least_image_size_with_auxiliary_classifiers_leaves_them_5_pixels(name, stem, least):
    network = on_meta(name, stem=stem, auxiliary=True, image_size=least)
    logits, auxiliary = network.forward_with_auxiliary(torch.empty(2, 3, least, least, device="meta"))
    assert {tuple(each.shape) for each in (logits, *auxiliary.values())} == {(2, 1000)}
    stage = next(iter(network.auxiliary))
    outputs = network.stage_outputs(torch.empty(2, 3, least - 1, least - 1, device="meta"), [stage])
    assert outputs[stage].shape[-1] == 4
    with pytest.raises(ShapeError, match=rf"image_size \(={least - 1}\)"):
        on_meta(name, stem=stem, auxiliary=True, image_size=least - 1)


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("size", [28, 32, 64])
def test_small_images_are_halved_only_within(name, size):
    network = on_meta(name, stem="small", image_size=size, num_classes=10)
    shapes = list(stage_shapes(network, in_channels=3, image_size=size).values())
    assert shapes[0][1:] == (size, size)
    last = next(shape for shape in reversed(shapes) if len(shape) == 3 and shape[-1] > 1)
    assert size // 4 - 1 <= last[-1] <= size // 4
    assert shapes[-1] == (10,)


def test_a_small_googlenet_learns_from_28_pixels_with_the_papers_own_auxiliary_classifiers():
    network = build("googlenet", stem="small", image_size=28, in_channels=1, num_classes=10, auxiliary=True, seed=0)
    assert network.auxiliary["inception_4a"].hidden.in_features == 2048  # 14 pixels reach it, as in the paper
    logits, auxiliary = network.forward_with_auxiliary(torch.randn(2, 1, 28, 28))
    (logits.sum() + sum(each.sum() for each in auxiliary.values())).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("size", [225, 229, 239])
def test_bn_inception_takes_odd_maps(size):
    network = on_meta("bn_inception", image_size=size)
    assert network(torch.empty(1, 3, size, size, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("name", LEAST)
def test_an_unknown_stem_is_refused(name):
    with pytest.raises(UsageError, match=r"stem \(='tiny'\) must be one of paper"):
        on_meta(name, stem="tiny")


@pytest.mark.parametrize("name", ["googlenet", "googlenet_torchvision", "inception_v3"])
@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(name, dropout):
    with pytest.raises(UsageError, match=rf"dropout \(={dropout}\) must be at least 0 and less than 1"):
        on_meta(name, dropout=dropout)


def test_an_impossible_projection_is_refused():
    with pytest.raises(UsageError, match=r"projection \(=100\)"):
        on_meta("bn_inception", projection=100)


def test_googlenet_starts_as_caffe_has_it():
    network = build("googlenet", auxiliary=True, seed=0)
    weight = network.features.inception_5b.three[1][0].weight
    bound = (3 / weight[0].numel()) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    head = network.auxiliary["inception_4a"]
    assert head.hidden.bias.unique().tolist() == head.conv[0].bias.unique().tolist() == [pytest.approx(0.2)]
    assert head.output.bias.abs().max() == network.head.linear.bias.abs().max() == 0


def test_inception_v3_starts_cut_at_two_standard_deviations():
    network = build("inception_v3", auxiliary=True, seed=0)
    head = network.auxiliary["mixed_6e"]
    starts = {
        0.1: network.features.mixed_6b.seven[1].conv.weight,
        0.01: head.conv.conv.weight,
        0.001: head.output.weight,
    }
    for std, weight in starts.items():
        assert weight.abs().max() <= 2 * std
        assert weight.std().item() == pytest.approx(0.88 * std, rel=0.02)  # what the cut leaves of it
    assert network.head.linear.weight.abs().max() <= 0.02
