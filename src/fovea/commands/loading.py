"""A model for a command, from a bundle or from code that the user names, and the data it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.architectures.catalogue import build
from fovea.errors import UsageError
from fovea.files import BUNDLE_FILE, RUN_FILE, read_json

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


def trained_on(bundle: Path) -> dict[str, Any]:
    """The arguments that open the data of a bundle's run.

    Raises:
        UsageError: it has no run beside it, or one that does not say.
    """
    told = bundle.parent / RUN_FILE
    data = read_json(told).get("data") if told.is_file() else None
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(source, dict):
        raise UsageError(f"{bundle}: does not say where its data lies; name it with --data")
    return source
