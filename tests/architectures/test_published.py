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
        network = build(name)
    found = verify(facts(name), network)
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


def changes(shapes):
    """A sequence of shapes without repetitions: sources differ in how they cut stages of one resolution and width."""
    return [shape for n, shape in enumerate(shapes) if n == 0 or shape != shapes[n - 1]]


@pytest.mark.shared
def test_every_reference_record_is_there_and_says_the_same():
    if not RECORDS.is_file():
        pytest.skip("the reference records are not beside the checkout")
    records = {record["id"]: record for record in json.loads(RECORDS.read_text()) if "params" in record}
    ours = {facts(name).record: facts(name) for name in NAMES if facts(name).record}
    assert ours.keys() == records.keys()
    assert len(ours) == 82
    for known in ours.values():
        record = records[known.record]
        macs = record.get("macs_v1_paper_strides", record["macs"]["measured"])
        assert (known.parameters, known.macs) == (record["params"]["measured"], macs), known.name
        assert [known.in_channels, known.image_size, known.image_size] == record["input"], known.name
        mine = changes(list(known.stages.values()))
        theirs = changes([shape for _, shape in record["stages"] if len(shape) == 3])
        if theirs[-1] == [mine[-1][0], 1, 1] and mine[-1] != theirs[-1]:
            theirs.pop()  # the pooling before the classifier belongs to our head
        assert mine == theirs, known.name
