"""Losses, against computations of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.bundle import Bundle
from fovea.data.batch import Batch
from fovea.data.preprocessing import Preprocessing
from fovea.errors import DataError
from fovea.runtime.model import Model
from fovea.training.distillation import Teacher
from fovea.training.losses import RUBBISH_DISTANCE, balanced_weights, distillation, focal, map_criterion, objective
from fovea.training.options import Objective

N, K = 13, 5
RANDOM = torch.Generator().manual_seed(0)
DISTANCES = torch.rand(13, 10, generator=RANDOM, dtype=torch.float64) * 8
TEN_LABELS = torch.arange(13) % 10
LOGITS = torch.randn(N, K, generator=RANDOM) * 3
LABELS = torch.tensor([0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 3, 3, 0])
IMAGES = torch.rand(N, 1, 2, 2, generator=RANDOM)
SHARES = torch.rand(N, generator=RANDOM)
PLAIN = Batch(IMAGES, LABELS)
MIXED = Batch(IMAGES, LABELS, LABELS.flip(0), SHARES)
COUNTS = torch.tensor([50, 10, 20, 100, 20])
WEIGHTS = np.array([200 / (5 * count) for count in COUNTS.tolist()])
EVERY_LOSS = ("cross_entropy", "bce", "focal")


def loss_of(batch=PLAIN, logits=LOGITS, *, teacher=None, counts=COUNTS, **told):
    return objective(Objective(**told), label_counts=counts, teacher=teacher)(logits, batch)


def rows(batch):
    """Each image's shares, in NumPy, and its logits."""
    for i, (label, row) in enumerate(zip(batch.labels.tolist(), LOGITS.double().numpy(), strict=True)):
        shares = np.zeros(K)
        own = 1.0 if batch.shares is None else float(batch.shares[i])
        shares[label] += own
        if batch.partners is not None:
            shares[int(batch.partners[i])] += 1 - own
        yield shares, row


def log_softmax(row):
    return row - math.log(sum(math.exp(value) for value in row))


def term(loss, row, gamma=2.0):
    """What each class adds where its share is 1 and where it is 0, class by class."""
    if loss == "bce":
        return np.log1p(np.exp(-row)) / K, np.log1p(np.exp(row)) / K
    log_p = log_softmax(row)
    return -log_p * (1 - np.exp(log_p)) ** (gamma if loss == "focal" else 0), np.zeros(K)


def by_hand(loss, batch, *, smoothing=0.0, weights=None, gamma=2.0):
    """The mean over images of each class's loss by its share, weighted by the image's own classes."""
    total = 0.0
    for shares, row in rows(batch):
        there, absent = term(loss, row, gamma)
        for label, share in enumerate(shares):
            target = np.full(K, smoothing / K)
            target[label] += 1 - smoothing
            weight = 1.0 if weights is None else weights[label]
            total += share * weight * float((target * there + (1 - target) * absent).sum())
    return total / N


