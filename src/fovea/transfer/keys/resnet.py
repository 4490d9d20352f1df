"""How torchvision and timm call the tensors of residual networks.

timm's `resnetv2_*` are not ours: they normalise behind the first pooling, not before it. Its `seresnet*` stride in the
3×3, its `legacy_*` are the authors' and so ours. The paper's own strides have no peer.
"""

from __future__ import annotations

from fovea.transfer.keys.rules import Rules

BASIC = ("resnet18", "resnet34")
V1_5 = ("resnet50_v1_5", "resnet101_v1_5", "resnet152_v1_5")
EXCITED = ("se_resnet50", "se_resnet101", "se_resnet152", "se_resnext50_32x4d")


BLOCK: Rules = (  # the number of the block, and what is in it
    (r"(\d+)\.branch\.conv(\d)\.conv\.(.+)", r"\1.conv\2.\3"),
    (r"(\d+)\.branch\.conv(\d)\.norm\.(.+)", r"\1.bn\2.\3"),
    (r"(\d+)\.shortcut\.conv\.(.+)", r"\1.downsample.0.\2"),
    (r"(\d+)\.shortcut\.norm\.(.+)", r"\1.downsample.1.\2"),
)
EXCITATION: Rules = (
    (r"(\d+)\.branch\.excitation\.reduce\.(.+)", r"\1.se_module.fc1.\2"),
    (r"(\d+)\.branch\.excitation\.expand\.(.+)", r"\1.se_module.fc2.\2"),
)


def _stages(block: Rules) -> Rules:
    """Our conv2_x to conv5_x are their layer1 to layer4."""
    return tuple(
        (rf"features\.conv{n + 1}_x\.{ours}", f"layer{n}.{replacement}")
        for n in range(1, 5)
        for ours, replacement in block
    )


RESNET: Rules = (
    (r"features\.conv1\.conv\.(.+)", r"conv1.\1"),
    (r"features\.conv1\.norm\.(.+)", r"bn1.\1"),
    *_stages(BLOCK),
    (r"head\.output\.(.+)", r"fc.\1"),
)
LEGACY_SENET: Rules = (
    (r"features\.conv1\.conv\.(.+)", r"layer0.conv1.\1"),
    (r"features\.conv1\.norm\.(.+)", r"layer0.bn1.\1"),
    *_stages(BLOCK + EXCITATION),
    (r"head\.output\.(.+)", r"last_linear.\1"),
)

TORCHVISION: dict[str, Rules] = dict.fromkeys((*BASIC, *V1_5), RESNET)
TIMM: dict[str, Rules] = dict.fromkeys((*BASIC, *V1_5), RESNET) | dict.fromkeys(EXCITED, LEGACY_SENET)

_PLAINLY: dict[str, str] = {name: name.removesuffix("_v1_5") for name in (*BASIC, *V1_5)}
PEERS: dict[str, dict[str, str]] = {
    "torchvision": _PLAINLY,
    "timm": _PLAINLY | {name: f"legacy_{name.replace('_', '', 1)}" for name in EXCITED},
}
