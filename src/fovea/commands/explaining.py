"""Looking into a model, as `fovea explain` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fovea
from fovea.commands.explain import Explain
from fovea.commands.loading import load_model, trained_on
from fovea.commands.progress import counting
from fovea.data.fitted import Fitted
from fovea.data.sets import Chosen, Split
from fovea.errors import UsageError
from fovea.explain.attributing import Attribution, answered
from fovea.explain.dreaming import DreamingOptions, dream
from fovea.explain.faithfulness import CurveOptions, Curves, curves
from fovea.explain.inverting import InvertingOptions, invert
from fovea.explain.maximising import MaximisingOptions, maximise
from fovea.explain.methods import explainer
from fovea.explain.options import ATTRIBUTIONS, LOOKS
from fovea.explain.places import place_of
from fovea.explain.pointing import Pointing, composed, pointing
from fovea.explain.projecting import projections
from fovea.explain.question import Question
from fovea.explain.randomising import Randomisation, randomised
from fovea.explain.showing import Showing
from fovea.explain.showing_attributions import show_attributions
from fovea.explain.showing_data import show_similarity, show_space, show_units
from fovea.explain.showing_learned import (
    show_activations,
    show_dreams,
    show_inversions,
    show_maximised,
    show_weights,
)
from fovea.explain.similarity import similarity
from fovea.explain.spaces import Way, feature_space
from fovea.explain.subject import Subject, subject_of
from fovea.explain.units import TOP, units
from fovea.explain.untouched import untouched
from fovea.runtime.features import HEAD, stage_features, stages_of
from fovea.runtime.find import Found
from fovea.runtime.model import Model

FEW, SOME, MANY = 10, 512, 2000  # images of the data: explained, compared, put into the plane
MOST_CLASSES, MOST_STAGES = 10, 8  # maximised, and inverted, where none is named


def look(asked: Explain, methods: Sequence[str], found: Found, other: Found | None) -> tuple[str, Showing]:
    """Do what is asked for: a title, and what is to be shown."""
    model = load_model(found, device=asked.device, network=asked.network)
    name, method = model.bundle.name, methods[0]
    if method in ATTRIBUTIONS:
        return f"{name}: which pixels did it", _attributions(asked, methods, model, found)
    ways: dict[str, Callable[[], Showing]] = {
        "weights": lambda: _weights(asked, model),
        "maximise": lambda: _maximised(asked, model),
        "activations": lambda: _activations(asked, model, found),
        "deepdream": lambda: _dreamed(asked, model, found),
        "inversion": lambda: _inverted(asked, model, found),
        "units": lambda: _units(asked, model, found),
        "pca": lambda: _space(asked, model, found, "pca"),
        "tsne": lambda: _space(asked, model, found, "tsne"),
        "similarity": lambda: _similar(asked, model, found, other),
    }
    return f"{name}: {LOOKS[method]}", ways[method]()


def _attributions(asked: Explain, methods: Sequence[str], model: Model, found: Found) -> Showing:
    subject = subject_of(model, _images(asked, found, FEW))
    options = replace(asked.explain, batch_size=min(asked.explain.batch_size, model.batch_size))
    answers: list[Attribution] = []
    with untouched(model.network), counting("explaining") as progress:
        question = subject.question(target=asked.target, layer=asked.layer, options=options)
        for method in methods:
            answers.append(answered(subject, question, method))
            progress(len(answers), len(methods))
    if not isinstance(question.aim, Tensor):
        if asked.randomise or asked.mosaics:
            raise UsageError("--randomise and --mosaics test explanations of classes; leave them out for a unit")
        return show_attributions(answers, {}, [], [])
    judged = _judged(subject, question, question.aim, answers) if asked.curves else {}
    tests = _tests(subject, question, question.aim, methods) if asked.randomise else []
    pointings = _pointings(subject, question, methods, asked.mosaics) if asked.mosaics else []
    return show_attributions(answers, judged, tests, pointings)


def _judged(subject: Subject, question: Question, targets: Tensor, answers: Sequence[Attribution]) -> dict[str, Curves]:
    options = CurveOptions(batch_size=question.options.batch_size, seed=question.options.seed)
    found: dict[str, Curves] = {}
    known = None  # chance is the same for every method
    with counting("judging") as progress:
        for answer in answers:
            maps = torch.from_numpy(answer.maps)
            known = curves(subject.network, subject.images, targets, maps, options=options, known=known)
            found[answer.method] = known
            progress(len(found), len(answers))
    return found


def _tests(subject: Subject, question: Question, targets: Tensor, methods: Sequence[str]) -> list[Randomisation]:
    found: list[Randomisation] = []
    with counting("destroying weights") as progress:
        for method in methods:
            explain, words, seed = explainer(method, question), ATTRIBUTIONS[method], question.options.seed
            found.append(randomised(subject.network, subject.images, targets, explain, name=words, seed=seed))
            progress(len(found), len(methods))
    return found


def _pointings(subject: Subject, question: Question, methods: Sequence[str], count: int) -> list[Pointing]:
    """Mosaics of the images explained, of the classes that the network itself gives them."""
    made = composed(subject.pixels, subject.logits.argmax(1), count=count, seed=question.options.seed)
    shown = subject.model.bundle.preprocessing.normalise(made.images.to(subject.images.device))
    found: list[Pointing] = []
    with counting("pointing") as progress:
        for method in methods:
            explain, words = explainer(method, question), ATTRIBUTIONS[method]
            found.append(pointing(subject.network, shown, made.targets, explain, places=made.places, name=words))
            progress(len(found), len(methods))
    return found


def _weights(asked: Explain, model: Model) -> Showing:
    """The first filters; those of a layer further on by the images that excite them."""
    return _maximised(asked, model) if asked.layer is not None or asked.units else show_weights(model.network)


def _maximised(asked: Explain, model: Model) -> Showing:
    options = MaximisingOptions(**_climb(asked))
    with counting("climbing") as progress:
        unit = asked.target is not None and asked.target not in model.classes and ":" in asked.target
        if asked.layer is not None or asked.units or unit:
            units, what = _units_named(asked, model)
            found = maximise(model, units=units, options=options, progress=progress)
        else:
            targets, what = asked.target or list(range(min(MOST_CLASSES, len(model.classes)))), "classes"
            found = maximise(model, targets=targets, options=options, progress=progress)
    return show_maximised(found, f"{model.bundle.name}: images that excite {what} most")


def _units_named(asked: Explain, model: Model) -> tuple[list[str], str]:
    if asked.target is not None:
        if asked.layer is not None or asked.units:
            raise UsageError("--target names what is maximised, and so do --layer and --units; give one of the two")
        return [asked.target], f"unit {asked.target}"
    spec = model.bundle.preprocessing
    with untouched(model.network):
        blank = torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size, device=model.device)
        place = place_of(model.network, blank, asked.layer)
    channels = asked.units or range(min(TOP, place.shape[0]))
    return [f"{place.name}:{channel}" for channel in channels], f"units of {place.name}"


def _activations(asked: Explain, model: Model, found: Found) -> Showing:
    subject = subject_of(model, _images(asked, found, FEW))
    layer = _layer(asked, subject)
    fitted = Fitted(subject.raw, torch.zeros(len(subject.names), dtype=torch.int64), model.bundle.preprocessing, None)
    maps = stage_features(model, fitted, [layer], pooled=False)[layer].numpy()
    return show_activations(maps, subject.titles, layer)


def _dreamed(asked: Explain, model: Model, found: Found) -> Showing:
    subject = subject_of(model, _images(asked, found, 1))
    options = DreamingOptions(**_climb(asked))
    with counting("dreaming") as progress:
        dreamed = dream(model, subject.pixels, stage=_layer(asked, subject), options=options, progress=progress)
    return show_dreams(dreamed, subject.pictures, subject.titles)


def _inverted(asked: Explain, model: Model, found: Found) -> Showing:
    subject = subject_of(model, _images(asked, found, 1))
    stages = [asked.layer] if asked.layer else list(stages_of(model.network)) or [_layer(asked, subject)]
    if len(stages) > MOST_STAGES:  # evenly, the first and the last among them
        stages = [stages[round(place * (len(stages) - 1) / (MOST_STAGES - 1))] for place in range(MOST_STAGES)]
    options = InvertingOptions(**_climb(asked))
    with counting("inverting") as progress:
        inverted = invert(model, subject.pixels, stages=stages, options=options, progress=progress)
    return show_inversions(inverted, subject.titles)


def _climb(asked: Explain) -> dict[str, Any]:
    """What all that is found by steps takes."""
    given = {"seed": asked.explain.seed, "batch_size": asked.explain.batch_size}
    return given | ({"steps": asked.steps} if asked.steps is not None else {})


def _layer(asked: Explain, subject: Subject) -> str:
    if asked.layer is not None:
        return asked.layer
    with untouched(subject.network):
        return place_of(subject.network, subject.images).name


def _units(asked: Explain, model: Model, found: Found) -> Showing:
    split = _split(asked, found, None)
    exciting = units(model, split, layer=asked.layer, channels=asked.units)
    return show_units(exciting, projections(model, split, exciting))


def _space(asked: Explain, model: Model, found: Found, method: Way) -> Showing:
    split = _split(asked, found, MANY)
    stage = asked.layer or HEAD
    return show_space(feature_space(model, split, stage=stage, method=method, seed=asked.explain.seed), model, split)


def _similar(asked: Explain, model: Model, found: Found, other: Found | None) -> Showing:
    second = None if other is None else load_model(other, device=asked.device, network=asked.network)
    own = similarity(model, _split(asked, found, SOME), other=second)
    name = model.bundle.name
    return show_similarity(own, name, name if second is None else second.bundle.name)


def _images(asked: Explain, found: Found, count: int) -> Any:
    """The images named, else the first of the data's split."""
    return asked.images or _split(asked, found, count)


def _split(asked: Explain, found: Found, count: int | None) -> Split:
    """The data named, or what the model was trained on, as far as it is looked at."""
    source = {"source": asked.data} if asked.data is not None else trained_on(found.bundle)
    with counting("opening files") as progress:
        root = {"data_root": asked.data_root} if asked.data_root else {}
        data = fovea.open_data(**source | root, progress=progress)
    split = data.split(asked.split or ("test" if data.test is not None else "validation"))
    count = asked.limit or count
    if count is None or count >= len(split):
        return split
    return evenly(split, count)


def evenly(split: Split, count: int) -> Split:
    """So many images of a split, evenly over its length, so that sorted classes all have their share."""
    rows = np.arange(count) * len(split) // count
    return Split(split.name, Chosen(split.images, rows), split.labels[rows], split.classes)
