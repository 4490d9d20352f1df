"""Inception v3's tensors in torchvision and timm, which call them alike."""

from __future__ import annotations

from fovea.transfer.keys.rules import Rules

_UNIT = (("conv", "conv"), ("norm", "bn"))  # ours and theirs, of a convolution and its normalisation

_PLACES = (  # a unit's place with us, and with them; their numbers within a branch begin at 1
    (r"features\.conv2d_(\w+)", r"Conv2d_\1"),
    (r"features\.mixed_(\w+)\.one", r"Mixed_\1.branch1x1"),
    (r"features\.mixed_(\w+)\.pool\.1", r"Mixed_\1.branch_pool"),
    (r"features\.mixed_(5\w)\.five\.0", r"Mixed_\1.branch5x5_1"),
    (r"features\.mixed_(5\w)\.five\.1", r"Mixed_\1.branch5x5_2"),
    (r"features\.mixed_6a\.three", r"Mixed_6a.branch3x3"),
    *((rf"features\.mixed_(5\w|6a)\.three_three\.{n}", rf"Mixed_\1.branch3x3dbl_{n + 1}") for n in range(3)),
    *((rf"features\.mixed_(6\w)\.seven\.{n}", rf"Mixed_\1.branch7x7_{n + 1}") for n in range(3)),
    *((rf"features\.mixed_(6\w)\.seven_seven\.{n}", rf"Mixed_\1.branch7x7dbl_{n + 1}") for n in range(5)),
    *((rf"features\.mixed_7a\.three\.{n}", rf"Mixed_7a.branch3x3_{n + 1}") for n in range(2)),
    *((rf"features\.mixed_7a\.seven\.{n}", rf"Mixed_7a.branch7x7x3_{n + 1}") for n in range(4)),
    (r"features\.mixed_(7[bc])\.three\.0", r"Mixed_\1.branch3x3_1"),
    (r"features\.mixed_(7[bc])\.three\.1\.row", r"Mixed_\1.branch3x3_2a"),
    (r"features\.mixed_(7[bc])\.three\.1\.column", r"Mixed_\1.branch3x3_2b"),
    (r"features\.mixed_(7[bc])\.three_three\.0", r"Mixed_\1.branch3x3dbl_1"),
    (r"features\.mixed_(7[bc])\.three_three\.1", r"Mixed_\1.branch3x3dbl_2"),
    (r"features\.mixed_(7[bc])\.three_three\.2\.row", r"Mixed_\1.branch3x3dbl_3a"),
    (r"features\.mixed_(7[bc])\.three_three\.2\.column", r"Mixed_\1.branch3x3dbl_3b"),
    (r"auxiliary\.mixed_6e\.projection", r"AuxLogits.conv0"),
    (r"auxiliary\.mixed_6e\.conv", r"AuxLogits.conv1"),
)


def _rules() -> Rules:
    rules = []
    for ours, theirs in _PLACES:
        last = ours.count("(") + 1
        rules += [(rf"{ours}\.{part}\.(\w+)", rf"{theirs}.{name}.\{last}") for part, name in _UNIT]
    return (*rules, (r"auxiliary\.mixed_6e\.output\.(\w+)", r"AuxLogits.fc.\1"), (r"head\.linear\.(\w+)", r"fc.\1"))


TORCHVISION: dict[str, Rules] = {"inception_v3": _rules()}
TIMM: dict[str, Rules] = {"inception_v3": _rules()}
PEERS: dict[str, dict[str, str]] = {
    "torchvision": {"inception_v3": "inception_v3"},
    "timm": {"inception_v3": "inception_v3"},
}
