"""A model for a command: from a bundle, and from the user's own code only where the user names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fovea.architectures.catalogue import build
from fovea.files import BUNDLE_FILE, read_json

if TYPE_CHECKING:
    from fovea.runtime.find import Found
    from fovea.runtime.model import Model


def load_model(found: Found, *, device: str, network: str | None, batch_size: int | None = None) -> Model:
    """The model of a bundle, or of a checkpoint.

    Args:
        found: Where it lies.
        device: Where it shall run.
        network: A network of the user's own, `file.py:Class`; None for one of the catalogue.
        batch_size: Images judged at once; as many as suit their size where None.

    Raises:
        UsageError: the network cannot be found.
        ModelError: the bundle is damaged, or holds weights of another network.
    """
    import fovea

    place = found.checkpoint or found.bundle
    if network is None:
        return fovea.load(place, device=device, batch_size=batch_size)
    told = read_json(found.bundle / BUNDLE_FILE)
    sizes = {key: (told.get("architecture") or {}).get(key) for key in ("in_channels", "image_size")}
    built = build(network, num_classes=len(told.get("classes", ())), **sizes, seed=0)
    return fovea.load(place, network=built, device=device, batch_size=batch_size)
