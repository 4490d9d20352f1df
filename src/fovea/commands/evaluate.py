"""fovea evaluate: how good a model is, on its own data or on another's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fovea.commands.parsing import parse
from fovea.data.names import check_source
from fovea.errors import Unlabelled, UsageError, require
from fovea.files import make_folder
from fovea.runtime.find import Found, find_model, seeds_in

VIEWS = 16
Protocol = Literal["centre", "flip", "airbench_6", "five", "ten", "googlenet_144", "vgg_150", "random", "dense"]


@dataclass(frozen=True)
class Evaluate:
    """Judge models: top-1 accuracy with its 95 % interval, top-5, negative log-likelihood; several also together."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run folders, bundles, or checkpoints of a run; a folder of several seeds stands for its runs."""
    data: str | None = None
    """Data to judge on; what each model was trained on, cut in the same way, where none is named. Without labels, a
    folder of images or a table of paths, the models only predict."""
    split: str | None = None
    """train, validation, test, or all of them; test where there is one, else validation."""
    cut: str | None = None
    """How --data is split where it is not already: 0.8/0.1/0.1."""
    split_seed: int = 42
    """Cuts --data."""
    data_root: Path | None = None
    """Where the sets known by name lie."""
    allow_bad: int = 0
    """Judge --data without so many files that cannot be decoded or have no label."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the network runs."""
    network: str | None = None
    """For a model of a network of your own: file.py:Class; its code runs, a bundle's never does."""
    protocol: Protocol = "centre"
    """How one image becomes several views whose answers are averaged; dense judges the whole image at once."""
    average: Literal["probabilities", "logits"] = "probabilities"
    """What is averaged over the views."""
    views: int = VIEWS
    """How many views --protocol random draws of each image."""
    scales: tuple[int, ...] = ()
    """What --protocol dense makes the shorter side, in pixels, one pass each; the model's own where none is named."""
    batch_size: int | None = None
    """Images judged at once; as many as suit their size where none is named."""
    seed: int = 0
    """Draws random views, corruptions and bootstrap samples."""
    compare: bool = False
    """Compare each further model with the first, and an ensemble with each, on the same images: McNemar's test and a
    paired bootstrap."""
    ensemble: bool = False
    """Judge all the models as one, too, and say what each adds."""
    members: Literal["equal", "fitted", "greedy"] = "equal"
    """Weights of --ensemble: equal, or from the validation split the likeliest, or the best greedy selection."""
    slices: tuple[str, ...] = ()
    """Judge parts of the split, too: patterns of paths, such as '*/night/*', or a column of --slice-table."""
    slice_table: Path | None = None
    """A CSV with a column path, whose columns --slices names."""
    robustness: tuple[str, ...] = ()
    """Judge changed images, too: gaussian_noise, shot_noise, gaussian_blur, contrast, jpeg, shift, rotation, scale."""
    calibrate: bool = False
    """First fit a temperature on the validation split and keep it in each bundle, for evaluate and predict."""
    report: Path | None = None
    """A folder for report.html, report.json, predictions.csv and pictures, below it one for each of several models."""
    json: bool = False
    """An object for each model, a line each, for machines."""


def run(arguments: list[str]) -> int:
    """Judge each model and print its scores.

    Raises:
        UsageError: no model is named, or options that do not go together.
    """
    asked = parse(Evaluate, "evaluate", arguments)
    asked = replace(asked, models=tuple(run for model in asked.models for run in seeds_in(model)))
    _check(asked)
    found = [find_model(model) for model in asked.models]
    if asked.data is not None:
        check_source(asked.data)
    if asked.report is not None:
        make_folder(asked.report)  # a place that cannot be written is told before the work, not after it

    from fovea.runtime.ranks import joined

    with joined() as share:
        _judge_all(asked, found, share)
    return 0


def _judge_all(asked: Evaluate, found: Sequence[Found], share: tuple[int, int]) -> None:
    from fovea.commands.judging import Judge
    from fovea.commands.judging_report import report, report_together
    from fovea.commands.judging_together import together
    from fovea.commands.judging_unlabelled import predict_only

    judge = Judge(asked, share)
    try:
        judge.open(found[0])
    except Unlabelled as error:
        if share[0] == 0:
            predict_only(asked, found, str(error))
        return
    judged = []
    for model, place in zip(asked.models, found, strict=True):
        judged.append(judge(model, place))
        print(judged[-1].line(asked), flush=True)
        if asked.report is not None and share[0] == 0:
            folder = asked.report if len(found) == 1 else asked.report / f"model_{len(judged)}"
            print(f"report: {report(judged[-1], folder)}", file=sys.stderr if asked.json else sys.stdout, flush=True)
    if len(judged) == 1:
        return
    said = []
    for each in together(asked, judged):
        said.append(each)
        print(each.line(asked), flush=True)
    if asked.report is not None and share[0] == 0:
        print(f"report: {report_together(judged, said, asked.report)}", file=sys.stderr if asked.json else sys.stdout)


def _check(asked: Evaluate) -> None:
    require("allow_bad", asked.allow_bad, asked.allow_bad >= 0, "0 or more")
    require("views", asked.views, asked.views > 0, "1 or more")
    if asked.batch_size is not None:
        require("batch_size", asked.batch_size, asked.batch_size > 0, "1 or more")
    if not asked.models:
        raise UsageError("name a run folder or a bundle, for example: fovea evaluate runs/latest")
    for name in ("compare", "ensemble"):
        if getattr(asked, name) and len(asked.models) < 2:
            raise UsageError(f"--{name} wants two models or more; one is named")
    misplaced = {
        "--views": (asked.views != VIEWS, asked.protocol == "random", "--protocol random"),
        "--scales": (bool(asked.scales), asked.protocol == "dense", "--protocol dense"),
        "--average": (asked.average != "probabilities", asked.protocol != "centre", "a --protocol of several views"),
    }
    for option, (given, fits, home) in misplaced.items():
        if given and not fits:
            raise UsageError(f"{option} belongs to {home}; --protocol is {asked.protocol}")
    if asked.members != "equal" and not asked.ensemble:
        raise UsageError(f"--members {asked.members} belongs to --ensemble, which is not asked for")
    if asked.slice_table is not None and not asked.slices:
        raise UsageError(f"--slice-table {asked.slice_table} wants --slices, the names of its columns to judge by")
