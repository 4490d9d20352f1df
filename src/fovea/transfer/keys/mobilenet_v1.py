"""MobileNet v1 in timm and Keras, which have ReLU6 as the published code; torchvision has none."""

from __future__ import annotations

from typing import Any

from fovea.architectures.mobilenet_v1 import ROWS
from fovea.transfer.keys.changes import DEPTHWISE, KERNELS, POINTWISE, Changes
from fovea.transfer.keys.keras import norm_rules, weight_rules
from fovea.transfer.keys.mobile import layer_rules, unit_rules
from fovea.transfer.keys.rules import Rules

PEERS: dict[str, dict[str, str]] = {
    "torchvision": {},
    "timm": {"mobilenet_v1_relu6": "mobilenetv1_100"},
    "keras": {
        "mobilenet_v1_relu6": "MobileNet",
        **{f"mobilenet_v1_{width.replace('.', '_')}": f"MobileNet(alpha={width})" for width in ("0.25", "0.5", "0.75")},
    },
}

# What our builder is called with to be theirs exactly.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "timm": {"mobilenetv1_100": {"padding": "symmetric", "dropout": 0.0, "eps": 1e-5, "momentum": 0.1}},
    "keras": {
        theirs: {"activation": "relu6", "padding": "same", "momentum": 0.01} for theirs in PEERS["keras"].values()
    },
}


def _timm() -> Rules:
    rules = unit_rules(r"features\.conv", "conv_stem", "bn1")
    for n in range(len(ROWS)):
        block = rf"features\.separable{n + 1}\.(\d+)\."
        rules += unit_rules(block + "depthwise", rf"blocks.{n}.\1.conv_dw", rf"blocks.{n}.\1.bn1")
        rules += unit_rules(block + "pointwise", rf"blocks.{n}.\1.conv_pw", rf"blocks.{n}.\1.bn2")
    return rules + layer_rules(r"head\.output", "classifier")


def _keras() -> Rules:
    rules = weight_rules(r"features\.conv\.conv", "conv1") + norm_rules(r"features\.conv\.norm", "conv1_bn")
    number = 0
    for n, row in enumerate(ROWS, start=1):
        for layer in range(row.layers):
            number += 1
            for part, theirs in (("depthwise", f"conv_dw_{number}"), ("pointwise", f"conv_pw_{number}")):
                ours = rf"features\.separable{n}\.{layer}\.{part}"
                rules += weight_rules(rf"{ours}\.conv", theirs) + norm_rules(rf"{ours}\.norm", f"{theirs}_bn")
    return rules + weight_rules(r"head\.output", "conv_preds")


TORCHVISION: dict[str, Rules] = {}
TIMM: dict[str, Rules] = dict.fromkeys(PEERS["timm"], _timm())
KERAS: dict[str, Rules] = dict.fromkeys(PEERS["keras"], _keras())
CHANGES: dict[str, Changes] = {
    "keras": (
        (r"features\..+\.depthwise\.conv\.weight", DEPTHWISE),
        (r"features\..+\.conv\.weight", KERNELS),
        (r"head\.output\.weight", POINTWISE),
    )
}
PREPARATION = {"keras": "tf"}
