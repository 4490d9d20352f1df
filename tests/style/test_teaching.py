"""Teaching a style: it is learned, goes on where it was stopped, and loses nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fovea.errors import DataError, ModelError, NumbersError, UnreadableImage, UsageError
from fovea.style.styler import apply
from fovea.style.styler_file import MEANING, WEIGHTS, load_styler
from fovea.style.teaching import Teacher
from fovea.style.teaching_options import TeachingOptions
from tests.explain.conftest import state
from tests.style.conftest import content_of, picture, striped


def options(**changes):
    given = {"image_size": 32, "batch_size": 2, "steps": 6, "width": 2, "precision": "float32", "strength": 0.9}
    return TeachingOptions(**given | changes)


def test_a_style_is_learned_and_the_perceiving_network_stays(model, images, tmp_path):
    before = state(model.network)
    taught = Teacher(striped(), model, options(steps=60, width=4, lr=0.01)).teach(images, tmp_path / "out")
    losses = [step.content + step.style for step in taught.history]
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:6])
    assert taught.finished
    assert state(model.network) == before
    assert "60 steps; of the last 3: content" in str(taught)
    painted = apply(load_styler(tmp_path / "out"), picture(9))
    assert np.array_equal(painted, apply(taught.styler, picture(9)))


def test_stopped_and_taken_up_it_becomes_what_it_would_have_become(model, images, tmp_path):
    teacher = Teacher(striped(), model, options(steps=7))
    whole = teacher.teach(images, tmp_path / "whole")
    passes = []
    stopped = teacher.teach(images, tmp_path / "parts", watch=passes.append, stop=lambda: len(passes) == 3)
    assert (stopped.steps, stopped.finished) == (3, False)
    rest = teacher.teach(images, tmp_path / "parts")
    assert (rest.steps, rest.finished) == (7, True)
    assert stopped.history + rest.history == whole.history
    assert content_of(tmp_path / "parts") == content_of(tmp_path / "whole")
    again = teacher.teach(images, tmp_path / "parts")
    assert (again.steps, again.history) == (7, ())
    assert str(again) == "7 steps, all taken before"


def test_more_steps_go_on_and_another_style_or_option_is_refused(model, images, tmp_path):
    Teacher(striped(), model, options(steps=2)).teach(images, tmp_path / "out")
    assert Teacher(striped(), model, options(steps=3)).teach(images, tmp_path / "out").steps == 3
    before = content_of(tmp_path / "out")
    for style, changes, pictures, name in (
        (striped(), {"strength": 0.5}, images, "strength"),
        (picture(3), {}, images, "style"),
        (striped(), {}, images[:2], "images"),
    ):
        with pytest.raises(UsageError, match=f"holds a network that learns with {name} "):
            Teacher(style, model, options(**changes)).teach(pictures, tmp_path / "out")
    assert content_of(tmp_path / "out") == before


def test_no_number_ends_it_and_what_was_saved_stays(model, images, tmp_path):
    Teacher(striped(), model, options(steps=2)).teach(images, tmp_path / "out")
    before = content_of(tmp_path / "out")
    teacher = Teacher(striped(), model, options(steps=4))
    teacher.wanted["conv1_1"] = teacher.wanted["conv1_1"] * float("nan")
    with pytest.raises(NumbersError, match="the loss became nan in step 3"):
        teacher.teach(images, tmp_path / "out")
    assert content_of(tmp_path / "out") == before


def test_images_that_are_none_are_told(model, images, tmp_path):
    with pytest.raises(DataError, match="no image to learn from"):
        Teacher(striped(), model, options()).teach([], tmp_path / "out")
    images[2].write_bytes(images[2].read_bytes()[:60])
    with pytest.raises(UnreadableImage, match=images[2].name):
        Teacher(striped(), model, options()).teach(images, tmp_path / "out")
    assert not (tmp_path / "out" / MEANING).exists()


def test_a_folder_without_a_network_or_with_a_damaged_one_is_told(model, images, tmp_path):
    with pytest.raises(ModelError, match="holds no network that was taught a style"):
        load_styler(tmp_path)
    Teacher(striped(), model, options(steps=1)).teach(images, tmp_path / "out")
    meaning = json.loads((tmp_path / "out" / MEANING).read_text())
    for damaged, message in (
        (meaning | {"version": 9}, "this fovea reads fovea-styler 1"),
        ({"format": "fovea-styler", "version": 1}, "field 'options' is missing"),
        (meaning | {"options": {"width": 3, "normalisation": "instance"}}, "the weights do not fit"),
    ):
        (tmp_path / "out" / MEANING).write_text(json.dumps(damaged))
        with pytest.raises(ModelError, match=message):
            load_styler(tmp_path / "out")
    (tmp_path / "out" / MEANING).write_text(json.dumps(meaning))
    weights = tmp_path / "out" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match="its SHA-256 is"):
        load_styler(tmp_path / "out")


@pytest.mark.parametrize("changes", [{"image_size": 33}, {"batch_size": 0}, {"strength": 0.0}, {"lr": 1.0}])
def test_options_out_of_range_are_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        options(**changes)


def test_torch_s_generator_is_left_as_it_was(model, images, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Teacher(striped(), model, options(steps=1)).teach(images, tmp_path / "out")
    assert torch.equal(torch.get_rng_state(), before)
