"""MnasNet in torchvision, whose mnasnet1_0 is B1, and timm, which calls B1 mnasnet and A1 semnasnet."""

from __future__ import annotations

from typing import Any

from fovea.architectures.mnasnet import NAMES, TABLES
from fovea.transfer.keys.mobile import layer_rules, timm_rules, unit_rules
from fovea.transfer.keys.rules import Rules

PEERS: dict[str, dict[str, str]] = {
    "torchvision": {"mnasnet_b1": "mnasnet1_0"},
    "timm": {"mnasnet_a1": "semnasnet_100", "mnasnet_b1": "mnasnet_100"},
}

# What our builder is called with to be theirs exactly.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision": {"mnasnet1_0": {"eps": 1e-5, "momentum": 3e-4}},
    "timm": {theirs: {"dropout": 0.0, "eps": 1e-5, "momentum": 0.1} for theirs in PEERS["timm"].values()},
}


def _torchvision() -> Rules:
    """They number layers, activations included; their first block stands open among them, at 3 to 7."""
    block = r"features\.block1\.0\.branch\."
    rules = unit_rules(r"features\.conv", "layers.0", "layers.1")
    rules += unit_rules(f"{block}depthwise", "layers.3", "layers.4")
    rules += unit_rules(f"{block}project", "layers.6", "layers.7")
    rows = len(TABLES["b1"].rows)
    for n in range(2, rows + 1):
        for part, conv in (("expand", 0), ("depthwise", 3), ("project", 6)):
            theirs = rf"layers.{6 + n}.\1.layers."
            rules += unit_rules(rf"features\.block{n}\.(\d+)\.branch\.{part}", f"{theirs}{conv}", f"{theirs}{conv + 1}")
    rules += unit_rules(r"features\.conv_last", f"layers.{7 + rows}", f"layers.{8 + rows}")
    return rules + layer_rules(r"head\.output", "classifier.1")


TORCHVISION: dict[str, Rules] = {"mnasnet_b1": _torchvision()}
TIMM: dict[str, Rules] = {
    f"mnasnet_{model}": timm_rules(NAMES, [row.expand for row in table.rows]) for model, table in TABLES.items()
}
