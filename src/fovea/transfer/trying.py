"""One way tried: fixed features and a classifier of them, or a network trained, judged on the same images."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import nn

from fovea import bundle as bundles
from fovea.architectures.catalogue import architecture_of, build
from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Data
from fovea.errors import UsageError
from fovea.evaluation.scores import Scores, score
from fovea.files import RUN_FILE
from fovea.randomness import key
from fovea.runtime.features import HEAD, output_layer
from fovea.runtime.model import Model
from fovea.training.options import TrainingOptions
from fovea.training.recipes.finetuning import finetune_for, scratch_for
from fovea.training.stages import count_of, stages_of
from fovea.training.train import Run, train
from fovea.transfer.classifiers import Classifier, Rows, fitted
from fovea.transfer.creating import adapted
from fovea.transfer.options import TransferOptions
from fovea.transfer.peak import peak_memory
from fovea.transfer.remembering import remembered
from fovea.transfer.roles import Roles
from fovea.transfer.starting import Start, adopted
from fovea.transfer.unfolding import unfolded
from fovea.transfer.ways import FIXED, Way

WARMUP = 6.0  # no more than one part of so many of a training is spent on the warm-up


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What one way reached.

    Args:
        way: Which.
        chosen: What was chosen without the judging images, in words.
        left_out: Top-1 accuracy on images that were left out of train to choose by, in [0, 1].
        left_out_images: How many.
        scores: On the images that judge.
        seconds: From the weights to the last of those, extraction of features included.
        memory: Bytes that the process held at most; None where the system does not tell.
        bundle: Ready to be saved; None for what no network of the catalogue can hold.
    """

    way: Way
    chosen: str
    left_out: float
    left_out_images: int
    scores: Scores
    seconds: float
    memory: int | None
    bundle: Bundle | None


