"""GoogLeNet's tensors in torchvision, whose network has this form; timm has none."""

from __future__ import annotations

from fovea.transfer.keys.rules import Rules

_UNIT = (("conv", "conv"), ("norm", "bn"))  # ours and theirs, of a convolution and its normalisation

_PLACES = (  # a unit's place with us, and with them
    (r"features\.conv1", r"conv1"),
    (r"features\.conv2\.0", r"conv2"),
    (r"features\.conv2\.1", r"conv3"),
    (r"features\.inception_(\d\w)\.one", r"inception\1.branch1"),
    (r"features\.inception_(\d\w)\.three\.(\d)", r"inception\1.branch2.\2"),
    (r"features\.inception_(\d\w)\.five\.(\d)", r"inception\1.branch3.\2"),
    (r"features\.inception_(\d\w)\.pool\.(\d)", r"inception\1.branch4.\2"),
    (r"auxiliary\.inception_4a\.conv", r"aux1.conv"),
    (r"auxiliary\.inception_4d\.conv", r"aux2.conv"),
)

_LINEAR: Rules = (
    (r"auxiliary\.inception_4a\.hidden\.(\w+)", r"aux1.fc1.\1"),
    (r"auxiliary\.inception_4a\.output\.(\w+)", r"aux1.fc2.\1"),
    (r"auxiliary\.inception_4d\.hidden\.(\w+)", r"aux2.fc1.\1"),
    (r"auxiliary\.inception_4d\.output\.(\w+)", r"aux2.fc2.\1"),
    (r"head\.linear\.(\w+)", r"fc.\1"),
)


def _units() -> Rules:
    rules = []
    for ours, theirs in _PLACES:
        last = ours.count("(") + 1
        rules += [(rf"{ours}\.{part}\.(\w+)", rf"{theirs}.{name}.\{last}") for part, name in _UNIT]
    return tuple(rules)


TORCHVISION: dict[str, Rules] = {"googlenet_torchvision": (*_units(), *_LINEAR)}
TIMM: dict[str, Rules] = {}
PEERS: dict[str, dict[str, str]] = {"torchvision": {"googlenet_torchvision": "googlenet"}, "timm": {}}
