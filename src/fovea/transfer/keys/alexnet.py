"""How torchvision, which numbers its modules, calls the tensors of AlexNet in one tower; timm has no AlexNet."""

from __future__ import annotations

from fovea.transfer.keys.rules import Rules

# fmt: off
ONE_TOWER: Rules = (
    (r"features\.conv1\.0\.(weight|bias)", r"features.0.\1"),
    (r"features\.conv2\.0\.(weight|bias)", r"features.3.\1"),
    (r"features\.conv3\.0\.(weight|bias)", r"features.6.\1"),
    (r"features\.conv4\.0\.(weight|bias)", r"features.8.\1"),
    (r"features\.conv5\.0\.(weight|bias)", r"features.10.\1"),
    (r"head\.fc6\.1\.(weight|bias)",       r"classifier.1.\1"),
    (r"head\.fc7\.1\.(weight|bias)",       r"classifier.4.\1"),
    (r"head\.fc8\.(weight|bias)",          r"classifier.6.\1"),
)
# fmt: on

TORCHVISION: dict[str, Rules] = {"alexnet_one_tower": ONE_TOWER}
TIMM: dict[str, Rules] = {}
PEERS: dict[str, dict[str, str]] = {"torchvision": {"alexnet_one_tower": "alexnet"}, "timm": {}}
