"""The papers' numbers against the real modules: parameters, multiply-adds, stage shapes, printed figures."""

import json
import os
from pathlib import Path

import pytest
import torch

from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.cost.count import multiply_adds, parameters
from fovea.cost.verification import verify

NAMES = list_architectures()
RECORDS = Path(os.environ.get("FOVEA_REFERENCE", Path(__file__).parents[3] / "shared/reference/networks.json"))


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_the_published_one_or_off_by_the_explained_number(name):
    with torch.device("meta"):
        found = verify(facts(name), build(name))
    assert found.explained, str(found)
    assert {check.figure for check in found.checks} >= {"parameters", "macs", "stages"}
    known = set(facts(name).deviations)
    assert known == {check.figure for check in found.checks if check.reason}, "a deviation that is none any more"


@pytest.mark.parametrize("name", NAMES)
def test_other_image_sizes_cost_what_is_published(name):
    known = facts(name)
    for other in known.at_other_sizes:
        sizes = {key: other[key] for key in ("image_size", "in_channels", "num_classes") if key in other}
        with torch.device("meta"):
            network = build(name, **sizes)
        assert parameters(network) == other["parameters"]
        channels = other.get("in_channels", known.in_channels)
        assert multiply_adds(network, in_channels=channels, image_size=other["image_size"]) == other["macs"]


def test_names_and_records_are_unique():
    assert len(set(NAMES)) == len(NAMES)
    records = [facts(name).record for name in NAMES if facts(name).record]
    assert len(set(records)) == len(records)


@pytest.mark.shared
def test_the_reference_records_say_the_same():
    if not RECORDS.is_file():
        pytest.skip("the reference records are not beside the checkout")
    records = {record["id"]: record for record in json.loads(RECORDS.read_text())}
    for name in NAMES:
        known = facts(name)
        if known.record is None:
            continue
        record = records[known.record]
        macs = record.get("macs_v1_paper_strides", record["macs"]["measured"])
        assert (known.parameters, known.macs) == (record["params"]["measured"], macs), name
        assert [known.in_channels, known.image_size, known.image_size] == record["input"], name
