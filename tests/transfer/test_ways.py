"""The names of ways, the roles of splits, and the lecture's table."""

import numpy as np
import pytest

from fovea.data.opening import open_data
from fovea.data.sets import Data
from fovea.errors import DataError, UsageError
from fovea.transfer.advice import quadrant
from fovea.transfer.options import TransferOptions
from fovea.transfer.roles import roles
from fovea.transfer.ways import DEFAULT, MEANING, ORDER, Way, parse_ways


def drawn(split: str) -> Data:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    return open_data((images, np.arange(60) % 3), split=split)


def test_ways_are_read_in_their_order_and_once() -> None:
    assert parse_ways("probe, lower:3,svm:conv4_x,probe") == (Way("probe"), Way("lower", "3"), Way("svm", "conv4_x"))
    assert [str(way) for way in parse_ways(DEFAULT)] == DEFAULT.split(",")
    assert set(ORDER) == set(MEANING)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prob", "Did you mean probe"),
        ("", "must name one at least"),
        ("lower", "lower:3"),
        ("scratch:2", "must be scratch alone"),
        ("probe:", "behind the colon"),
    ],
)
def test_other_ways_are_refused_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_ways(text)


def test_test_images_judge_and_validation_chooses_where_there_are_both() -> None:
    found = roles(drawn("0.5/0.2/0.3"), seed=0)
    assert [len(split) for split in found] == [30, 30, 12, 18]
    assert found.judge.name == "test"


def test_a_fifth_of_train_chooses_where_validation_must_judge() -> None:
    found = roles(drawn("0.5/0.5/0"), seed=0)
    assert [len(split) for split in found] == [30, 24, 6, 30]
    assert found.judge.name == "validation"
    names = [{split.images.name(i) for i in range(len(split))} for split in found]
    assert names[1] | names[2] == names[0]
    assert not names[1] & names[2]
    assert not names[0] & names[3]
    assert np.bincount(found.choose.labels).tolist() == [2, 2, 2]


def test_images_to_train_on_alone_are_not_enough() -> None:
    with pytest.raises(DataError, match="no images beside those to train on"):
        roles(drawn("1/0/0"), seed=0)


@pytest.mark.parametrize(
    ("images", "channels", "name", "way"),
    [
        (400, 3, "little data, similar", "probe"),
        (400, 1, "little data, different", "probe:conv3_x"),
        (50_000, 3, "much data, similar", "finetune"),
        (50_000, 1, "much data, different", "scratch"),
    ],
)
def test_the_quadrant_advises(images: int, channels: int, name: str, way: str) -> None:
    found = quadrant(images, channels=channels, similar="auto")
    assert found.name == name
    (other,) = parse_ways({"probe": "probe:conv3_x", "probe:conv3_x": "probe"}.get(way, "probe"))
    assert found.advises(*parse_ways(way))
    assert not found.advises(other)


def test_similarity_can_be_told() -> None:
    assert quadrant(10, channels=1, similar="yes").similar
    assert not quadrant(10, channels=3, similar="no").similar


def test_from_scratch_has_twice_the_epochs_and_five_times_the_rate() -> None:
    told = TransferOptions(epochs=3, lr=0.01)
    assert told.changes(fresh=True) | {"epochs": 6, "lr": 0.05} == told.changes(fresh=True)
    assert told.changes(fresh=False)["epochs"] == 3
    with pytest.raises(UsageError, match="epochs"):
        TransferOptions(epochs=-1)
