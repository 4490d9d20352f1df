"""How strong each operation of a policy is, from the weakest to the strongest: the tables of the papers' code.

Source: torchvision.transforms.autoaugment, whose spaces follow the authors' code.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

BINS: Final = 31  # strengths of RandAugment and TrivialAugment, from 0 to 30


class Range(NamedTuple):
    """Magnitudes from the weakest to the strongest.

    Args:
        weakest, strongest: In the operation's unit.
        signed: It goes in either direction.
        unit: What a magnitude is multiplied by: 1, or the image's width or height.
        whole: Only integers are meant.
    """

    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False
    unit: Literal["one", "width", "height"] = "one"
    whole: bool = False


# fmt: off
MODERATE: Final[dict[str, Range]] = {
    "identity":     Range(),
    "shear_x":      Range(0.0, 0.3, signed=True),
    "shear_y":      Range(0.0, 0.3, signed=True),
    "translate_x":  Range(0.0, 150 / 331, signed=True, unit="width"),
    "translate_y":  Range(0.0, 150 / 331, signed=True, unit="height"),
    "rotate":       Range(0.0, 30.0, signed=True),
    "brightness":   Range(0.0, 0.9, signed=True),
    "colour":       Range(0.0, 0.9, signed=True),
    "contrast":     Range(0.0, 0.9, signed=True),
    "sharpness":    Range(0.0, 0.9, signed=True),
    "posterise":    Range(8.0, 4.0, whole=True),
    "solarise":     Range(255.0, 0.0),
    "autocontrast": Range(),
    "equalise":     Range(),
}
WIDE: Final[dict[str, Range]] = {
    "identity":     Range(),
    "shear_x":      Range(0.0, 0.99, signed=True),
    "shear_y":      Range(0.0, 0.99, signed=True),
    "translate_x":  Range(0.0, 32.0, signed=True),
    "translate_y":  Range(0.0, 32.0, signed=True),
    "rotate":       Range(0.0, 135.0, signed=True),
    "brightness":   Range(0.0, 0.99, signed=True),
    "colour":       Range(0.0, 0.99, signed=True),
    "contrast":     Range(0.0, 0.99, signed=True),
    "sharpness":    Range(0.0, 0.99, signed=True),
    "posterise":    Range(8.0, 2.0, whole=True),
    "solarise":     Range(255.0, 0.0),
    "autocontrast": Range(),
    "equalise":     Range(),
}
# fmt: on


def magnitude(limits: Range, strength: float, *, size: tuple[int, int], negative: bool = False) -> float:
    """The magnitude at a strength from 0 to 1, for an image of a width and height; negative only where it is signed."""
    scale = {"one": 1, "width": size[0], "height": size[1]}[limits.unit]
    step = strength * (limits.strongest - limits.weakest)
    found = limits.weakest + (round(step) if limits.whole else step) * scale
    return -found if limits.signed and negative else found
