"""Protocols: views judged one by one, and their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.views import random_views, views
from fovea.errors import ModelError, ShapeError, UsageError
from fovea.evaluation import protocols
from fovea.evaluation.protocols import SAYS, Seen, SeenWhole, protocol
from fovea.runtime.model import Model
from fovea.runtime.predict import Decoded

SPEC = Preprocessing(image_size=14, resize=16, in_channels=3)
CLASSES = ("ant", "bee", "cat")
RANDOM = np.random.default_rng(1)
IMAGES = Decoded(tuple(RANDOM.integers(0, 256, (18 + i, 24, 3), dtype=np.uint8) for i in range(5)), tuple("abcde"))


@pytest.fixture
def model() -> Model:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3))
    return Model(Bundle(network=network, architecture=None, classes=CLASSES, preprocessing=SPEC))


def by_hand(model: Model, index: int, name: str) -> torch.Tensor:
    squares = torch.from_numpy(np.ascontiguousarray(views(IMAGES[index], SPEC, name)))
    with torch.inference_mode():
        return model.network(SPEC.normalise(squares))


@pytest.mark.parametrize("name", ["flip", "five", "ten", "googlenet_144", "vgg_150"])
def test_the_answer_is_the_mean_of_the_views_probabilities(name: str, model: Model) -> None:
    found = torch.softmax(Seen(model, protocol(name)).logits(IMAGES), 1)
    for index in range(len(IMAGES)):
        torch.testing.assert_close(found[index], torch.softmax(by_hand(model, index, name), 1).mean(0))


def test_logits_are_averaged_where_that_is_asked_for(model: Model) -> None:
    found = Seen(model, protocol("ten", average="logits")).logits(IMAGES)
    torch.testing.assert_close(found[2], by_hand(model, 2, "ten").mean(0))


def test_airbench_weighs_the_unmoved_square_twice(model: Model) -> None:
    shares = torch.tensor([2, 1, 1, 2, 1, 1])[:, None] / 8
    chances, logits = (
        Seen(model, protocol("airbench_6", average=average)).logits(IMAGES) for average in ("probabilities", "logits")
    )
    one = by_hand(model, 2, "airbench_6")
    torch.testing.assert_close(torch.softmax(chances[2], 0), (torch.softmax(one, 1) * shares).sum(0))
    torch.testing.assert_close(logits[2], (one * shares).sum(0))


def test_one_centred_view_is_the_model_itself(model: Model) -> None:
    assert torch.equal(Seen(model, protocol("centre")).logits(IMAGES), model.logits(IMAGES))


@pytest.mark.parametrize("name", ["ten", "random"])
def test_few_views_at_once_or_many_give_the_same(name: str, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Seen(model, protocol(name)).logits(IMAGES)
    monkeypatch.setattr(protocols, "VIEWS_AT_ONCE", 20)
    torch.testing.assert_close(Seen(model, protocol(name)).logits(IMAGES), whole, rtol=1e-5, atol=1e-5)


def test_random_views_belong_to_the_image_and_the_seed() -> None:
    once = random_views(IMAGES[0], SPEC, 8, seed=1, index=4)
    assert once.shape == (8, 3, 14, 14)
    assert np.array_equal(once, random_views(IMAGES[0], SPEC, 8, seed=1, index=4))
    assert not np.array_equal(once, random_views(IMAGES[0], SPEC, 8, seed=2, index=4))
    assert not np.array_equal(once, random_views(IMAGES[0], SPEC, 8, seed=1, index=5))
    assert len({view.tobytes() for view in once}) > 4
    assert np.array_equal(random_views(IMAGES[0], SPEC, 3, seed=1, index=4), once[:3])


def test_its_cost_is_said() -> None:
    assert "144 forward passes an image, probabilities averaged" in str(protocol("googlenet_144"))
    assert "1 forward pass an image" in str(protocol("centre"))
    assert protocol("random", views=7).views == 7


def test_every_protocol_with_its_number_of_views_has_a_description() -> None:
    assert {*protocols.VIEWS, "random"} == set(SAYS)


def test_an_unknown_one_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean ten"):
        protocol("tne")


def test_dense_is_the_mean_over_all_shifted_crops_and_their_mirror_images(model: Model) -> None:
    found = torch.softmax(SeenWhole(model).logits(IMAGES), 1)
    image = protocols._whole(IMAGES[1], SPEC)
    chances = []
    for planes in (image, image[:, ::-1]):
        places = [(y, x) for y in range(image.shape[0] - 13) for x in range(image.shape[1] - 13)]
        crops = np.stack([planes[y : y + 14, x : x + 14].transpose(2, 0, 1) for y, x in places])
        with torch.inference_mode():
            chances.append(torch.softmax(model.network(SPEC.normalise(torch.from_numpy(crops))).mean(0), 0))
    torch.testing.assert_close(found[1], torch.stack(chances).mean(0), rtol=1e-5, atol=1e-5)


def test_dense_at_several_scales_is_their_mean(model: Model) -> None:
    alone = [torch.softmax(SeenWhole(model, scales=(side,)).logits(IMAGES), 1) for side in (16, 20)]
    both = torch.softmax(SeenWhole(model, scales=(16, 20)).logits(IMAGES), 1)
    torch.testing.assert_close(both, torch.stack(alone).mean(0))


def test_dense_refuses_a_scale_below_the_network_and_a_mean_image(model: Model) -> None:
    with pytest.raises(ShapeError, match="resized to 12 does not fill the network's 14 pixels"):
        SeenWhole(model, scales=(12,)).logits(IMAGES)
    spec = Preprocessing(image_size=14, resize=16, in_channels=3, mean=(0.5,) * (3 * 14 * 14))
    with pytest.raises(ModelError, match="mean image"):
        SeenWhole(Model(replace(model.bundle, preprocessing=spec))).logits(IMAGES)
