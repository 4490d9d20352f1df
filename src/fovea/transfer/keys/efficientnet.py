"""EfficientNet in torchvision and timm; timm's tf_ networks pad as TensorFlow does.

Those and Keras's bear the published weights.
"""

from __future__ import annotations

import math
import string
from typing import Any

from fovea.architectures.efficientnet import BASELINE, NAMES
from fovea.transfer.keys import keras as names
from fovea.transfer.keys.changes import DENSE, DEPTHWISE, KERNELS, Changes
from fovea.transfer.keys.keras import norm_rules, weight_rules
from fovea.transfer.keys.mobile import layer_rules, timm_rules, unit_rules
from fovea.transfer.keys.rules import Rules

ALL = tuple(f"efficientnet_b{n}" for n in range(8))

PEERS: dict[str, dict[str, str]] = {
    "torchvision": {name: name for name in ALL},
    "timm": {name: name for name in ALL},
    "keras": {name: name.replace("efficientnet_b", "EfficientNetB") for name in ALL},
}

# What our builder is called with to be theirs exactly. timm's networks of both kinds have no stochastic depth unless
# asked for it.
_TIMM: dict[str, Any] = {"dropout": 0.0, "survival": 1.0, "momentum": 0.1}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision": {name: {"eps": 1e-5, "momentum": 0.1} if name < "efficientnet_b5" else {} for name in ALL},
    "timm": {
        **{name: {**_TIMM, "eps": 1e-5} for name in ALL},
        **{f"tf_{name}": {**_TIMM, "padding": "same"} for name in ALL},
    },
    "keras": {theirs: {"padding": "same"} for theirs in PEERS["keras"].values()},
}

DEEPEST = 3.1  # B7's factor on the layers of a row


def _torchvision() -> Rules:
    rules = unit_rules(r"features\.stage1", "features.0.0", "features.0.1")
    for n, row in enumerate(BASELINE.rows, start=1):
        ours, theirs = rf"features\.stage{n + 1}\.(\d+)\.branch\.", rf"features.{n}.\1.block."
        parts = ("expand", "depthwise", "squeeze", "project") if row.expand > 1 else ("depthwise", "squeeze", "project")
        for i, part in enumerate(parts):
            rules += unit_rules(ours + part, f"{theirs}{i}.0", f"{theirs}{i}.1")
        for layer, fc in (("reduce", "fc1"), ("expand", "fc2")):
            rules += layer_rules(rf"{ours}squeeze\.{layer}", f"{theirs}{parts.index('squeeze')}.{fc}")
    last = len(BASELINE.rows) + 1
    rules += unit_rules(rf"features\.stage{last + 1}", f"features.{last}.0", f"features.{last}.1")
    return rules + layer_rules(r"head\.output", "classifier.1")


def _keras() -> Rules:
    """Their blocks are numbered by row, and lettered within it."""
    rules = weight_rules(r"features\.stage1\.conv", "stem_conv") + norm_rules(r"features\.stage1\.norm", "stem_bn")
    for n, row in enumerate(BASELINE.rows, start=1):
        for layer in range(math.ceil(DEEPEST * row.layers)):
            ours, theirs = rf"features\.stage{n + 1}\.{layer}\.branch\.", f"block{n}{string.ascii_lowercase[layer]}_"
            rules += weight_rules(rf"{ours}(expand|project)\.conv", rf"{theirs}\1_conv")
            rules += norm_rules(rf"{ours}(expand|project)\.norm", rf"{theirs}\1_bn")
            rules += weight_rules(rf"{ours}depthwise\.conv", f"{theirs}dwconv")
            rules += norm_rules(rf"{ours}depthwise\.norm", f"{theirs}bn")
            rules += weight_rules(rf"{ours}squeeze\.(reduce|expand)", rf"{theirs}se_\1")
    last = len(BASELINE.rows) + 2
    rules += weight_rules(rf"features\.stage{last}\.conv", "top_conv")
    rules += norm_rules(rf"features\.stage{last}\.norm", "top_bn")
    return rules + weight_rules(r"head\.output", "predictions")


TORCHVISION: dict[str, Rules] = dict.fromkeys(ALL, _torchvision())
TIMM: dict[str, Rules] = dict.fromkeys(ALL, timm_rules(NAMES, [row.expand for row in BASELINE.rows]))
KERAS: dict[str, Rules] = dict.fromkeys(ALL, _keras())
CHANGES: dict[str, Changes] = {
    "keras": (
        (r"features\..+\.depthwise\.conv\.weight", DEPTHWISE),
        (r"features\..+\.weight(?<!norm\.weight)", KERNELS),
        (r"head\.output\.weight", DENSE),
    )
}
PREPARATION = {"keras": "inside"}
INPUTS = {"keras": names.INPUTS}
