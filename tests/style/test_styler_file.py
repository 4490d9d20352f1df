"""The folder of a network that was taught: equal for equal teaching, whole after a kill, never mistaken for another."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from fovea.errors import ModelError, NumbersError, RunInUse, UsageError
from fovea.style import styler_file, teaching
from fovea.style.styler import Styler
from fovea.style.styler_file import MEANING, STATE, WEIGHTS, load_styler
from fovea.style.teaching import Teacher
from fovea.style.teaching_options import TeachingOptions
from fovea.training.folder import locked
from tests.style.conftest import content_of, model_of, picture, striped, vgg_like


def options(**changes):
    given = {"image_size": 32, "batch_size": 2, "steps": 2, "width": 2, "precision": "float32"}
    return TeachingOptions(**given | changes)


def taught(model, images, out, **changes):
    return Teacher(striped(), model, options(**changes)).teach(images, out)


@pytest.mark.parametrize("normalisation", ["instance", "batch"])
def test_equal_seeds_give_equal_bytes_and_others_do_not(normalisation, model, images, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        taught(model, images, tmp_path / name, seed=seed, normalisation=normalisation)
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")
    assert (tmp_path / "a" / WEIGHTS).read_bytes() != (tmp_path / "c" / WEIGHTS).read_bytes()


def test_the_meaning_holds_no_time_host_or_path(model, images, tmp_path):
    taught(model, images, tmp_path / "out")
    meaning = json.loads((tmp_path / "out" / MEANING).read_text())
    assert list(meaning) == [
        "format", "version", "steps", "network", "network_weights", "style", "images", "options", "weights",
    ]  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "out" / MEANING).read_text()
    assert (meaning["steps"], meaning["network"], meaning["options"]["width"]) == (2, "ConvNet", 2)


@pytest.mark.parametrize("last", [STATE, WEIGHTS])
def test_a_process_killed_while_it_saves_loses_nothing(last, model, images, tmp_path, monkeypatch):
    taught(model, images, tmp_path / "whole", steps=4)
    taught(model, images, tmp_path / "out")
    write = styler_file.write_durably

    def killed(path, content):
        digest = write(path, content)
        if path.name == last:
            raise KeyboardInterrupt
        return digest

    monkeypatch.setattr(styler_file, "write_durably", killed)
    with pytest.raises(KeyboardInterrupt):
        taught(model, images, tmp_path / "out", steps=4)
    monkeypatch.setattr(styler_file, "write_durably", write)
    assert taught(model, images, tmp_path / "out", steps=4).steps == 4
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_another_network_or_other_files_under_the_same_name_are_refused(model, images, tmp_path):
    taught(model, images, tmp_path / "out")
    other = vgg_like()
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(UsageError, match="learns with network_weights "):
        taught(model_of(other), images, tmp_path / "out", steps=3)
    Image.fromarray(picture(9, 40, 60)).save(images[0])
    with pytest.raises(UsageError, match="learns with images "):
        taught(model, images, tmp_path / "out", steps=3)


def test_the_precision_is_settled_before_the_first_step(model, images, tmp_path):
    taught(model, images, tmp_path / "out", precision="auto")
    assert json.loads((tmp_path / "out" / MEANING).read_text())["options"]["precision"] in ("float32", "bf16")


@pytest.mark.parametrize(("name", "message"), [(WEIGHTS, "cannot be read"), (MEANING, "holds no network")])
def test_a_missing_file_is_told(name, message, model, images, tmp_path):
    taught(model, images, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(ModelError, match=message):
        load_styler(tmp_path / "out")


def test_a_network_without_its_state_paints_and_learns_no_more(model, images, tmp_path):
    taught(model, images, tmp_path / "out")
    (tmp_path / "out" / STATE).unlink()
    assert isinstance(load_styler(tmp_path / "out"), Styler)
    with pytest.raises(UsageError, match=f"without {STATE}"):
        taught(model, images, tmp_path / "out", steps=3)


@pytest.mark.parametrize("place", [100, -1])
def test_a_damaged_state_is_not_gone_on_with(place, model, images, tmp_path):
    taught(model, images, tmp_path / "out")
    content = bytearray((tmp_path / "out" / STATE).read_bytes())
    content[place] ^= 1
    (tmp_path / "out" / STATE).write_bytes(content)
    with pytest.raises(ModelError, match=f"{STATE}: is damaged"):
        taught(model, images, tmp_path / "out", steps=3)


def test_a_gradient_that_is_no_number_changes_nothing_on_disk(model, images, tmp_path, monkeypatch):
    class Overflowing(Styler):
        def forward(self, images):
            painted = super().forward(images)
            painted.register_hook(lambda gradient: gradient * float("inf"))
            return painted

    monkeypatch.setattr(teaching, "Styler", Overflowing)
    with pytest.raises(NumbersError, match=r"the gradient became (nan|inf) in step 1"):
        taught(model, images, tmp_path / "out")
    assert not (tmp_path / "out" / STATE).exists()


def test_two_do_not_teach_in_one_folder(model, images, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(RunInUse):
        taught(model, images, tmp_path / "out")


@pytest.mark.parametrize("style_size", [16, -1, 4096])
def test_a_style_size_out_of_range_is_refused(style_size):
    with pytest.raises(UsageError, match="style_size"):
        options(style_size=style_size)


def test_the_style_s_size_counts(model):
    small, large = (Teacher(striped(128, 128), model, options(style_size=each)).wanted for each in (32, 128))
    assert not torch.allclose(small["conv1_1"], large["conv1_1"], rtol=1e-3)
