"""What is explained: a class or a unit."""

import pytest
import torch
from torch import nn

from fovea.errors import ModelError, ShapeError, UsageError
from fovea.explain.aims import check_images, class_score, logits_of, targets_of, unit_of, unit_score
from fovea.explain.places import place_of

CLASSES = ("ant", "bee", "cat")
LOGITS = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])


def test_a_target_is_a_name_an_index_one_for_each_or_what_is_predicted():
    assert targets_of(None, LOGITS, CLASSES).tolist() == [1, 0]
    assert targets_of("cat", LOGITS, CLASSES).tolist() == [2, 2]
    assert targets_of(1, LOGITS, CLASSES).tolist() == [1, 1]
    assert targets_of("1", LOGITS, CLASSES).tolist() == [1, 1]
    assert targets_of(["bee", 2], LOGITS, CLASSES).tolist() == [1, 2]
    assert targets_of("1", LOGITS, ("0", "7", "1")).tolist() == [2, 2]  # a class's name is meant before a place


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("bea", r"target \(=bea\) is no class of this model; it has 3, such as ant, bee, cat. Did you mean bee"),
        (3, r"target \(=3\) must be 0 to 2, or the name of a class"),
        (-1, r"target \(=-1\) must be 0 to 2"),
        (["ant"], "target names 1 classes for 2 images"),
    ],
)
def test_another_target_is_refused(target, words):
    with pytest.raises(UsageError, match=words):
        targets_of(target, LOGITS, CLASSES)


def test_scores_are_the_logit_and_the_largest_activation(small, images):
    targets = torch.tensor([0, 3, 2])
    torch.testing.assert_close(class_score(small, targets)(images), small(images)[range(3), targets])
    unit = unit_of(place_of(small, images, "first"), 5)
    torch.testing.assert_close(unit_score(small, unit)(images), small.first(images)[:, 5].amax((1, 2)))
    assert str(unit) == "first:5"
    linear = unit_of(place_of(small, images, "fc"), 3)
    torch.testing.assert_close(unit_score(small, linear)(images), small(images)[:, 3])
    with pytest.raises(UsageError, match=r"unit \(=6\) of first must be 0 to 5"):
        unit_of(place_of(small, images, "first"), 6)


def test_a_network_that_gives_something_else_is_refused(images):
    with pytest.raises(ModelError, match=r"Conv2d gives \(3, 2, 12, 12\), not a row of logits"):
        logits_of(nn.Conv2d(3, 2, 1), images)


def test_a_network_that_changes_its_images_leaves_ours_alone(images):
    before = images.clone()
    logits_of(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()), images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(3, 8, 8), (0, 3, 8, 8)])
def test_what_is_no_batch_of_images_is_refused(shape):
    with pytest.raises(ShapeError, match="must be"):
        check_images(torch.zeros(shape))
