"""One resolver for every command: a run folder or a bundle, by its path. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from fovea.architectures.catalogue import published
from fovea.errors import ModelError, UsageError, suggestion
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER, RUN_FILE


def find_bundle(model: Path | str) -> Path:
    """The bundle's folder that MODEL means.

    Raises:
        UsageError: it is neither a folder nor a name.
        ModelError: a network's name, which has no weights; or a folder without a bundle.
    """
    folder = Path(model)
    if (folder / BUNDLE_FILE).is_file():
        return folder
    if (folder / BUNDLE_FOLDER / BUNDLE_FILE).is_file():
        return folder / BUNDLE_FOLDER
    if (folder / RUN_FILE).is_file():
        raise ModelError(f"{folder}: the run is not finished; go on with: fovea train --resume {folder}")
    if folder.exists():
        raise ModelError(f"{folder}: is neither a run folder nor a bundle (no {BUNDLE_FILE} in it)")
    if str(model) in published():
        raise ModelError(
            f"{model}: is a network without weights; train it (fovea train {model}) and name the run folder"
        )
    known = [*published(), *_runs()]
    raise UsageError(
        f"{str(model)!r} is neither a run folder, nor a bundle, nor a network.{suggestion(str(model), known)}"
    )


def _runs() -> list[str]:
    return [str(path.parent) for path in Path("runs").glob(f"*/{RUN_FILE}")]