@pytest.mark.parametrize("batch", [PLAIN, MIXED], ids=["labels", "mixed"])
@pytest.mark.parametrize("balanced", [False, True], ids=["equal", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_a_loss_is_what_it_is_by_hand(loss, smoothing, balanced, batch):
    found = loss_of(batch, loss=loss, label_smoothing=smoothing, class_weights="balanced" if balanced else "equal")
    weights = WEIGHTS if balanced else None
    assert found.item() == pytest.approx(by_hand(loss, batch, smoothing=smoothing, weights=weights), rel=1e-5)
    assert found.dtype == torch.float32
    assert found.shape == ()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_cross_entropy_is_torchs_own_to_the_bit(smoothing):
    assert torch.equal(loss_of(label_smoothing=smoothing), F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing))


def test_plain_cross_entropy_asks_for_no_counts_of_its_classes():
    assert torch.equal(loss_of(counts=torch.zeros(0, dtype=torch.int64)), loss_of())


def test_balanced_cross_entropy_is_torchs_but_for_the_divisor():
    weights = torch.from_numpy(WEIGHTS).float()
    summed = F.cross_entropy(LOGITS, LABELS, weight=weights, reduction="sum")
    torch.testing.assert_close(loss_of(class_weights="balanced"), summed / N)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_a_label_and_the_whole_share_of_it_are_the_same(loss):
    whole = Batch(IMAGES, LABELS, LABELS.flip(0), torch.ones(N))
    told = {"loss": loss, "class_weights": "balanced", "label_smoothing": 0.1}
    torch.testing.assert_close(loss_of(whole, **told), loss_of(PLAIN, **told))


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_the_loss_of_a_mixed_batch_lies_between_those_of_its_labels_by_their_shares(loss):
    told = {"loss": loss, "class_weights": "balanced", "label_smoothing": 0.1}
    mixed = loss_of(Batch(IMAGES, LABELS, LABELS.flip(0), torch.full((N,), 0.3)), **told)
    own, other = loss_of(PLAIN, **told), loss_of(Batch(IMAGES, LABELS.flip(0)), **told)
    torch.testing.assert_close(mixed, 0.3 * own + 0.7 * other)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_the_mean_of_the_parts_is_the_whole_though_their_weights_differ(loss):
    told = objective(Objective(loss=loss, class_weights="balanced"), label_counts=COUNTS)
    parts = [told(LOGITS[part], Batch(IMAGES[part], LABELS[part])) for part in (slice(0, 6), slice(6, 12))]
    torch.testing.assert_close(sum(parts) / 2, told(LOGITS[:12], Batch(IMAGES[:12], LABELS[:12])))


def test_balanced_weights_count_each_class_alike_and_an_image_1_on_average():
    weights = balanced_weights(COUNTS)
    torch.testing.assert_close(weights, torch.from_numpy(WEIGHTS).float())
    torch.testing.assert_close(weights * COUNTS, torch.full((K,), 40.0))


def test_a_class_without_images_weighs_nothing_and_changes_no_other():
    torch.testing.assert_close(balanced_weights(torch.tensor([3, 0, 1])), torch.tensor([2 / 3, 0.0, 2.0]))
    with pytest.raises(DataError, match="needs images of at least one class"):
        balanced_weights(torch.zeros(3, dtype=torch.int64))


def test_counts_may_come_as_numpy_has_them():
    assert torch.equal(
        loss_of(class_weights="balanced", counts=COUNTS.numpy()), loss_of(class_weights="balanced", counts=COUNTS)
    )


def test_focal_at_gamma_0_is_cross_entropy():
    torch.testing.assert_close(loss_of(loss="focal", focal_gamma=0.0), loss_of())
    assert loss_of(loss="focal", focal_gamma=1.0) < loss_of()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_finite_gradient_where_the_answer_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), gamma=gamma)
    loss.backward()
    assert loss.item() == pytest.approx(100)
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


def test_focal_has_the_gradient_of_its_formula():
    logits = LOGITS.double().requires_grad_()
    targets = MIXED.targets(K).double()
    assert torch.autograd.gradcheck(lambda z: focal(z, targets, gamma=1.5), logits)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_huge_logits_give_finite_losses_and_gradients(loss):
    logits = (LOGITS * 1e4).requires_grad_()
    value = loss_of(logits=logits, loss=loss, label_smoothing=0.1)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [*EVERY_LOSS, "map"])
def test_logits_in_bfloat16_are_summed_in_float32(loss):
    half = LOGITS.bfloat16()
    auxiliary = {"a": LOGITS.bfloat16().flip(0)}
    found = loss_of(logits=(half, auxiliary), loss=loss)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss_of(logits=(half.float(), {"a": auxiliary["a"].float()}), loss=loss))


def test_auxiliary_classifiers_count_by_their_share_each():
    first, second = LOGITS.flip(0), LOGITS * 0.5
    found = loss_of(MIXED, logits=(LOGITS, {"a": first, "b": second}), auxiliary=0.3, label_smoothing=0.1)
    of = [loss_of(MIXED, logits=each, label_smoothing=0.1) for each in (LOGITS, first, second)]
    torch.testing.assert_close(found, of[0] + 0.3 * of[1] + 0.3 * of[2])
    assert torch.equal(loss_of(logits=(LOGITS, {})), loss_of())


