"""NASNet-A and AmoebaNet-A: genotypes, cells, drop path, auxiliary classifiers, stems, initialisation."""

import functools
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from fovea.architectures import amoebanet, nasnet
from fovea.architectures.catalogue import build, facts
from fovea.architectures.nasnet import cell_network
from fovea.cost.count import multiply_adds, parameters
from fovea.errors import ShapeError, UsageError
from fovea.layers.cell import Cell
from fovea.layers.drop_path import DropPath, schedule_drop_path

RECORDS = Path(os.environ.get("FOVEA_REFERENCE", Path(__file__).parents[3] / "shared/reference/networks.json"))
FAMILIES = {"nasnet_a_large": nasnet, "amoebanet_a_f190": amoebanet}
NAMES = (
    *("nasnet_a_large", "nasnet_a_mobile", "cifar_nasnet_a"),
    *("amoebanet_a_f190", "amoebanet_a_f448", "amoebanet_a_mobile", "cifar_amoebanet_a_f32", "cifar_amoebanet_a_f36"),
)


@functools.cache
def on_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def from_plan(plan, *, num_classes=10, image_size=32):
    with torch.device("meta"):
        return cell_network(plan, num_classes=num_classes, in_channels=3, image_size=image_size, auxiliary=False)


# Genotypes


@pytest.mark.shared
@pytest.mark.parametrize("name", FAMILIES)
def test_the_genotypes_are_those_of_the_records(name):
    if not RECORDS.is_file():
        pytest.skip("the reference records are not beside the checkout")
    record = {each["id"]: each for each in json.loads(RECORDS.read_text())}[name]["genotype"]
    for kind in ("normal", "reduction"):
        ours = getattr(FAMILIES[name], kind.upper())
        rows = [[left.operation, left.input, right.operation, right.input] for left, right in ours.pairs]
        assert rows == record[kind]
        assert list(ours.concat) == record[f"{kind}_concat"]
        if "raw" in record:  # the published code's own flags
            used = record["raw"][f"{kind}_used"]
            assert list(ours.concat) == [state for state, flag in enumerate(used) if not flag]
            assert [branch.input for pair in ours.pairs for branch in pair] == record["raw"][f"{kind}_idx"]


def test_the_texts_rule_would_concatenate_less_than_the_code():
    tables = (nasnet.NORMAL, nasnet.REDUCTION, amoebanet.NORMAL, amoebanet.REDUCTION)
    assert [table.unused for table in tables] == [(2, 3, 4, 5, 6), (4, 5, 6), (3, 4, 6), (3, 5, 6)]
    assert all(set(table.unused) < set(table.concat) for table in tables)


def test_amoebanet_by_the_texts_rule_is_not_the_network_of_the_paper():
    plan = amoebanet.PLANS["f190"]
    cells = {kind: getattr(plan, kind) for kind in ("normal", "reduction")}
    rule = plan._replace(**{kind: cell._replace(concat=cell.unused) for kind, cell in cells.items()})
    network = from_plan(rule, num_classes=1001, image_size=331)
    assert parameters(network) == 75_068_188
    assert multiply_adds(network, in_channels=3, image_size=331) == 20_026_759_377
    assert parameters(from_plan(rule._replace(filters=448), num_classes=1001)) == 405_802_129


def test_a_mutated_table_is_another_network():
    plan = nasnet.PLANS["cifar"]._replace(repeats=1, filters=4)
    left, right = plan.normal.pairs[0]
    mutant = plan.normal._replace(pairs=((left._replace(operation="1x7_7x1"), right), *plan.normal.pairs[1:]))
    assert hash(plan) != hash(plan._replace(normal=mutant))
    assert parameters(from_plan(plan)) != parameters(from_plan(plan._replace(normal=mutant)))


# What each kind of cell has


def separable(kernel, filters):
    return 2 * (kernel**2 * filters + filters**2 + 2 * filters)


def lines(filters):
    narrow = filters // 4
    return (filters * narrow + 2 * narrow) + 2 * (7 * narrow**2 + 2 * narrow) + (narrow * filters + 2 * filters)


