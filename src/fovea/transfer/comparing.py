"""Ways from foreign weights to one's own classes, compared on the same images; the winner becomes a bundle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fovea.architectures.catalogue import architecture_of, published
from fovea.bundle import as_json
from fovea.data.opening import open_data
from fovea.data.sets import Data
from fovea.errors import ModelError, Stopped, UsageError
from fovea.files import BUNDLE_FOLDER, read_json, write_json
from fovea.training import folder as folders
from fovea.training.stopping import stop_on_signals
from fovea.transfer.advice import Quadrant, quadrant
from fovea.transfer.creating import of_bundle
from fovea.transfer.foreign import DECLINED, read_foreign
from fovea.transfer.importing import import_weights
from fovea.transfer.keys import LIBRARIES
from fovea.transfer.options import TransferOptions
from fovea.transfer.outcome import Transferred, simplest_of_the_best
from fovea.transfer.roles import roles
from fovea.transfer.starting import Start
from fovea.transfer.trying import Trial, Tried
from fovea.transfer.ways import DEFAULT, FIXED, Way, parse_ways

RESULT = "transfer.json"


def compare_ways(
    data: Any,
    weights: str | Path,
    options: TransferOptions | None = None,
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    told: Callable[[str], None] | None = None,
) -> Transferred:
    """Try ways from weights that are there to the classes of a data set, and keep the winner.

    Test images judge each way once, or validation images where there are none; every choice is made on others. Run
    again with the same `out`, what is finished is taken as it is, and what was stopped goes on.

    Args:
        data: What `fovea.open_data` takes.
        weights: A run folder or bundle; or "torchvision:NAME", "timm:NAME".
        options: Which ways, and how; `TransferOptions()` where None.
        out: The folder; runs/<time>_transfer_<data> where None.
        quiet: Tell no progress.
        told: Is given a line for every way that is done.

    Raises:
        UsageError: a way or stage that there is not; a folder that holds something else.
        DataError: data that cannot be learned from, or has no images to judge with.
        ModelError: weights that are damaged or do not fit.
        Stopped: a signal came; the same call goes on.
    """
    start = _start(weights)
    made = architecture_of(start.network)
    if made is None:
        raise ModelError(f"{weights}: is no network of the catalogue, so it has no other head; fine-tune it by hand")
    opened, options = open_data(data), options or TransferOptions()
    place = folders.new_name("transfer", opened.name) if out is None else Path(out)
    shared = roles(opened, seed=options.seed)
    trial = Trial(start=start, name=made.name, data=opened, roles=shared, options=options, out=place, quiet=quiet)
    where = quadrant(len(shared.known), channels=opened.channels, similar=options.similar)
    chosen = _ways(options, where, trial)
    asked = _asked(start, opened, options)
    _check_again(place, asked)
    with folders.locked(place):
        if not (place / RESULT).is_file():  # one that is there stays until this is done
            write_json(place / RESULT, {"asked": asked})
        tried: list[Tried] = []
        for way in chosen:
            tried.append(_tried(trial, way, place))
            if told is not None:
                told(_line(tried[-1]))
        winner = simplest_of_the_best(tried)
        holding = [each for each in tried if each.bundle is not None]
        best_held = simplest_of_the_best(holding) if holding else None
        found = Transferred(
            title=f"{made.name} from {Path(weights).name} on {opened.name}",
            tried=tuple(tried),
            winner=winner,
            kept=best_held if winner.bundle is None else winner,
            quadrant=where,
            folder=place,
        )
        if found.kept is not None and found.kept.bundle is not None:
            found.kept.bundle.save(place / BUNDLE_FOLDER)
        write_json(place / RESULT, {"asked": asked} | found.as_json())
    return found


def _start(weights: str | Path) -> Start:
    """The network of a bundle, or of a library's download."""
    if Path(weights).is_dir():
        return of_bundle(Path(weights))
    if str(weights).partition(":")[0] not in LIBRARIES:
        raise _no_source(weights)
    found = import_weights(weights).bundle
    return Start(found.network, found.preprocessing, {**found.provenance["imported"], "source": str(weights)})


def _ways(options: TransferOptions, where: Quadrant, trial: Trial) -> tuple[Way, ...]:
    """Those asked for, each of them possible; where none are, the usual ones and what the lecture's table wants."""
    chosen = parse_ways(options.ways or DEFAULT)
    if not options.ways and where.little and not where.similar:
        chosen += trial.lower_probe()
    for way in chosen:
        trial.check(way)
    return chosen


def _asked(start: Start, data: Data, options: TransferOptions) -> dict[str, Any]:
    """What must be the same where a comparison goes on."""
    same = replace(options, ways="", workers=0, similar="auto")  # these may be asked otherwise of what is there already
    weights = {name: value for name, value in (start.origin or {}).items() if name != "source"}
    told = {"data": data.fingerprint(), "weights": weights, "options": asdict(same)}
    plain: dict[str, Any] = as_json(told)
    return plain


def _tried(trial: Trial, way: Way, place: Path) -> Tried:
    if way.kind in FIXED:
        return trial(way)  # what is interrupted here is soon done again
    try:
        with stop_on_signals() as stop:
            found = trial(way)
        if stop.signal_number is not None:  # it came when the run was being finished
            raise Stopped("stopped", stop.signal_number)
        return found
    except Stopped as error:
        raise Stopped(
            f"stopped and saved within {way}; the same command with --out {place} goes on", error.exit_code - 128
        ) from error


def _no_source(weights: str | Path) -> UsageError | ModelError:
    path = Path(weights)
    if path.is_file():
        if path.suffix in DECLINED:
            read_foreign(path)  # says itself why it does not read such files
        return ModelError(
            f"{path}: is a file of weights; make a bundle of it first, which knows its classes and preprocessing: "
            f"fovea import {path} --as NAME"
        )
    if str(weights) in published():
        return UsageError(
            f"{weights}: is a network without weights; name a bundle of it, or where a library has them, "
            f"torchvision:NAME or timm:NAME"
        )
    return UsageError(f"{weights}: is neither a run folder, nor a bundle, nor torchvision:NAME or timm:NAME")


def _check_again(place: Path, asked: dict[str, Any]) -> None:
    """A folder that was begun for the same comparison goes on; another one stays as it is."""
    found: dict[str, Any] = {}
    with suppress(ModelError, OSError):
        found = read_json(place / RESULT) if (place / RESULT).is_file() else {}
    if not found:
        folders.check_free(place)
        return
    before = found.get("asked", {})
    for name, value in asked.items():
        if before.get(name) != value:
            raise UsageError(
                f"{place}: was begun with {name} {before.get(name)!r}, now it is {value!r}; choose another --out"
            )


def _line(tried: Tried) -> str:
    return f"{tried.way}: left out {tried.left_out:.2%}, {tried.seconds / 60:.2f} minutes"
