"""MobileNet v1 in timm, which has ReLU6 as the published code; torchvision has none."""

from __future__ import annotations

from typing import Any

from fovea.architectures.mobilenet_v1 import ROWS
from fovea.transfer.keys import Rules
from fovea.transfer.keys.mobile import layer_rules, unit_rules

PEERS: dict[str, dict[str, str]] = {"torchvision": {}, "timm": {"mobilenet_v1_relu6": "mobilenetv1_100"}}

# What our builder is called with to be theirs exactly.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "timm": {"mobilenetv1_100": {"padding": "symmetric", "dropout": 0.0, "eps": 1e-5, "momentum": 0.1}}
}


def _timm() -> Rules:
    rules = unit_rules(r"features\.conv", "conv_stem", "bn1")
    for n in range(len(ROWS)):
        block = rf"features\.separable{n + 1}\.(\d+)\."
        rules += unit_rules(block + "depthwise", rf"blocks.{n}.\1.conv_dw", rf"blocks.{n}.\1.bn1")
        rules += unit_rules(block + "pointwise", rf"blocks.{n}.\1.conv_pw", rf"blocks.{n}.\1.bn2")
    return rules + layer_rules(r"head\.output", "classifier")


TORCHVISION: dict[str, Rules] = {}
TIMM: dict[str, Rules] = dict.fromkeys(PEERS["timm"], _timm())
