"""A model for a command: from a bundle, and from the user's own code only where the user names it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fovea.architectures.catalogue import build
from fovea.files import BUNDLE_FILE, read_json

if TYPE_CHECKING:
    from fovea.runtime.model import Model


def load_model(bundle: Path, *, device: str, network: str | None) -> Model:
    """The model of a bundle.

    Args:
        bundle: The bundle's folder.
        device: Where it shall run.
        network: A network of the user's own, `file.py:Class`; None for one of the catalogue.

    Raises:
        UsageError: the network cannot be found.
        ModelError: the bundle is damaged, or holds weights of another network.
    """
    import fovea

    if network is None:
        return fovea.load(bundle, device=device)
    told = read_json(bundle / BUNDLE_FILE)
    sizes = {key: (told.get("architecture") or {}).get(key) for key in ("in_channels", "image_size")}
    built = build(network, num_classes=len(told.get("classes", ())), **sizes, seed=0)
    return fovea.load(bundle, network=built, device=device)
