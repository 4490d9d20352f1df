"""Judging one model, as `fovea evaluate` asks for it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import fovea
from fovea.architectures import catalogue
from fovea.architectures.catalogue import PublishedError
from fovea.bundle import Bundle
from fovea.commands.evaluate import Evaluate
from fovea.commands.loading import load_model, trained_on
from fovea.commands.progress import counting
from fovea.data.copies import copies
from fovea.data.sets import Data, Split
from fovea.errors import UsageError
from fovea.evaluation.calibration import fitted_temperature
from fovea.evaluation.judge import evaluate
from fovea.evaluation.protocols import Seen, SeenWhole, seen
from fovea.evaluation.scores import Scores
from fovea.evaluation.slices import SliceScores, sliced, slices_by_column, slices_by_pattern
from fovea.runtime.find import Found
from fovea.runtime.model import Model, Predicts

if TYPE_CHECKING:
    from fovea.evaluation.robustness import Curve


UNCUT = "1/0/0"  # of a set that is judged as a whole nothing is set apart, be it one image a class
SQUARES = ("five", "ten")  # protocols of crops of one size


@dataclass(frozen=True)
class Judged:
    """A model with what was found.

    Args:
        name: As the user typed it.
        model: What predicts, by the protocol asked for.
        bundle: The network and how it was made.
        data: What it was judged on.
        split: Of that the split.
        scores: What was found.
        how: The protocol in words.
        slices: Figures for parts of the split.
        curves: Figures for changed images.
        published: The errors that the network's paper prints, where it is asked for a paper's protocol.
        copies: How many of the images judged stand in the data's training split, too, to the byte.
    """

    name: str
    model: Predicts
    bundle: Bundle
    data: Data
    split: Split
    scores: Scores
    how: str
    slices: tuple[SliceScores, ...] = ()
    curves: tuple[Curve, ...] = ()
    published: tuple[PublishedError, ...] = ()
    copies: int = 0

    @property
    def seed(self) -> int | None:
        """What it was trained with; None where that is not known."""
        found = self.bundle.provenance.get("training", {}).get("seed")
        return found if isinstance(found, int) else None

    def facts(self) -> dict[str, Any]:
        """The model, the data and the numbers, for machines."""
        told: dict[str, Any] = {"model": self.name, "data": self.data.name, "split": self.split.name}
        if self.how:
            told["protocol"] = self.how
        told |= self.scores.summary()
        if self.copies:
            told["copies_in_train"] = self.copies
        if self.published:
            told["published"] = [asdict(each) for each in self.published]
        if self.slices:
            told["slices"] = [
                {"slice": s.name, "images": s.images, "top1": s.top1, "top1_interval": list(s.top1_interval)}
                for s in self.slices
            ]
        if self.curves:
            told["robustness"] = [
                {
                    "change": curve.change,
                    "values": list(curve.values),
                    "top1": list(curve.top1),
                    "intervals": [list(each) for each in curve.intervals],
                    "agreement": list(curve.mean_agreement),
                }
                for curve in self.curves
            ]
        return told

    def notes(self) -> list[str]:
        """What belongs beside the figures: copies in training, and the paper's own with the data that each is of."""
        ours = f"here {1 - self.scores.top1:.1%} and {1 - self.scores.top_k:.1%} on {self.data.name} {self.split.name}"
        spec, told = self.bundle.preprocessing, []
        if isinstance(self.model, Seen) and self.model.protocol.name in SQUARES and spec.resize == spec.image_size:
            told.append(
                f"images are resized to the network's own {spec.image_size} pixels, so that all crops of a square one "
                "are the same; train with a larger --resize"
            )
        copied = f"{self.copies:,} of these images stand in the training split, too, to the byte"
        return (
            told
            + ([copied] if self.copies else [])
            + [
                f"published: error {_per_cent(each.top1)} top-1, {_per_cent(each.top5)} top-5 on {each.data}, "
                f"{each.protocol} ({each.source}); {ours}"
                for each in self.published
            ]
        )

    def line(self, asked: Evaluate) -> str:
        """What the command prints of it."""
        if asked.json:
            return json.dumps(self.facts())
        lines = [f"{self.name} on {self.data.name}, {self.scores}"]
        lines += [f"  by {self.how}"] if self.how else []
        lines += [f"  {each}" for each in self.notes()]
        lines += [f"  slice {each}" for each in self.slices]
        for curve in self.curves:
            points = ", ".join(f"{value:g}: {top1:.1%}" for value, top1 in zip(curve.values, curve.top1, strict=True))
            lines.append(f"  {curve.change}  {points}")
        return "\n".join(lines)


