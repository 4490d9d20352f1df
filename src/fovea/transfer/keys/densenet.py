"""DenseNet's tensors in torchvision and timm, which call them alike, and in Keras, whose eps is 1.001e-5."""

from __future__ import annotations

from fovea.transfer.keys.changes import DENSE, KERNELS, Changes, wider
from fovea.transfer.keys.keras import norm_rules, weight_rules
from fovea.transfer.keys.rules import Rules

RULES: Rules = (
    (r"features\.conv\.(conv|norm)\.(\w+)", r"features.\g<1>0.\2"),
    (r"features\.dense_block(\d)\.layer(\d+)\.(\w+)\.(\w+)", r"features.denseblock\1.denselayer\2.\3.\4"),
    (r"features\.(transition\d)\.(conv|norm)\.(\w+)", r"features.\1.\2.\3"),
    (r"features\.norm\.0\.(\w+)", r"features.norm5.\1"),
    (r"head\.output\.(\w+)", r"classifier.\1"),
)
OURS = ("densenet121", "densenet161", "densenet169", "densenet201")


def _keras() -> Rules:
    """Their blocks are numbered as stages, from 2; a layer has 0_bn, 1_conv, 1_bn, 2_conv."""
    rules = weight_rules(r"features\.conv\.conv", "conv1_conv") + norm_rules(r"features\.conv\.norm", "conv1_bn")
    for n in range(1, 5):
        ours, theirs = rf"features\.dense_block{n}\.layer(\d+)\.", rf"conv{n + 1}_block\1_"
        for place in (1, 2):
            rules += norm_rules(rf"{ours}norm{place}", f"{theirs}{place - 1}_bn")
            rules += weight_rules(rf"{ours}conv{place}", f"{theirs}{place}_conv")
        rules += norm_rules(rf"features\.transition{n}\.norm", f"pool{n + 1}_bn")
        rules += weight_rules(rf"features\.transition{n}\.conv", f"pool{n + 1}_conv")
    return rules + norm_rules(r"features\.norm\.0", "bn") + weight_rules(r"head\.output", "predictions")


TORCHVISION: dict[str, Rules] = dict.fromkeys(OURS, RULES)
TIMM: dict[str, Rules] = dict.fromkeys(OURS, RULES)  # its densenet264d is another network: k = 48, deep stem
KERAS: dict[str, Rules] = dict.fromkeys(("densenet121", "densenet169", "densenet201"), _keras())
PEERS: dict[str, dict[str, str]] = {
    "torchvision": {name: name for name in TORCHVISION},
    "timm": {name: name for name in TIMM},
    "keras": {name: name.replace("densenet", "DenseNet") for name in KERAS},
}
CHANGES: dict[str, Changes] = {
    "keras": (
        (r"features\..*conv\d?\.weight", KERNELS),
        (r"features\..+\.running_var", wider(1e-8)),
        (r"head\.output\.weight", DENSE),
    )
}
PREPARATION = {"keras": "imagenet"}
