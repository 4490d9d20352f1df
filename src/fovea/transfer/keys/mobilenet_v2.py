"""MobileNetV2 in torchvision and timm."""

from __future__ import annotations

from typing import Any

from fovea.architectures.mobilenet_v2 import NAMES, TABLE
from fovea.transfer.keys import Rules
from fovea.transfer.keys.mobile import layer_rules, timm_rules, unit_rules

PEERS: dict[str, dict[str, str]] = {
    "torchvision": {"mobilenet_v2": "mobilenet_v2"},
    "timm": {
        "mobilenet_v2_0_35": "mobilenetv2_035",
        "mobilenet_v2_0_5": "mobilenetv2_050",
        "mobilenet_v2_0_75": "mobilenetv2_075",
        "mobilenet_v2": "mobilenetv2_100",
        "mobilenet_v2_1_4": "mobilenetv2_140",
    },
}

# What our builder is called with to be theirs exactly.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision": {"mobilenet_v2": {"eps": 1e-5, "momentum": 0.1}},
    "timm": {theirs: {"dropout": 0.0, "eps": 1e-5, "momentum": 0.1} for theirs in PEERS["timm"].values()},
}


def _torchvision() -> Rules:
    """Their blocks stand in one row, without regard to stages, and number their layers with or without expansion."""
    rules, block = unit_rules(r"features\.conv", "features.0.0", "features.0.1"), 0
    for n, row in enumerate(TABLE.rows, start=1):
        for layer in range(row.layers):
            block += 1
            ours, theirs = rf"features\.bottleneck{n}\.{layer}\.branch\.", f"features.{block}.conv."
            parts = ("expand", "depthwise") if row.expand > 1 else ("depthwise",)
            for i, part in enumerate(parts):
                rules += unit_rules(ours + part, f"{theirs}{i}.0", f"{theirs}{i}.1")
            rules += unit_rules(f"{ours}project", f"{theirs}{len(parts)}", f"{theirs}{len(parts) + 1}")
    rules += unit_rules(r"features\.conv_last", f"features.{block + 1}.0", f"features.{block + 1}.1")
    return rules + layer_rules(r"head\.output", "classifier.1")


TORCHVISION: dict[str, Rules] = dict.fromkeys(PEERS["torchvision"], _torchvision())
TIMM: dict[str, Rules] = dict.fromkeys(PEERS["timm"], timm_rules(NAMES, [row.expand for row in TABLE.rows]))