class Judge:
    """Judges models as the command asks for it; data that several of them share is opened once.

    Args:
        asked: What the user typed.
        share: This process's place and how many processes share the images.
    """

    def __init__(self, asked: Evaluate, share: tuple[int, int]) -> None:
        self.asked, self.share = asked, share
        self._opened: dict[str, Data] = {}

    def open(self, found: Found) -> Data:
        """The data that a model is to be judged on.

        Raises:
            Unlabelled: it has no labels.
            UsageError, DataError: there is none, or it cannot be used.
        """
        source = {"source": self.asked.data} if self.asked.data is not None else trained_on(found.bundle)
        key = json.dumps(source, sort_keys=True)
        if key not in self._opened:
            self._opened[key] = _open(self.asked, source)
        return self._opened[key]

    def __call__(self, name: str, found: Found) -> Judged:
        """Load a model and judge it on its data."""
        asked = self.asked
        loaded = load_model(found, device=asked.device, network=asked.network, batch_size=asked.batch_size)
        loaded.share = self.share
        data = self.open(found)
        _warn_of_other_data(loaded, data)
        split = data.split(asked.split or ("test" if data.test is not None else "validation"))
        sweeps = _sweeps(asked, split)
        known: dict[str, Scores] = {}
        if asked.calibrate:
            loaded, known = _calibrated(loaded, data, split, found)
        model = as_seen(asked, loaded)
        how = "" if asked.protocol == "centre" else str(model)
        scores = evaluate(model, split) if how or split.name not in known else known[split.name]
        slices, curves = _slices(asked, scores, split), _curves(asked, model, split, sweeps)
        published = _published(loaded) if how else ()
        trained_on = data.train if split.name not in ("train", "all") else None
        copied = 0 if trained_on is None else len(copies(split, trained_on))
        return Judged(name, model, loaded.bundle, data, split, scores, how, slices, curves, published, copied)


def as_seen(asked: Evaluate, model: Model) -> Model | Seen | SeenWhole:
    """The model with the protocol that the command asks for."""
    return seen(model, asked.protocol, average=asked.average, views=asked.views, scales=asked.scales, seed=asked.seed)


def _calibrated(model: Model, data: Data, judged: Split, found: Found) -> tuple[Model, dict[str, Scores]]:
    """The model with a temperature fitted anew, which is kept in its bundle with what it makes of the figures there.

    Returns:
        The model, and its scores by split as far as they were asked for anew.
    """
    validation = data.validation
    if validation is None or judged.name in (validation.name, "all"):
        raise UsageError(
            f"--calibrate fits a temperature on a validation split that is not the one judged; {data.name} has none "
            f"left: cut one with --cut, or judge another --split"
        )
    if found.checkpoint is not None:
        raise UsageError(f"--calibrate keeps a temperature in a bundle; {found.checkpoint} is a checkpoint")
    scores = evaluate(model, validation)
    factor = fitted_temperature(scores.logits, scores.labels)
    bundle = replace(model.bundle, temperature=model.bundle.temperature * factor)
    calibrated = Model(bundle, device=model.device, batch_size=model.batch_size, share=model.share)
    known: dict[str, Scores] = {}
    if bundle.provenance.get("data", {}).get("fingerprint") == data.fingerprint():
        known = {each: evaluate(calibrated, data.split(each)) for each in bundle.metrics}
        calibrated.bundle = replace(bundle, metrics={name: each.summary() for name, each in known.items()})
    if model.share[0] == 0:
        calibrated.bundle.save(found.bundle)
    print(
        f"{found.bundle}: temperature {bundle.temperature:.3f}, fitted on {len(validation):,} validation images",
        file=sys.stderr,
    )
    return calibrated, known


def _published(model: Model) -> tuple[PublishedError, ...]:
    known = catalogue.published()
    return tuple(known[model.bundle.name].errors) if model.bundle.name in known else ()


def _per_cent(error: float | None) -> str:
    return "–" if error is None else f"{error:g} %"


def _slices(asked: Evaluate, scores: Scores, split: Split) -> tuple[SliceScores, ...]:
    if not asked.slices:
        return ()
    paths = [split.images.name(index) for index in range(len(split))]
    if asked.slice_table is None:
        return tuple(sliced(scores.logits, scores.labels, slices_by_pattern(paths, asked.slices)))
    found = [
        (f"{column}={value}", mask)
        for column in asked.slices
        for value, mask in slices_by_column(asked.slice_table, column, paths).items()
    ]
    return tuple(sliced(scores.logits, scores.labels, dict(found)))


def _sweeps(asked: Evaluate, split: Split) -> dict[str, tuple[float, ...]]:
    """The values of each change asked for; an unknown one is refused here, before anything is judged."""
    if not asked.robustness:
        return {}
    from fovea.evaluation.robustness import default_values

    side = min(split.images[0].shape[:2])
    return {change: default_values(change, side) for change in asked.robustness}


def _curves(asked: Evaluate, model: Predicts, split: Split, sweeps: dict[str, tuple[float, ...]]) -> tuple[Curve, ...]:
    from fovea.evaluation.robustness import curve

    return tuple(curve(model, split, change, values, seed=asked.seed) for change, values in sweeps.items())


def _open(asked: Evaluate, source: dict[str, Any]) -> Data:
    if asked.data is None:
        return fovea.open_data(**source | ({"data_root": asked.data_root} if asked.data_root else {}))
    with counting("opening files") as progress:
        return fovea.open_data(
            asked.data,
            split=asked.cut or (UNCUT if asked.split == "all" else None),
            split_seed=asked.split_seed,
            data_root=asked.data_root,
            allow_bad=asked.allow_bad,
            progress=progress,
        )


def _warn_of_other_data(model: Model, data: Data) -> None:
    """The same set with another fingerprint may be cut differently: training images may be among those judged."""
    trained = model.bundle.provenance.get("data", {})
    if trained.get("name") == data.name and trained.get("fingerprint") != data.fingerprint():
        print(
            f"note: {data.name} is not as it was when the model was trained (changed, or cut in another way); "
            f"training images may be among those judged",
            file=sys.stderr,
        )
