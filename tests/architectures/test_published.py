"""The papers' numbers against the real modules: parameters, multiply-adds, stage shapes."""

import json
import os
from pathlib import Path

import pytest
import torch

from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.cost.count import multiply_adds, parameters, stage_shapes

NAMES = list_architectures()


def meta(name, **sizes):
    with torch.device("meta"):
        return build(name, **sizes)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    known, network = facts(name), meta(name)
    assert parameters(network) == known.parameters
    assert multiply_adds(network, in_channels=known.in_channels, image_size=known.image_size) == known.macs


@pytest.mark.parametrize("name", NAMES)
def test_the_shapes_leaving_the_stages_are_the_published_ones(name):
    known = facts(name)
    shapes = stage_shapes(meta(name), in_channels=known.in_channels, image_size=known.image_size)
    assert [(n, list(shapes[n])) for n in shapes if n in known.stages] == list(known.stages.items())


@pytest.mark.parametrize("name", NAMES)
def test_other_image_sizes_cost_what_is_published(name):
    for other in facts(name).at_other_sizes:
        network = meta(name, image_size=other["image_size"])
        assert parameters(network) == other["parameters"]
        assert multiply_adds(network, in_channels=1, image_size=other["image_size"]) == other["macs"]


@pytest.mark.parametrize("name", NAMES)
def test_printed_figures_are_recounted(name):
    network = meta(name)
    for what, number in facts(name).printed.items():
        place = what.removeprefix("parameters").removeprefix(" of ")
        children = dict(network.features.named_children()) | dict(network.head.named_children())
        assert parameters(children[place] if place else network) == number, what


def test_names_are_unique_and_every_builder_carries_its_name():
    assert len(set(NAMES)) == len(NAMES)
    assert all(facts(name).builder.endswith(f":{name}") for name in NAMES)


@pytest.mark.shared
def test_the_reference_records_say_the_same():
    reference = Path(os.environ.get("FOVEA_REFERENCE", Path(__file__).parents[3] / "shared/reference/networks.json"))
    if not reference.is_file():
        pytest.skip("the reference records are not beside the checkout")
    records = {record["id"]: record for record in json.loads(reference.read_text())}
    compared = [(facts(name), records[facts(name).record]) for name in NAMES if facts(name).record]
    assert len(compared) == 2
    for known, record in compared:
        assert (known.parameters, known.macs) == (record["params"]["measured"], record["macs"]["measured"])
        assert [known.in_channels, known.image_size, known.image_size] == record["input"]
