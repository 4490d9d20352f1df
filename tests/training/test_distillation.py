"""A teacher says of the student's images what it would say of the raw ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.fitted import stacked
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages
from fovea.errors import MachineError, ModelError, UsageError
from fovea.files import BUNDLE_FILE
from fovea.runtime.model import Model, load
from fovea.training.distillation import Teacher, teacher_from

CLASSES = ("ant", "bee", "cat")
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (7, 24, 24, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (7, 24, 24), dtype=np.uint8)
MEAN_IMAGE = tuple(RANDOM.random(3 * 24 * 24).round(6).tolist())


def spec(side=24, channels=3, **changes):
    told = {"image_size": side, "resize": side, "in_channels": channels, "mean": (0.4,), "std": (0.3,)}
    return Preprocessing(**(told | changes))


OWN = spec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def shown(images, preprocessing):
    """Raw images as the student receives them."""
    return preprocessing.normalise(stacked([preprocessing.fit(image) for image in images]))


@pytest.fixture(scope="module")
def network():
    """A network with batch normalisation whose statistics are not those it starts with."""
    network = build("cifar_resnet20", num_classes=3, seed=1).train()
    with torch.no_grad():
        for _ in range(20):
            network(shown(COLOUR, OWN))
        network.head[-1].weight *= 10
    return network


def saved(folder, network, preprocessing, classes=CLASSES):
    bundle = Bundle(network=network, architecture=describe(network), classes=classes, preprocessing=preprocessing)
    return bundle.save(folder)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("teacher"), network, OWN)


def taught_by(folder, students, classes=CLASSES):
    return teacher_from(folder, classes=classes, preprocessing=students, device="cpu")


class Seen(nn.Module):
    """Says what it was shown, number by number."""

    def forward(self, images):
        return images.flatten(1)


def what_is_seen(images, students, own):
    """The very numbers that a teacher's network receives."""
    classes = tuple(map(str, range(own.in_channels * own.image_size**2)))
    model = Model(Bundle(network=Seen(), architecture=None, classes=classes, preprocessing=own))
    logits = Teacher(model, classes=classes, preprocessing=students, fingerprint="")(images)
    return logits.view(-1, own.in_channels, own.image_size, own.image_size)


@pytest.mark.parametrize(
    "students",
    [
        OWN,
        spec(),
        spec(mean=(0.1, 0.5, 0.9), std=(0.5, 0.25, 1.0)),
        spec(mean=MEAN_IMAGE, std=(0.2, 0.3, 0.4)),
    ],
    ids=["same", "one for all channels", "per channel", "mean image"],
)
@pytest.mark.parametrize("mean", [OWN.mean, MEAN_IMAGE], ids=["channels", "pixels"])
def test_its_logits_are_those_that_predict_gives_for_the_same_images(network, tmp_path, mean, students):
    folder = saved(tmp_path, network, spec(mean=mean, std=OWN.std))
    expected = load(folder).logits(ArrayImages(COLOUR, "seven"))
    found = taught_by(folder, students)(shown(COLOUR, students))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert expected.std() > 1
    assert expected.unique(dim=0).shape == expected.shape


def test_images_that_are_normalised_alike_are_passed_on_to_the_bit():
    images = shown(COLOUR, OWN)
    assert torch.equal(what_is_seen(images, OWN, OWN), images)


def test_its_logits_come_in_the_students_order_of_classes(folder):
    order = ("cat", "ant", "bee")
    found, expected = (taught_by(folder, OWN, classes)(shown(COLOUR, OWN)) for classes in (order, CLASSES))
    assert torch.equal(found, expected[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("ant", "bee", "dog"), "it misses dog and adds cat; train a teacher on these classes"),
        (("ant", "bee", "cat", "dog", "eel"), "it misses dog, eel; train"),
        (("ant",), "it adds bee, cat; train"),
        (tuple(map(str, range(12))), "it misses 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more and adds ant, bee, cat; train"),
    ],
)
def test_other_classes_are_refused_by_name(folder, classes, said):
    with pytest.raises(ModelError, match=said):
        taught_by(folder, OWN, classes)


def test_grey_is_repeated_for_a_teacher_of_colour(folder):
    students = spec(channels=1)
    expected = load(folder).logits(ArrayImages(GREY, "seven"))
    torch.testing.assert_close(taught_by(folder, students)(shown(GREY, students)), expected, rtol=1e-5, atol=1e-4)


def test_colour_is_refused_by_a_teacher_of_grey(tmp_path):
    folder = saved(tmp_path, build("lenet5", num_classes=3, image_size=24, seed=1), spec(channels=1))
    with pytest.raises(ModelError, match=r"takes images of 1 channels, the student is shown 3; .* in_channels=3"):
        taught_by(folder, OWN)


@pytest.mark.parametrize("own", [spec(16), spec(40), spec(24)], ids=["smaller", "larger", "equal"])
@pytest.mark.parametrize("mean", [(0.1, 0.5, 0.9), MEAN_IMAGE], ids=["channels", "pixels"])
def test_images_of_another_size_are_resized_as_pillow_does(own, mean):
    students = spec(mean=mean)
    expected = shown(COLOUR, own)
    found = what_is_seen(shown(COLOUR, students), students, own)
    rounding = 1.01 / (255 * own.std[0])  # a level of brightness, by which Pillow rounds
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding if own.image_size != 24 else 1e-5)


