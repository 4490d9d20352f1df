"""fovea list."""

from __future__ import annotations

import json

from fovea.architectures.catalogue import facts, list_architectures


def test_json_has_the_promised_keys_for_every_network(fovea):
    code, out, err = fovea("list", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["name"] for each in found] == list_architectures()
    assert all({"name", "year", "parameters", "macs", "image_size", "source"} <= each.keys() for each in found)
    lenet = next(each for each in found if each["name"] == "lenet5")
    assert (lenet["parameters"], lenet["macs"], lenet["image_size"]) == (61_706, 416_520, 32)


def test_a_pattern_chooses(fovea):
    _, out, _ = fovea("list", "lenet5*", "--json")
    assert [each["name"] for each in json.loads(out)] == list_architectures("lenet5*")


def test_the_table_has_a_line_for_each_network_with_its_facts(fovea):
    code, out, _ = fovea("list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["name", "year", "parameters"]
    assert [line.split()[0] for line in lines[1:]] == list_architectures()
    (line,) = [line for line in lines if line.startswith("lenet5 ")]
    assert f"{facts('lenet5').parameters:,}" in line
    assert "1×32²" in line
    assert all(line == line.rstrip() for line in lines)


def test_a_pattern_without_a_match_is_a_usage_error_with_the_close_name(fovea):
    code, out, err = fovea("list", "lenet55")
    assert (code, out) == (2, "")
    assert err.startswith("fovea: no network matches 'lenet55'. Did you mean ")
    assert "lenet5" in err
