"""Euclidean radial basis functions as an output layer: each class has a fixed code, the nearest code wins."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ShapeError

# Digits on a 7×12 grid, row by row. The paper's Figure 3 shows such stylised bitmaps; ours are drawn anew in that
# manner, since its exact pixels are not confirmed.
DIGIT_BITMAPS = (
    "....... ..###.. .##.##. ##...## ##...## ##...## ##...## ##...## ##...## .##.##. ..###.. .......",
    "....... ...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .###### .......",
    "....... .#####. ##...## .....## .....## ....##. ...##.. ..##... .##.... ##..... ####### .......",
    "####### .....## ....##. ...##.. ..####. .....## .....## .....## .....## ##...## .#####. .......",
    "....##. ...###. ..####. .##.##. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##. .......",
    "####### ##..... ##..... ##..... ######. .....## .....## .....## .....## ##...## .#####. .......",
    "..####. .##.... ##..... ##..... ##.###. ###..## ##...## ##...## ##...## .##..## ..####. .......",
    "####### .....## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... .##.... .##.... .......",
    ".#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## ##...## .#####. .......",
    ".#####. ##...## ##...## ##...## ##..### .###.## .....## .....## ....##. ...##.. .###... .......",
)


class RadialBasisOutput(nn.Module):
    """Minus the squared Euclidean distance of the features to each class's code of ±1; nothing here is trained.

    The logits are read as unnormalised log-probabilities: the distance is the negative log-likelihood of a Gaussian
    around the code. Ten classes with 84 features take the digits' bitmaps; any other number takes fixed codes drawn
    once, the same in every process.

    Args:
        in_features: Length of the codes.
        num_classes: Number of classes.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II-B (equation 7).
    """

    codes: Tensor

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, num_classes
        self.register_buffer("codes", torch.empty(num_classes, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write the fixed codes; there is nothing to draw."""
        digits = (self.in_features, self.out_features) == (84, 10)
        self.codes.copy_(digit_codes() if digits else _drawn_codes(self.in_features, self.out_features))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Logits, at most 0; 0 where the features equal the code.

        Raises:
            ShapeError: the features have another length than the codes.
        """
        if features.shape[-1] != self.in_features:
            raise ShapeError(f"features have length {features.shape[-1]}, but the codes have {self.in_features}")
        return -(features[:, None, :] - self.codes).square().sum(dim=-1)

    def resized(self, num_classes: int) -> RadialBasisOutput:
        """The same output for another number of classes."""
        return RadialBasisOutput(self.in_features, num_classes).to(self.codes.device)

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return f"{self.in_features}, {self.out_features}"


def digit_codes() -> Float[Tensor, "10 84"]:
    """The ten digits' bitmaps, ink +1 and background -1."""
    rows = [bitmap.replace(" ", "") for bitmap in DIGIT_BITMAPS]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in row] for row in rows], device="cpu")


def _drawn_codes(in_features: int, num_classes: int) -> Float[Tensor, "k d"]:
    generator = torch.Generator(device="cpu").manual_seed(1998)
    bits = torch.randint(2, (num_classes, in_features), generator=generator, device="cpu")
    return 2.0 * bits - 1.0
