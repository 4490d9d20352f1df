"""What the keys of MobileNet, MnasNet and EfficientNet have in common: rules made from the networks' own tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fovea.transfer.keys.rules import Rules

TENSOR = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"


def unit_rules(ours: str, conv: str, norm: str) -> Rules:
    r"""The rules of one convolution and its normalisation.

    Args:
        ours: Regular expression of our unit, such as `features\.conv`; its groups may be named in the others.
        conv: Their name of the convolution.
        norm: Their name of the normalisation.
    """
    tensor = rf"\g<{re.compile(ours).groups + 1}>"
    return (rf"{ours}\.conv{TENSOR}", f"{conv}.{tensor}"), (rf"{ours}\.norm{TENSOR}", f"{norm}.{tensor}")


def layer_rules(ours: str, theirs: str) -> Rules:
    """The rules of one layer with weights and, perhaps, biases."""
    return ((ours + TENSOR, rf"{theirs}.\g<{re.compile(ours).groups + 1}>"),)


def timm_rules(names: Sequence[str], expansions: Sequence[int]) -> Rules:
    """The keys of a network of inverted residuals in timm, whose efficientnet.py builds them all.

    Args:
        names: Our stages: of the first convolution, of each row, of the last convolution.
        expansions: The `expand` of each row; a block that does not expand has other names for its two convolutions.
    """
    first, *middle, last = names
    rules = unit_rules(rf"features\.{first}", "conv_stem", "bn1")
    for n, (name, expand) in enumerate(zip(middle, expansions, strict=True)):
        block = rf"features\.{name}\.(\d+)\.branch\."
        parts = ("expand", "depthwise", "project") if expand > 1 else ("depthwise", "project")
        convs = ("conv_pw", "conv_dw", "conv_pwl") if expand > 1 else ("conv_dw", "conv_pw")
        for i, (part, conv) in enumerate(zip(parts, convs, strict=True), start=1):
            rules += unit_rules(block + part, rf"blocks.{n}.\1.{conv}", rf"blocks.{n}.\1.bn{i}")
        for part in ("reduce", "expand"):
            rules += layer_rules(rf"{block}squeeze\.{part}", rf"blocks.{n}.\1.se.conv_{part}")
    return rules + unit_rules(rf"features\.{last}", "conv_head", "bn2") + layer_rules(r"head\.output", "classifier")
