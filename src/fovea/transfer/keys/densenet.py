"""DenseNet's tensors in torchvision and timm, which call them alike."""

from __future__ import annotations

from fovea.transfer.keys import Rules

RULES: Rules = (
    (r"features\.conv\.(conv|norm)\.(\w+)", r"features.\g<1>0.\2"),
    (r"features\.dense_block(\d)\.layer(\d+)\.(\w+)\.(\w+)", r"features.denseblock\1.denselayer\2.\3.\4"),
    (r"features\.(transition\d)\.(conv|norm)\.(\w+)", r"features.\1.\2.\3"),
    (r"features\.norm\.0\.(\w+)", r"features.norm5.\1"),
    (r"head\.output\.(\w+)", r"classifier.\1"),
)
OURS = ("densenet121", "densenet161", "densenet169", "densenet201")

TORCHVISION: dict[str, Rules] = dict.fromkeys(OURS, RULES)
TIMM: dict[str, Rules] = dict.fromkeys(OURS, RULES)  # its densenet264d is another network: k = 48, deep stem
PEERS: dict[str, dict[str, str]] = {
    "torchvision": {name: name for name in TORCHVISION},
    "timm": {name: name for name in TIMM},
}
