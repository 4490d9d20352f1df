"""A trained network as a teacher: its logits for the very images that the student is shown."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError
from fovea.files import BUNDLE_FILE, read_json
from fovea.runtime.find import find_bundle
from fovea.runtime.model import Model, load


class Teacher:
    """Gives logits of the student's images, in evaluation mode; nothing of it is ever trained.

    The student's normalisation is undone and the teacher's own applied, in one affine map. Both count brightness from
    0 to 1 by their own scale. Where the teacher takes another size, images are resized (bilinear, smoothed before they
    shrink); black margins, which small images have in networks that are larger, are cut off and put on as the
    teacher has them. Grey is repeated for a teacher of colour. So the logits are those that `predict` gives for the
    part of an image that the student is shown, but for Pillow's rounding where it is resized.

    The arithmetic is in float32, whatever the student's precision.

    Args:
        model: The teacher, on the student's device.
        classes: The student's classes, in the order of its logits.
        preprocessing: What turned raw images into those that the student is shown.
        fingerprint: The SHA-256 of its weights: what a run's configuration says of it, not where it lies.

    Raises:
        ModelError: its classes have other names, or colour is to become grey.
    """

    def __init__(
        self, model: Model, *, classes: tuple[str, ...], preprocessing: Preprocessing, fingerprint: str
    ) -> None:
        self.fingerprint = fingerprint
        self._network = model.network.eval().requires_grad_(False)
        self._device = model.device
        self._own, self._students = model.bundle.preprocessing, preprocessing
        _check_channels(self._own.in_channels, preprocessing.in_channels)
        self._order = torch.tensor(_places(classes, model.classes), device=model.device)
        self._maps: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n k"]:
        """Logits of the images as the student receives them, of any side; no gradient flows through them."""
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            logits: Tensor = self._network(self._as_own(images.float()))
            return logits.float().index_select(1, self._order)

    def _as_own(self, images: Tensor) -> Tensor:
        """The images as this network would have received them."""
        side = images.shape[2]
        if self._own == self._students and side == self._own.image_size:
            return images
        if side not in self._maps:  # one for each side that progressive resizing comes by
            self._maps[side] = self._map_of(side)
        factor, shift = self._maps[side]
        return (self._viewed(images) * factor).add_(shift)  # addcmul would lose that channels are last

    def _map_of(self, side: int) -> tuple[Tensor, Tensor]:
        """What a viewed image is multiplied by, and what is added to it then.

        A view is linear, so a mean image of the student's is viewed once for all.
        """
        (mean, std), (own_mean, own_std) = _moments(self._students), _moments(self._own)
        mean = mean.expand(1, -1, *(2 * [mean.shape[2] if mean.shape[2] > 1 else side]))
        if mean.shape[2] != side:
            mean = F.interpolate(mean, side, mode="bilinear", antialias=True)
        factor, shift = std / own_std, (self._viewed(mean) - own_mean) / own_std
        return factor.float().to(self._device), shift.float().to(self._device)

    def _viewed(self, images: Tensor) -> Tensor:
        """Images at this network's size and with its channels, the margins 0."""
        side, own, students = images.shape[2], self._own.image_size, self._students
        filled, wanted = _filled(students, side), _filled(self._own, own)
        if (side, filled) != (own, wanted):
            first = (side - filled) // 2
            images = images[:, :, first : first + filled, first : first + filled]
            if filled != wanted:
                images = F.interpolate(images, wanted, mode="bilinear", antialias=True)
            before = (own - wanted) // 2
            images = F.pad(images, 2 * (before, own - wanted - before))
        return images.expand(-1, self._own.in_channels, -1, -1)


def teacher_from(
    path: Path | str, *, classes: tuple[str, ...], preprocessing: Preprocessing, device: torch.device | str
) -> Teacher:
    """The teacher that a run folder or a bundle holds.

    Args:
        path: The folder.
        classes: The student's classes, in the order of its logits.
        preprocessing: What turns raw images into those that the student is shown.
        device: Where the student's images lie.

    Raises:
        UsageError: there is no such folder.
        ModelError: no bundle, or one that is damaged; other classes; colour is to become grey.
        MachineError: there is no such device here.
    """
    folder = find_bundle(path)
    model = load(folder, device=device)
    fingerprint = read_json(folder / BUNDLE_FILE)["weights"]["sha256"]
    return Teacher(model, classes=classes, preprocessing=preprocessing, fingerprint=fingerprint)


def _places(classes: tuple[str, ...], taught: tuple[str, ...]) -> list[int]:
    """Where each of the student's classes stands among the teacher's."""
    missing, others = [c for c in classes if c not in taught], [c for c in taught if c not in classes]
    if missing or others:
        told = [f"{whose} {_listed(names)}" for whose, names in (("misses", missing), ("adds", others)) if names]
        raise ModelError(
            f"the teacher's classes must have the names of the data's: it {' and '.join(told)}; "
            f"train a teacher on these classes, or rename the folders"
        )
    return [taught.index(name) for name in classes]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _check_channels(own: int, students: int) -> None:
    if own != students and (students, own) != (1, 3):
        raise ModelError(
            f"the teacher takes images of {own} channels, the student is shown {students}; "
            f"they must be equal, or grey for a teacher of colour: choose a teacher of in_channels={students}"
        )


def _moments(spec: Preprocessing) -> tuple[Tensor, Tensor]:
    """Mean and deviation of brightness, to be spread over (1, c, s, s), in float64."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (spec.mean, spec.std))
    size = spec.image_size if len(mean) > spec.in_channels else 1
    return mean.view(1, -1, size, size), std.view(1, -1, 1, 1)


def _filled(spec: Preprocessing, side: int) -> int:
    """How much of a side of the square an image fills; the rest is black margin on both ends."""
    return round(side * min(1.0, spec.resize / spec.image_size))
