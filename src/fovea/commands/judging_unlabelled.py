"""Models on images without labels: there is nothing to judge by, so they predict, and that is said."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fovea.commands.evaluate import Evaluate
from fovea.commands.judging import as_seen
from fovea.commands.loading import load_model
from fovea.data.sources.table import paths_in
from fovea.errors import FinishedWithFailures, UsageError
from fovea.evaluation.report import LIKELIEST, LINES
from fovea.files import write_durably
from fovea.runtime.find import Found
from fovea.runtime.predict import Prediction, find_images, predict_files

WANT_LABELS = ("split", "compare", "ensemble", "slices", "robustness", "calibrate")


def predict_only(asked: Evaluate, found: Sequence[Found], reason: str) -> None:
    """Print how often each class is predicted, and with --report write the predictions.

    Args:
        asked: What the user typed.
        found: The models.
        reason: Why there are no labels, in words.

    Raises:
        UsageError: something was asked for that wants labels.
        DataError: there is no image.
        FinishedWithFailures: some images cannot be read; the others are predicted.
    """
    for name in WANT_LABELS:
        if getattr(asked, name):
            raise UsageError(f"--{name} wants labels: {reason}")
    assert asked.data is not None  # what a model was trained on has labels
    source = Path(asked.data)
    paths = find_images([source]) if source.is_dir() else paths_in(source)
    print(f"note: predictions only, nothing to judge by: {reason}", file=sys.stderr)
    failures = 0
    for number, (name, place) in enumerate(zip(asked.models, found, strict=True), start=1):
        model = load_model(place, device=asked.device, network=asked.network, batch_size=asked.batch_size)
        answers: list[Prediction] = []
        failures = 0
        for answer in predict_files(as_seen(asked, model), paths):
            if isinstance(answer, Prediction):
                answers.append(answer)
            else:
                failures += 1
                print(f"fovea: {answer}", file=sys.stderr)
        if answers or asked.json:
            print(_told(asked, name, answers), flush=True)
        if asked.report is not None and answers:
            folder = asked.report if len(found) == 1 else asked.report / f"model_{number}"
            write_durably(folder / LINES, _csv(answers).encode())
            print(f"predictions: {folder / LINES}", file=sys.stderr if asked.json else sys.stdout, flush=True)
    if failures:
        raise FinishedWithFailures(f"{failures} of {len(paths)} images could not be read")


def _told(asked: Evaluate, name: str, answers: Sequence[Prediction]) -> str:
    counts = dict(Counter(answer.label for answer in answers).most_common())
    if asked.json:
        return json.dumps({"model": name, "data": asked.data, "images": len(answers), "predicted": counts})
    shares = ", ".join(f"{label} {count:,}" for label, count in counts.items())
    return f"{name} on {asked.data}, {len(answers):,} images without labels: {shares}"


def _csv(answers: Sequence[Prediction]) -> str:
    """A line for each image: path, prediction, the likeliest classes with their probabilities."""
    into = io.StringIO()
    lines = csv.writer(into, lineterminator="\n")
    places = range(1, min(LIKELIEST, len(answers[0].probabilities) if answers else 0) + 1)
    lines.writerow(["path", "prediction", *(head for k in places for head in (f"class_{k}", f"probability_{k}"))])
    for answer in answers:
        likeliest = sorted(answer.probabilities.items(), key=lambda item: -item[1])[: len(places)]
        cells = [cell for name, chance in likeliest for cell in (name, f"{chance:.6f}")]
        lines.writerow([answer.path, answer.label, *cells])
    return into.getvalue()
