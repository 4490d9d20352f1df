"""The methods by name, and how images are explained, as values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fovea.errors import UsageError, require, suggestion

Baseline = Literal["black", "mean", "blurred"]

# What says how much each pixel did, and how people call it.
ATTRIBUTIONS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "cam": "CAM",
    "occlusion": "occlusion",
    "saliency": "saliency",
    "smoothgrad": "SmoothGrad",
    "input_x_gradient": "input × gradient",
    "integrated_gradients": "integrated gradients",
    "guided_backpropagation": "guided backpropagation",
    "deconvnet": "deconvnet",
}
# What else shows what a network has learned.
LOOKS = {
    "weights": "filters",
    "activations": "feature maps",
    "units": "what excites units most",
    "maximise": "activation maximisation",
    "deepdream": "DeepDream",
    "inversion": "inverted representations",
    "pca": "principal components of feature space",
    "tsne": "t-SNE of feature space",
    "similarity": "similarity of layers",
}
NOT_HERE = {
    "lrp": "layer-wise relevance propagation needs a rule for every layer, and on residual networks silently gives "
    "numbers without meaning where one is missing; take integrated_gradients, whose sum is checked",
    "deeplift": "DeepLIFT's rules do not hold for every layer of these networks; take integrated_gradients",
}


def method_name(name: str) -> str:
    """The method's name, from one with hyphens, capitals or pluses.

    Raises:
        UsageError: there is no such method; the message has close matches.
    """
    plain = name.strip().lower().replace("-", "_").replace("++", "_plus_plus").replace("t_sne", "tsne")
    known = [*ATTRIBUTIONS, *LOOKS]
    if plain in NOT_HERE:
        raise UsageError(f"method (={name}) is not offered: {NOT_HERE[plain]}")
    if plain not in known:
        raise UsageError(f"no method is called {name}; there are {', '.join(known)}.{suggestion(plain, known)}")
    return plain


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What the methods leave open; each is told where it matters."""

    grid: int = 14
    """Occlusion: places of the window along each side."""
    window: int = 3
    """Occlusion: the window's side in steps of the grid."""
    baseline: Baseline = "black"
    """Integrated gradients: the image in which nothing is to be seen."""
    completeness: float = 0.01
    """Integrated gradients: points are added until the sum is as near as this share to what it must be."""
    most_steps: int = 512
    """Integrated gradients: points after which it gives up and says how far it is off."""
    samples: int = 25
    """SmoothGrad: noisy copies of each image."""
    noise: float = 0.15
    """SmoothGrad: the noise's deviation as a share of the image's range."""
    batch_size: int = 16
    """Images that run at once, copies of one image included."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        require("grid", self.grid, self.grid >= 1, "1 or more")
        require("window", self.window, self.window >= 1, "1 or more")
        require("completeness", self.completeness, 0 < self.completeness < 1, "above 0 and below 1")
        require("most_steps", self.most_steps, self.most_steps >= 17, "17 or more")
        require("samples", self.samples, self.samples >= 1, "1 or more")
        require("noise", self.noise, 0 < self.noise < 10, "above 0 and below 10")
        require("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")
