"""MobileNetV2 in torchvision, timm and Keras."""

from __future__ import annotations

from typing import Any

from fovea.architectures.mobilenet_v2 import NAMES, TABLE
from fovea.transfer.keys.changes import DENSE, DEPTHWISE, KERNELS, Changes
from fovea.transfer.keys.keras import norm_rules, weight_rules
from fovea.transfer.keys.mobile import layer_rules, timm_rules, unit_rules
from fovea.transfer.keys.rules import Rules

PEERS: dict[str, dict[str, str]] = {
    "torchvision": {"mobilenet_v2": "mobilenet_v2"},
    "timm": {
        "mobilenet_v2_0_35": "mobilenetv2_035",
        "mobilenet_v2_0_5": "mobilenetv2_050",
        "mobilenet_v2_0_75": "mobilenetv2_075",
        "mobilenet_v2": "mobilenetv2_100",
        "mobilenet_v2_1_4": "mobilenetv2_140",
    },
    "keras": {
        "mobilenet_v2": "MobileNetV2",
        **{
            f"mobilenet_v2_{width.replace('.', '_')}": f"MobileNetV2(alpha={width})"
            for width in ("0.35", "0.5", "0.75", "1.3", "1.4")
        },
    },
}

# What our builder is called with to be theirs exactly.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision": {"mobilenet_v2": {"eps": 1e-5, "momentum": 0.1}},
    "timm": {theirs: {"dropout": 0.0, "eps": 1e-5, "momentum": 0.1} for theirs in PEERS["timm"].values()},
    "keras": {theirs: {"padding": "same", "dropout": 0.0, "momentum": 1e-3} for theirs in PEERS["keras"].values()},
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


def _keras() -> Rules:
    """Their first block has a name of its own, the others count from 1 without regard to stages."""
    rules, block = weight_rules(r"features\.conv\.conv", "Conv1") + norm_rules(r"features\.conv\.norm", "bn_Conv1"), 0
    for n, row in enumerate(TABLE.rows, start=1):
        for layer in range(row.layers):
            theirs = f"block_{block}" if block else "expanded_conv"
            block += 1
            for part in ("expand", "depthwise", "project"):
                ours = rf"features\.bottleneck{n}\.{layer}\.branch\.{part}"
                rules += weight_rules(rf"{ours}\.conv", f"{theirs}_{part}")
                rules += norm_rules(rf"{ours}\.norm", f"{theirs}_{part}_BN")
    rules += weight_rules(r"features\.conv_last\.conv", "Conv_1") + norm_rules(
        r"features\.conv_last\.norm", "Conv_1_bn"
    )
    return rules + weight_rules(r"head\.output", "predictions")


TORCHVISION: dict[str, Rules] = dict.fromkeys(PEERS["torchvision"], _torchvision())
TIMM: dict[str, Rules] = dict.fromkeys(PEERS["timm"], timm_rules(NAMES, [row.expand for row in TABLE.rows]))
KERAS: dict[str, Rules] = dict.fromkeys(PEERS["keras"], _keras())
CHANGES: dict[str, Changes] = {
    "keras": (
        (r"features\..+\.depthwise\.conv\.weight", DEPTHWISE),
        (r"features\..+\.conv\.weight", KERNELS),
        (r"head\.output\.weight", DENSE),
    )
}
PREPARATION = {"keras": "tf"}