@dataclass(kw_only=True)
class Trial:
    """What all ways have in common.

    Args:
        start: The network as its weights were made.
        name: Its name.
        data: As it was opened.
        roles: Of its splits.
        options: What was told.
        out: Where runs lie.
        quiet: Tell no progress.
    """

    start: Start
    name: str
    data: Data
    roles: Roles
    options: TransferOptions
    out: Path
    quiet: bool = False
    _probe: tuple[Classifier, float] | None = field(default=None, init=False)  # and its seconds, for both

    def __post_init__(self) -> None:
        told = architecture_of(self.start.network)
        assert told is not None  # it was built by its name
        self.sizes = {"image_size": self.options.image_size or told.image_size}
        self.source = adapted(self.start, self.name, self.sizes, seed=0)
        self.sizes["num_classes"] = len(self.data.classes)

    def check(self, way: Way) -> None:
        """Refuse, before anything is done, a stage that the network does not have, or a probe where none fits in.

        Raises:
            UsageError: with the stages that it has.
        """
        if way.kind == "both" and not isinstance(output_layer(self.source.network), nn.Linear):
            raise UsageError(f"both: the output layer of {self.name} is not linear, so the probe does not fit into it")
        names = [name for name, _ in stages_of(self.source.network)]
        if way.stage and (way.kind in FIXED or (way.kind == "finetune" and not way.stage.isdigit())):
            if way.stage not in names:
                raise UsageError(f"{way}: no stage is called {way.stage}; there are {', '.join(names)}")
        elif way.stage:
            count_of(way.stage, names, str(way))

    def lower_probe(self) -> tuple[Way, ...]:
        """A probe of the stage in the middle; none where there is but the head."""
        names = [name for name, _ in stages_of(self.source.network)][:-1]
        return (Way("probe", names[len(names) // 2]),) if names else ()

    def __call__(self, way: Way) -> Tried:
        """Try it."""
        return self._fixed(way) if way.kind in FIXED else self._trained(way)

    def _fixed(self, way: Way) -> Tried:
        stage, labels = way.stage or HEAD, self.roles.known.labels
        with peak_memory() as peak:
            known, judge, extracting = self._features(stage)
            began = time.perf_counter()
            found = fitted(way.kind, known, labels, classes=len(self.data.classes), seed=self.options.seed)  # type: ignore[arg-type]
            judged = found.logits(judge)
        scores, seconds = self._score(judged), extracting + time.perf_counter() - began
        if way.kind == "probe" and stage == HEAD:
            self._probe = found, seconds
        return Tried(
            way=way,
            chosen=f"{found}, features of {stage} ({known.shape[1]:,} numbers)",
            left_out=found.cross_validated,
            left_out_images=found.images,
            scores=scores,
            seconds=seconds,
            memory=peak.bytes,
            bundle=self._bundle_of(way, found, scores) if stage == HEAD else None,
        )

    def _features(self, stage: str) -> tuple[Rows, Float32[NDArray[np.float32], "n2 d"], float]:
        """Of the images to learn from and of those that judge, and what extracting them took, whenever that was."""
        model, workers = self._extractor(), self.options.workers or os.cpu_count() or 1
        known, judge = (remembered(model, self.roles[place], stage, workers=workers) for place in (0, -1))
        return known.rows, judge.rows, known.seconds + judge.seconds

    def _trained(self, way: Way) -> Tried:
        began, out = time.perf_counter(), self.out / way.folder
        with peak_memory() as peak:
            network, options = self._network(way), self._options(way)
            resume = (out / RUN_FILE).is_file()
            done = train(network, self.roles.training(self.data), options, out=out, resume=resume, quiet=self.quiet)
        seconds = sum(row["seconds"] for row in done.history) if resume else time.perf_counter() - began
        if way.kind == "both" and self._probe is not None:
            seconds += self._probe[1]
        best = max(done.history, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
        judged, left_out = done.scores["test"], done.scores["validation"]
        return Tried(
            way=way,
            chosen=f"epoch {best['epoch']} of {len(done.history)}",
            left_out=left_out.top1,
            left_out_images=left_out.images,
            scores=dataclasses.replace(judged, split=self.roles.judge.name),
            seconds=seconds,
            memory=peak.bytes,
            bundle=self._told(done, way),
        )

    def _told(self, done: Run, way: Way) -> Bundle:
        """A run's bundle by the data's own splits: the run was told other ones, of which it calls what judges test."""
        own = {"name": self.data.name, "fingerprint": self.data.fingerprint()}
        bundle, judge = done.model.bundle, self.roles.judge
        metrics = {judge.name: done.scores["test"].summary()}
        if self.roles.choose is self.data.validation:
            metrics["validation"] = done.scores["validation"].summary()
        told = bundle.provenance["data"] | own
        return dataclasses.replace(
            bundle, metrics=metrics, provenance=bundle.provenance | {"data": told, "way": str(way)}
        )

    def _score(self, logits: torch.Tensor) -> Scores:
        judge = self.roles.judge
        return score(logits, torch.from_numpy(judge.labels), split=judge.name, classes=self.data.classes)

    def _extractor(self) -> Model:
        spec = self.spec
        names = tuple(map(str, range(getattr(self.source.network, "num_classes", 1))))
        told = bundles.describe(self.source.network)
        return Model(Bundle(network=self.source.network, architecture=told, classes=names, preprocessing=spec))

    @property
    def spec(self) -> Preprocessing:
        """How images are prepared: as the weights want it; small square ones are enlarged whole, without a margin."""
        spec = self.source.preprocessing
        assert spec is not None  # bundles and libraries have one
        small = self.data.image_size is not None and self.data.image_size < spec.image_size
        return dataclasses.replace(spec, resize=spec.image_size) if small else spec

    def _network(self, way: Way) -> nn.Module:
        """The network as training begins with it."""
        seed = key(self.options.seed, "weights")
        filled = adapted(self.start, self.name, self.sizes, seed=seed, fresh_head=True)
        if way.kind != "scratch" and (norms := unfolded(filled.network, self.roles.fit, self.spec)):
            filled.network.origin = {**(filled.origin or {}), "unfolded": norms}  # type: ignore[assignment]
        if way.kind == "both":
            self._with_probe(filled.network)
        if way.kind not in ("scratch", "lower"):
            return filled.network
        told = bundles.describe(filled.network)
        assert told is not None  # it was built by its name
        fresh = build(self.name, **self.sizes, in_channels=told.in_channels, seed=seed, **told.options)
        if way.kind == "lower":
            taken = count_of(way.stage, [name for name, _ in stages_of(fresh)], str(way))
            pairs = zip(stages_of(fresh)[:taken], stages_of(filled.network)[:taken], strict=True)
            for (_, (own,)), (_, (theirs,)) in pairs:  # below the head each is one module
                own.load_state_dict(theirs.state_dict())
            fresh.origin = {**(bundles.origin_of(filled.network) or {}), "stages": way.stage}  # type: ignore[assignment]
        return fresh

    def _with_probe(self, network: nn.Module) -> None:
        """Put the probe's linear function into the output layer."""
        if self._probe is None:
            self._fixed(Way("probe"))
        assert self._probe is not None  # it was fitted
        _fill(network, self._probe[0])

    def _options(self, way: Way) -> TrainingOptions:
        images, photographs = len(self.roles.fit), self.data.channels == 3
        fresh = way.kind in ("scratch", "lower")
        told = (scratch_for if fresh else finetune_for)(images, photographs=photographs)
        told = adopted(told, self.spec).but(**self.options.changes(fresh=fresh))
        told = told.but(warmup_epochs=min(told.rate.warmup_epochs, told.epochs / WARMUP))
        if way.kind == "both":
            told = told.but(lr=told.update.lr / 3)
        if way.kind == "gradual":
            stages = len(stages_of(self.source.network))
            told = told.but(thaw_epochs=max(1, told.epochs // (2 * stages)))
        if way.kind == "finetune" and way.stage:
            names = [name for name, _ in stages_of(self.source.network)]
            below = way.stage if way.stage.isdigit() else str(names.index(way.stage))
            told = told.but(freeze=below)
        return told

    def _bundle_of(self, way: Way, found: Classifier, scores: Scores) -> Bundle | None:
        """The network with the linear function in its output layer; None where it has no such layer."""
        network = adapted(self.start, self.name, self.sizes, seed=0, fresh_head=True).network
        if not _fill(network, found):
            return None
        judge = self.roles.judge
        origin = {k: v for k, v in (self.start.origin or {}).items() if k != "source"}
        return Bundle(
            network=network.eval(),
            architecture=bundles.describe(network),
            classes=self.data.classes,
            preprocessing=self.spec,
            provenance={
                "data": {"name": self.data.name, "fingerprint": self.data.fingerprint()},
                "way": str(way),
                "chosen": str(found),
                "seed": self.options.seed,
                "weights": origin,
            },
            metrics={judge.name: scores.summary()},
        )


def _fill(network: nn.Module, found: Classifier) -> bool:
    """Put a classifier's linear function into the output layer, and say whether it fits there."""
    output = output_layer(network)
    if found.linear is None or not isinstance(output, nn.Linear) or output.bias is None:
        return False
    with torch.no_grad():
        output.weight.copy_(found.linear[0])
        output.bias.copy_(found.linear[1])
    return True