class Answers(nn.Module):
    """Gives the same logits whatever it is shown, and counts how often."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.calls = nn.Parameter(logits), 0

    def forward(self, images):
        self.calls += 1
        return self.logits[: len(images)]


def teacher_that_says(logits):
    spec, classes = Preprocessing(image_size=2, resize=2, in_channels=1), tuple("abcde")
    model = Model(Bundle(network=Answers(logits), architecture=None, classes=classes, preprocessing=spec))
    return Teacher(model, classes=classes, preprocessing=spec, fingerprint="")


def test_a_teacher_adds_the_divergence_at_its_temperature():
    taught = torch.randn(N, K, generator=RANDOM)
    told = {"teacher_share": 0.75, "temperature": 3.0, "label_smoothing": 0.1}
    found = loss_of(teacher=teacher_that_says(taught), **told)
    total = 0.0
    for row, other in zip(LOGITS.double().numpy(), taught.double().numpy(), strict=True):
        ours, theirs = log_softmax(row / 3), log_softmax(other / 3)
        total += float((np.exp(theirs) * (theirs - ours)).sum())
    expected = 0.25 * by_hand("cross_entropy", PLAIN, smoothing=0.1) + 0.75 * 9 * total / N
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_has_the_gradient_of_the_paper(temperature):
    logits, taught = LOGITS.clone().requires_grad_(), torch.randn(N, K, generator=RANDOM)
    loss_of(logits=logits, teacher=teacher_that_says(taught), teacher_share=0.9, temperature=temperature).backward()
    ours, theirs = torch.softmax(LOGITS / temperature, 1), torch.softmax(taught / temperature, 1)
    of_labels = (torch.softmax(LOGITS, 1) - F.one_hot(LABELS, K)) / N
    torch.testing.assert_close(logits.grad, 0.1 * of_labels + 0.9 * temperature * (ours - theirs) / N)


def test_a_student_that_says_what_its_teacher_says_is_left_alone():
    logits = LOGITS.clone().requires_grad_()
    loss = loss_of(logits=logits, teacher=teacher_that_says(LOGITS), teacher_share=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits.grad, torch.zeros(N, K))


def test_a_teacher_receives_no_gradient():
    taught = LOGITS.flip(0).requires_grad_()
    logits = LOGITS.clone().requires_grad_()
    distillation(logits, taught, temperature=2.0).backward()
    assert taught.grad is None
    assert logits.grad.abs().sum() > 0


def test_a_teacher_does_not_speak_of_auxiliary_logits():
    other, told = LOGITS.flip(0), {"auxiliary": 0.3, "teacher_share": 0.9}
    teacher = teacher_that_says(LOGITS * 2)
    both = loss_of(logits=(LOGITS, {"a": other}), teacher=teacher, **told)
    torch.testing.assert_close(both, loss_of(teacher=teacher, **told) + 0.3 * loss_of(logits=other))


def test_a_teacher_without_a_share_is_not_asked():
    teacher = teacher_that_says(LOGITS * 2)
    assert torch.equal(loss_of(teacher=teacher, teacher_share=0.0), loss_of())
    assert teacher._network.calls == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_of_labels_is_timms(smoothing):
    losses = pytest.importorskip("timm.loss", reason="timm is not installed: make peers")
    theirs = losses.BinaryCrossEntropy(smoothing=smoothing)
    torch.testing.assert_close(loss_of(loss="bce", label_smoothing=smoothing), theirs(LOGITS, LABELS))


def test_losses_of_mixed_labels_are_timms():
    losses = pytest.importorskip("timm.loss", reason="timm is not installed: make peers")
    softened = 0.9 * MIXED.targets(K) + 0.1 / K  # as timm's Mixup makes them
    theirs = losses.BinaryCrossEntropy(smoothing=0.1)(LOGITS, softened)
    torch.testing.assert_close(loss_of(MIXED, loss="bce", label_smoothing=0.1), theirs)
    torch.testing.assert_close(loss_of(MIXED, label_smoothing=0.1), losses.SoftTargetCrossEntropy()(LOGITS, softened))


def equation_9(distances, labels, j):
    """Mean of y of the true class + log(exp(-j) + sum of exp(-y)), number by number."""
    total = 0.0
    for row, label in zip(distances.tolist(), labels.tolist(), strict=True):
        total += row[label] + math.log(math.exp(-j) + sum(math.exp(-y) for y in row))
    return total / len(labels)


def test_the_map_criterion_is_the_papers_equation_9():
    assert float(map_criterion(-DISTANCES, TEN_LABELS)) == pytest.approx(
        equation_9(DISTANCES, TEN_LABELS, RUBBISH_DISTANCE), abs=1e-12
    )


def test_the_map_criterion_at_a_value_found_by_hand():
    loss = map_criterion(-torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log(1 + 2 * math.exp(-1)), abs=1e-12)


def test_the_map_criterion_pulls_the_true_class_nearer_and_pushes_the_others_away():
    distances = DISTANCES.clone().requires_grad_()
    map_criterion(-distances, TEN_LABELS).backward()
    true = torch.zeros_like(distances, dtype=torch.bool)
    true[torch.arange(13), TEN_LABELS] = True
    assert (distances.grad[true] > 0).all()
    assert (distances.grad[~true] < 0).all()


def test_the_map_criterion_hardly_pushes_classes_that_are_far_already():
    distances = torch.tensor([[0.5, 1.0, 40.0]], dtype=torch.float64, requires_grad=True)
    map_criterion(-distances, torch.tensor([0])).backward()
    near, far = distances.grad[0, 1].abs(), distances.grad[0, 2].abs()
    assert near > 0.1
    assert far < 1e-15


def test_the_map_criterion_stays_finite_at_huge_distances():
    loss = map_criterion(torch.tensor([[-1e6, -2e6]], dtype=torch.float64), torch.tensor([0]))
    assert float(loss) == pytest.approx(1e6 - RUBBISH_DISTANCE)


def test_the_option_names_the_map_criterion():
    assert torch.equal(loss_of(loss="map"), map_criterion(LOGITS, LABELS))
