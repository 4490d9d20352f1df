"""VGG's tensors in torchvision and timm, which number the modules of all stages in one list, and in Keras.

timm has fc6 and fc7 as convolutions, 7×7 and 1×1, over the same numbers in the same order: reshaped, they are ours.
Keras flattens with the channels last.
"""

from __future__ import annotations

from fovea.architectures.vgg import CHANNELS, COLUMNS, UNITS
from fovea.transfer.keys.changes import DENSE, KERNELS, Changes, convolution, flattened
from fovea.transfer.keys.keras import weight_rules
from fovea.transfer.keys.rules import Rules

OURS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # and each with _bn behind

_TORCHVISION_HEAD: Rules = (
    (r"head\.fc6\.0\.(\w+)", r"classifier.0.\1"),
    (r"head\.fc7\.0\.(\w+)", r"classifier.3.\1"),
    (r"head\.output\.(\w+)", r"classifier.6.\1"),
)
_TIMM_HEAD: Rules = (
    (r"head\.fc6\.0\.(\w+)", r"pre_logits.fc1.\1"),
    (r"head\.fc7\.0\.(\w+)", r"pre_logits.fc2.\1"),
    (r"head\.output\.(\w+)", r"head.fc.\1"),
)


def _features(column: str, *, normalised: bool) -> Rules:
    rules: list[tuple[str, str]] = []
    place = 0
    for stage, kernels in enumerate(COLUMNS[column], start=1):
        for n in range(1, len(kernels) + 1):
            for layer in ("conv", "norm") if normalised else ("conv",):
                rules.append((rf"features\.conv{stage}\.{layer}{n}\.(\w+)", rf"features.{place}.\1"))
                place += 1
            place += 1  # the ReLU
        place += 1  # the pooling
    return tuple(rules)


def _table(head: Rules) -> dict[str, Rules]:
    plain = {name: _features(column, normalised=False) + head for name, column in OURS.items()}
    normalised = {f"{name}_bn": _features(column, normalised=True) + head for name, column in OURS.items()}
    return plain | normalised


def _keras() -> Rules:
    return (
        *weight_rules(r"features\.conv(\d)\.conv(\d)", r"block\1_conv\2"),
        *weight_rules(r"head\.fc6\.0", "fc1"),
        *weight_rules(r"head\.fc7\.0", "fc2"),
        *weight_rules(r"head\.output", "predictions"),
    )


TORCHVISION: dict[str, Rules] = _table(_TORCHVISION_HEAD)
TIMM: dict[str, Rules] = _table(_TIMM_HEAD)
KERAS: dict[str, Rules] = dict.fromkeys(("vgg16", "vgg19"), _keras())
PEERS: dict[str, dict[str, str]] = {
    "torchvision": {name: name for name in TORCHVISION},
    "timm": {name: name for name in TIMM},
    "keras": {"vgg16": "VGG16", "vgg19": "VGG19"},
}
CHANGES: dict[str, Changes] = {
    "timm": (
        (r"head\.fc6\.0\.weight", convolution(CHANNELS[-1])),
        (r"head\.fc7\.0\.weight", convolution(UNITS[0])),
    ),
    "keras": (
        (r"features\..+\.weight", KERNELS),
        (r"head\.fc6\.0\.weight", flattened(CHANNELS[-1])),
        (r"head\..+\.weight", DENSE),
    ),
}
PREPARATION = {"keras": "caffe"}
