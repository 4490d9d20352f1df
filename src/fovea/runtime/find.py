"""One resolver for every command: a run folder, a bundle or a checkpoint, by its path. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fovea.architectures.catalogue import published
from fovea.errors import ModelError, UsageError, suggestion
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER, RUN_FILE, SEEDS_FILE, read_json

CHECKPOINT = ".safetensors"


class Found(NamedTuple):
    """A model on the disk.

    Args:
        bundle: The bundle's folder.
        checkpoint: The file whose weights take the place of the bundle's; None for the bundle's own.
    """

    bundle: Path
    checkpoint: Path | None = None


def find_model(model: Path | str) -> Found:
    """What MODEL means: a run folder or a bundle, or a checkpoint of a finished run.

    Raises:
        UsageError: it is neither a file, nor a folder, nor a name.
        ModelError: a file that is no checkpoint of a run; else as `find_bundle`.
    """
    path = Path(model)
    if not path.is_file():
        return Found(find_bundle(model))
    if (path.parent / BUNDLE_FILE).is_file():  # one of the bundle's own files
        return Found(path.parent)
    run = next((folder for folder in path.absolute().parents[:2] if (folder / RUN_FILE).is_file()), None)
    if path.suffix != CHECKPOINT or run is None:
        raise ModelError(
            f"{path}: is no checkpoint of a run (a {CHECKPOINT} file in a folder with {RUN_FILE}); name a run folder, "
            f"a bundle, or such a file"
        )
    return Found(find_bundle(run), path)


def seeds_in(model: Path | str) -> list[str]:
    """The runs of a folder of several seeds, in their order; MODEL itself where it is none.

    Raises:
        ModelError: the folder names no seeds.
    """
    path = Path(model) / SEEDS_FILE
    if not path.is_file():
        return [str(model)]
    seeds = read_json(path).get("seeds")
    if not isinstance(seeds, list) or not seeds:
        raise ModelError(f"{path}: names no seeds; name its runs one by one")
    return [str(Path(model) / f"seed_{seed}") for seed in seeds]


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
    if (folder / SEEDS_FILE).is_file():
        raise ModelError(f"{folder}: holds the runs of several seeds; name one of them, such as {seeds_in(folder)[0]}")
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