def test_images_that_grow_in_the_course_of_training_are_brought_to_its_size():
    students = spec(mean=MEAN_IMAGE)
    small, pixels = (
        F.interpolate(images, 16, mode="bilinear", antialias=True)
        for images in (shown(COLOUR, students), shown(COLOUR, spec(mean=(0.0,), std=(1.0,))))
    )
    expected = (F.interpolate(pixels, 24, mode="bilinear", antialias=True) - OWN_MEAN) / OWN_STD
    torch.testing.assert_close(what_is_seen(small, students, OWN), expected, rtol=1e-5, atol=1e-5)
    smaller = F.interpolate(shown(COLOUR, OWN), 16, mode="bilinear", antialias=True)
    torch.testing.assert_close(what_is_seen(smaller, OWN, OWN), expected, rtol=1e-5, atol=1e-5)


OWN_MEAN, OWN_STD = (torch.tensor(values).view(1, 3, 1, 1) for values in (OWN.mean, OWN.std))


@pytest.mark.parametrize(
    ("students", "own"),
    [
        (spec(24), spec(32, resize=24, mean=(0.2,))),
        (spec(32, resize=24), spec(24, mean=(0.2,))),
        (spec(32, resize=24), spec(29, resize=24, mean=(0.2,))),
        (spec(32, resize=24), spec(32, resize=24, mean=(0.2,))),
    ],
    ids=["put on", "cut off", "narrower", "as they are"],
)
def test_black_margins_are_as_the_teacher_has_them(students, own):
    found = what_is_seen(shown(COLOUR, students), students, own)
    torch.testing.assert_close(found, shown(COLOUR, own), rtol=1e-5, atol=1e-5)


def test_brightness_counts_from_0_to_1_by_the_scale_of_each():
    students, own = spec(scale=1.0, mean=(0.1,)), spec(scale=255.0)
    found = what_is_seen(shown(COLOUR.astype(np.float32) / 255, students), students, own)
    torch.testing.assert_close(found, shown(COLOUR, own), rtol=1e-5, atol=1e-5)


def test_it_is_never_trained(folder):
    teacher, students = taught_by(folder, spec()), spec()
    before = {name: tensor.clone() for name, tensor in teacher._network.state_dict().items()}
    images = shown(COLOUR, students).requires_grad_()
    logits = teacher(images)
    assert not logits.requires_grad
    assert not logits.is_inference()
    assert not any(p.requires_grad for p in teacher._network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher._network.state_dict().items())
    assert torch.equal(teacher(images), logits)


def test_its_logits_may_stand_in_a_loss_that_is_differentiated(folder):
    logits = torch.zeros(7, 3, requires_grad=True)
    taught = taught_by(folder, OWN)(shown(COLOUR, OWN))
    (logits * taught).sum().backward()
    assert torch.equal(logits.grad, taught)


def test_the_students_precision_does_not_change_what_it_says(folder):
    teacher, images = taught_by(folder, spec()), shown(COLOUR, spec())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = teacher(images)
    assert torch.equal(found, teacher(images))


def test_dropout_is_off_in_a_teacher_that_was_being_trained():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(24 * 24 * 3, 3)).train()
    model = Model(Bundle(network=network, architecture=None, classes=CLASSES, preprocessing=OWN))
    network.train()
    teacher = Teacher(model, classes=CLASSES, preprocessing=OWN, fingerprint="")
    images = shown(COLOUR, OWN)
    assert torch.equal(teacher(images), teacher(images))


def test_its_fingerprint_is_its_weights_not_its_place(folder, network, tmp_path):
    fingerprint = taught_by(folder, OWN).fingerprint
    assert fingerprint == json.loads((folder / BUNDLE_FILE).read_text())["weights"]["sha256"]
    assert len(fingerprint) == 64
    assert taught_by(saved(tmp_path / "a", network, spec()), OWN).fingerprint == fingerprint
    other = build("cifar_resnet20", num_classes=3, seed=2)
    assert taught_by(saved(tmp_path / "b", other, OWN), OWN).fingerprint != fingerprint


def test_a_run_folder_stands_for_its_bundle(folder, network, tmp_path):
    saved(tmp_path / "run" / "bundle", network, OWN)
    assert taught_by(tmp_path / "run", OWN).fingerprint == taught_by(folder, OWN).fingerprint


def test_a_teacher_that_is_not_there_is_said_so(folder, tmp_path):
    with pytest.raises(UsageError, match="is neither a run folder, nor a bundle, nor a network"):
        taught_by(tmp_path / "nowhere", OWN)
    with pytest.raises(ModelError, match="is a network without weights"):
        taught_by("cifar_resnet20", OWN)
    with pytest.raises(MachineError, match=r"device \(=warp\) cannot be used"):
        teacher_from(folder, classes=CLASSES, preprocessing=OWN, device="warp")
