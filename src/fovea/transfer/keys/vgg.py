"""VGG's tensors in torchvision and timm, which number the modules of all stages in one list.

timm has fc6 and fc7 as convolutions, 7×7 and 1×1, over the same numbers in the same order: reshaped, they are ours.
"""

from __future__ import annotations

from fovea.architectures.vgg import COLUMNS
from fovea.transfer.keys import Rules

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


TORCHVISION: dict[str, Rules] = _table(_TORCHVISION_HEAD)
TIMM: dict[str, Rules] = _table(_TIMM_HEAD)
PEERS: dict[str, dict[str, str]] = {
    "torchvision": {name: name for name in TORCHVISION},
    "timm": {name: name for name in TIMM},
}