OPERATIONS = {  # separable kernels of the normal and the reduction cell
    "nasnet": ((5, 3, 5, 3, 3), (5, 7, 7, 5, 3)),
    "amoebanet": ((3, 3, 5, 3), (3, 7, 3, 7)),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_the_parameters_counted_by_hand(name):
    network, family = on_meta(name), "nasnet" if "nasnet" in name else "amoebanet"
    outputs = {stage: shape[0] for stage, shape in facts(name).stages.items()}
    names = list(outputs)
    checked = 0
    for place, (stage, cell) in enumerate(network.features.named_children()):
        if place < 3:  # the stem, and the cell that has no previous map
            continue
        back = network.features.back[stage]
        reduces = cell.outgoing.channels != outputs[names[-1]] and stage.startswith(("reduction", "stem"))
        filters = cell.current.conv.out_channels
        inputs = (outputs[names[place - 1]] + outputs[names[place - back]] + 4) * filters
        expected = inputs + sum(separable(kernel, filters) for kernel in OPERATIONS[family][reduces])
        if reduces and family == "amoebanet":
            expected += lines(filters)
        assert parameters(cell) == expected, stage
        checked += 1
    assert checked == len(names) - 3


# fmt: off
KINDS = {  # first normal, later normal and reduction cell of the first and second stack
    "nasnet_a_large":        {"normal2": 650_832, "reduction0": 1_919_904, "normal6": 1_979_040, "normal8": 2_543_520},
    "nasnet_a_mobile":       {"normal2": 50_424,  "reduction0": 153_648,   "normal4": 147_312,   "normal6": 186_032},
    "cifar_nasnet_a":        {"normal2": 28_224,  "reduction0": 87_168,    "normal6": 81_024,    "normal8": 101_504},
    "amoebanet_a_f190":      {"normal2": 601_160, "reduction0": 2_028_440, "normal6": 2_213_120, "normal8": 2_357_520},
    "cifar_amoebanet_a_f32": {"normal2": 20_352,  "reduction0": 71_136,    "normal6": 69_376,    "normal8": 73_472},
}
# fmt: on


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_cell_costs_this(name):
    network = on_meta(name)
    assert {stage: parameters(getattr(network.features, stage)) for stage in KINDS[name]} == KINDS[name]


def test_the_large_nasnet_skips_the_map_before_a_reduction():
    assert on_meta("nasnet_a_large").features.back["normal6"] == 3
    assert on_meta("nasnet_a_mobile").features.back["normal4"] == 2
    assert on_meta("amoebanet_a_f190").features.back["normal6"] == 2


# Drop path


def test_nasnets_paths_are_dropped_more_often_with_depth_and_with_time():
    network = on_meta("nasnet_a_large")
    schedule_drop_path(network, 0.5)
    dropped = [cell.drop_path.drop_probability for cell in network.features if isinstance(cell, Cell)]
    assert dropped == pytest.approx([0.5 * 0.3 * n / 22 for n in range(1, 23)])  # 18 normal, 2 reduction, 2 stem cells


def test_amoebanets_paths_are_dropped_more_often_with_time_alone():
    network = on_meta("amoebanet_a_f190")
    schedule_drop_path(network, 1.0)
    assert {m.drop_probability for m in network.modules() if isinstance(m, DropPath)} == {0.3}


def test_the_mobile_nasnet_drops_nothing():
    network = on_meta("nasnet_a_mobile")
    schedule_drop_path(network, 1.0)
    assert {m.drop_probability for m in network.modules() if isinstance(m, DropPath)} == {0.0}


# Auxiliary classifiers


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("amoebanet_a_f190", 331, 87_672_034),
        ("amoebanet_a_f448", 299, 469_041_586),
        ("amoebanet_a_f448", 331, 469_213_813),
    ],
)
def test_with_its_auxiliary_classifier_it_has(name, size, expected):
    assert parameters(on_meta(name, image_size=size, auxiliary=True)) == expected


