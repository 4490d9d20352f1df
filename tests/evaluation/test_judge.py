"""Judging: classes meet by name, every image counts once, what the model does not know is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, UsageError
from fovea.evaluation.judge import evaluate, matched_labels
from fovea.runtime.model import Model


class Brightest(nn.Module):
    """A model that is always right: class k has its k-th pixel lit."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return images.flatten(1)[:, : self.classes]


def lit(labels):
    images = np.zeros((len(labels), 4, 4), np.uint8)
    images.reshape(len(labels), 16)[np.arange(len(labels)), labels] = 255
    return images


def model_of(classes, network=None):
    spec = Preprocessing(image_size=4, resize=4, in_channels=1)
    network = network or Brightest(len(classes))
    return Model(Bundle(network=network, architecture=None, classes=classes, preprocessing=spec))


def split_of(labels, classes, shown=None):
    shown = labels if shown is None else shown
    return Split("test", ArrayImages(lit(np.asarray(shown)), "lit"), np.asarray(labels, np.int64), classes)


def test_classes_in_another_order_are_matched_by_name():
    model = model_of(("ant", "bee", "cow"))
    # In the data's order cow is 0, ant is 1, bee is 2; the pixels are those of the model's order.
    split = split_of([0, 1, 2, 0], ("cow", "ant", "bee"), shown=[2, 0, 1, 2])
    scores = evaluate(model, split)
    assert scores.top1 == 1.0
    assert scores.classes == ("ant", "bee", "cow")
    assert scores.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 2]]


def test_some_of_the_models_classes_are_enough():
    assert matched_labels(split_of([1, 0], ("cow", "ant")), ("ant", "bee", "cow")).tolist() == [0, 2]


@pytest.mark.parametrize("name", ["bees", "Bee", "be"])
def test_a_class_the_model_does_not_know_is_refused_with_the_close_one(name):
    with pytest.raises(DataError, match=rf"not trained on: {name}; it knows ant, bee\. Did you mean bee\?") as refused:
        evaluate(model_of(("ant", "bee")), split_of([0, 1], ("ant", name)))
    assert refused.value.exit_code == 3


def test_every_image_counts_once_over_all_batches():
    labels = np.arange(600) % 3
    network = Brightest(3)
    scores = evaluate(model_of(("a", "b", "c"), network), split_of(labels, ("a", "b", "c")))
    assert (network.seen, scores.images, int(scores.confusion.sum())) == (600, 600, 600)
    assert scores.confusion.diagonal().tolist() == [200, 200, 200]


def test_a_pair_of_arrays_uses_the_models_indices():
    labels = np.array([0, 1, 1])
    scores = evaluate(model_of(("a", "b")), (lit(labels), labels))
    assert (scores.split, scores.top1, scores.classes) == ("given", 1.0, ("a", "b"))
    with pytest.raises(UsageError, match="label 2 is beyond the model's 2 classes; labels count from 0"):
        evaluate(model_of(("a", "b")), (lit(labels), np.array([0, 1, 2])))


def test_tensors_are_taken_as_channels_first():
    labels = torch.tensor([0, 1, 1])
    images = torch.from_numpy(lit(labels.numpy()))[:, None]
    assert evaluate(model_of(("a", "b")), (images, labels)).top1 == 1.0


def test_any_module_is_judged_on_pixels_from_0_to_1():
    labels = np.array([0, 1, 2])
    scores = evaluate(Brightest(3), (lit(labels), labels))
    assert scores.top1 == 1.0
    assert scores.negative_log_likelihood == pytest.approx(float(np.log(np.e + 2) - 1), abs=1e-6)


def test_whatever_predicts_is_enough():
    class Always:
        classes = ("a", "b")

        def logits(self, images):
            return torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)

    assert evaluate(Always(), split_of([0, 1, 1], ("a", "b"))).top1 == pytest.approx(2 / 3)


def test_a_protocol_by_name_judges_the_views() -> None:
    model = model_of(("ant", "bee", "cow"))
    split = split_of([0, 1, 2, 2], ("ant", "bee", "cow"))
    once, mirrored = evaluate(model, split), evaluate(model, split, protocol="flip")
    assert mirrored.images == once.images == 4
    assert model.bundle.network.seen == 4 + 8
    assert mirrored.negative_log_likelihood > once.negative_log_likelihood
    with pytest.raises(UsageError, match="Did you mean flip"):
        evaluate(model, split, protocol="flop")