@pytest.mark.parametrize(("name", "size"), [("nasnet_a_mobile", 224), ("cifar_nasnet_a", 32), ("nasnet_a_large", 331)])
def test_the_auxiliary_classifier_gives_logits(name, size):
    network = on_meta(name, auxiliary=True)
    logits, auxiliary = network.forward_with_auxiliary(torch.empty(2, 3, size, size, device="meta"))
    stage = "normal7" if "mobile" in name else "normal11"
    assert {name: each.shape for name, each in auxiliary.items()} == {stage: logits.shape}


def test_the_auxiliary_classifier_costs_nothing_at_inference():
    networks = (on_meta("nasnet_a_mobile", auxiliary=each) for each in (True, False))
    assert len({multiply_adds(network, in_channels=3, image_size=224) for network in networks}) == 1


def test_the_auxiliary_classifier_needs_five_by_five_pixels():
    with pytest.raises(ShapeError, match=r"image_size \(=66\).*pools 5×5 pixels and gets 4×4; 67 is enough"):
        on_meta("nasnet_a_mobile", image_size=66, auxiliary=True)
    network = on_meta("nasnet_a_mobile", image_size=67, auxiliary=True)
    images = torch.empty(2, 3, 67, 67, device="meta")
    assert network.forward_with_auxiliary(images)[1]["normal7"].shape == (2, 1000)


# Stems, sizes, options


@pytest.mark.parametrize("name", ["nasnet_a_mobile", "amoebanet_a_mobile"])
@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_small_stem_keeps_small_images_large(name, size):
    network = on_meta(name, stem="small", image_size=size, num_classes=10).eval()
    images = torch.empty(1, 3, size, size, device="meta")
    outputs = network.stage_outputs(images, ["stem_conv", "normal3", "normal11"])
    assert [maps.shape[-1] for maps in outputs.values()] == [size, size, size // 4]
    assert network(images).shape == (1, 10)
    assert outputs["stem_conv"].shape[1] == 3 * (44 if "nasnet" in name else 50)


def test_a_stem_of_32_channels_is_not_cifars():
    for size, expected in (("cifar_f32", 2_548_682), ("cifar_f36", 3_198_962)):
        assert parameters(from_plan(amoebanet.PLANS[size]._replace(stem_channels=32))) == expected


@pytest.mark.parametrize("name", ["nasnet_a_large", "amoebanet_a_f190"])
def test_impossible_options_are_refused(name):
    with pytest.raises(UsageError, match=r"size \(='huge'\) must be one of"):
        on_meta(name, size="huge")
    with pytest.raises(UsageError, match=r"stem \(='tiny'\) must be 'paper' or 'small'"):
        on_meta(name, stem="tiny")


@pytest.mark.parametrize(("name", "least"), [("nasnet_a_mobile", 19), ("amoebanet_a_f190", 19), ("cifar_nasnet_a", 3)])
def test_the_smallest_image_leaves_two_pixels_for_the_last_factorised_reduction(name, least):
    with pytest.raises(ShapeError, match=rf"image_size \(={least - 1}\) must be {least} or more"):
        on_meta(name, image_size=least - 1)
    network, images = on_meta(name, image_size=least).eval(), torch.empty(1, 3, least, least, device="meta")
    last = "normal11" if name != "nasnet_a_mobile" else "normal7"  # before the second reduction
    assert network.stage_outputs(images, [last])[last].shape[-2:] == (2, 2)


# Initialisation


def test_weights_start_with_variance_two_over_the_fan_out_and_are_cut_off():
    network = build("cifar_nasnet_a", seed=0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 20_000:
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
            assert layer.weight.abs().max() <= 2 * (2.6 / fan_out) ** 0.5
    depthwise = network.features.normal17.pairs[0]["left"].first.depthwise.weight  # each kernel feeds one channel
    assert depthwise.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.05)
    assert network.head.output.bias.eq(0).all()


def test_normalisation_has_the_codes_constants():
    def constants(name):
        norms = (module for module in on_meta(name).modules() if isinstance(module, nn.BatchNorm2d))
        return {(norm.eps, norm.momentum) for norm in norms}

    assert constants("nasnet_a_large") == constants("amoebanet_a_f190") == {(1e-3, 3e-4)}
    assert constants("cifar_nasnet_a") == {(1e-5, 0.1)}
