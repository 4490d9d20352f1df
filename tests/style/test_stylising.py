"""Pictures stylised from end to end, with a small network."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from PIL import Image

from fovea import stylise
from fovea.architectures.catalogue import build
from fovea.errors import MachineError, ShapeError, UnreadableImage, UsageError
from fovea.style.frames import stylise_each
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.planning import Planner
from fovea.style.stylist import Stylist
from tests.explain.conftest import state
from tests.style.conftest import model_of, picture, striped, vgg_like


@pytest.fixture(scope="module")
def foreseen():
    return {}


@pytest.fixture(autouse=True)
def _each_peak_is_foreseen_once(foreseen, monkeypatch):
    """A pass without numbers takes longer than a small search: not again for the same layers and the same size."""
    peak = Planner._peak

    def known(planner, size):
        seen = planner.perception
        asked = (str(seen.network), str(seen.paths), seen.precision, tuple(planner.regions), size)
        if asked not in foreseen:
            foreseen[asked] = peak(planner, size)
        return foreseen[asked]

    monkeypatch.setattr(Planner, "_peak", known)


def options(**changes):
    return StyliseOptions(**{"size": (48,), "steps": 12, "precision": "float32"} | changes)


def test_the_loss_falls_at_every_step_and_the_network_stays_as_it_was(model):
    before = state(model.network)
    result = stylise(picture(1), striped(), model, options=options(steps=30))
    losses = [step.total for step in result.history]
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.3 * losses[0]
    assert len(losses) == 31
    assert result.picture.shape == (40, 48, 3)
    assert result.finished
    assert state(model.network) == before
    assert str(result).startswith("48×40 pixels by ConvNet, 30 steps; the loss is ")


def test_the_same_arguments_give_the_same_picture_and_another_seed_another(model):
    asked = options(start="noise", seed=3)
    one, two = (stylise(picture(1), striped(), model, options=asked) for _ in range(2))
    assert np.array_equal(one.picture, two.picture)
    assert one.history == two.history
    other = stylise(picture(1), striped(), model, options=options(start="noise", seed=4))
    assert not np.array_equal(one.picture, other.picture)


def test_the_dial_goes_from_the_content_alone_to_the_style_alone(model):
    dial = (0.0, 0.1, 0.3, 0.7, 1.0)
    ends = [stylise(picture(1), striped(), model, options=options(strength=each, steps=40)) for each in dial]
    assert {step.style for step in ends[0].history} == {0.0}
    assert {step.content for step in ends[-1].history} == {0.0}
    assert np.array_equal(ends[0].picture, picture(1))  # where it began there was nothing to gain
    reached = [each.history[-1] for each in ends[1:-1]]
    weights = [options(strength=each).weights() for each in dial[1:-1]]
    content = [step.content / own for step, (own, _) in zip(reached, weights, strict=True)]
    style = [step.style / own for step, (_, own) in zip(reached, weights, strict=True)]
    assert content == sorted(content)
    assert style == sorted(style, reverse=True)
    known = [options(strength=each).weights() for each in (0.25, 0.5, 0.75)]
    assert [style / content for content, style in known] == pytest.approx([1e3 / 9, 1e3, 9e3])


def test_coarse_to_fine_each_size_starts_from_the_last_one(model):
    result = stylise(picture(1, 80, 96), striped(), model, options=options(size=(32, 64, 96), steps=6))
    assert result.picture.shape == (80, 96, 3)
    assert [step.size for step in result.history] == [32] * 7 + [64] * 7 + [96] * 7
    assert [plan.size for plan in result.plans] == [(27, 32), (53, 64), (80, 96)]
    assert result.history[0].content < 1e-6 < result.history[14].content  # the first begins at the content


def test_masks_keep_each_style_to_its_region(model):
    content = np.full((48, 64, 3), 128, np.uint8)
    left = np.zeros((48, 64, 3), np.uint8)
    left[:, :32] = 255
    red, blue = (np.broadcast_to(np.uint8(c), (40, 40, 3)).copy() for c in ([220, 40, 40], [40, 40, 220]))
    asked = options(size=(64,), steps=40, strength=0.9)
    gaps = []
    for masks in ([left, 255 - left], [255 - left, left]):
        found = stylise(content, [red, blue], model, options=asked, masks=masks).picture.astype(int)
        redness = found[:, :, 0] - found[:, :, 2]
        gaps.append(redness[:, :24].mean() - redness[:, 40:].mean())
    assert gaps[0] > 20 > -20 > gaps[1]


def test_of_several_styles_the_heavier_one_shows(model):
    content = np.full((48, 48, 3), 128, np.uint8)
    styles = [np.broadcast_to(np.uint8(c), (40, 40, 3)).copy() for c in ([220, 40, 40], [40, 40, 220])]
    redness = []
    for weights in ((9.0, 1.0), (1.0, 9.0)):
        found = stylise(content, styles, model, options=options(steps=30, strength=0.9, style_weights=weights))
        redness.append(float(found.picture[:, :, 0].mean() - found.picture[:, :, 2].mean()))
    assert redness[0] > redness[1] + 10


def test_luminance_keeps_the_content_s_colours_and_histogram_its_mean(model):
    content = (96 + picture(1) // 4).astype(np.uint8)
    plain, kept, matched = (
        stylise(content, striped(), model, options=options(steps=20, strength=0.8, colour=each)).picture
        for each in ("style", "luminance", "histogram")
    )

    def off(found):
        apart = [each - each.mean(2, keepdims=True) for each in (found.astype(float), content.astype(float))]
        return np.abs(apart[0] - apart[1]).mean()

    assert off(kept) < 0.5 * off(plain)
    means = [np.abs(each.mean((0, 1)) - content.mean((0, 1))).mean() for each in (matched, plain)]
    assert means[0] < means[1]


def test_total_variation_smooths(model):
    rough, smooth = (
        stylise(picture(1), striped(), model, options=options(variation=each)).picture.astype(int)
        for each in (0.0, 30.0)
    )
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean()


def test_in_tiles_the_picture_is_the_same():
    asked = options(size=(256,), steps=4)
    content = picture(1, 256, 200)
    model = model_of(vgg_like(channels=(32, 8, 8, 8, 8)))
    whole = stylise(content, striped(), model, options=asked)
    limit = (whole.plans[0].bytes - 1) / 2**30
    tiled = stylise(content, striped(), model, options=options(size=(256,), steps=4, memory=limit))
    assert len(tiled.plans[0].tiles) > 1
    assert np.abs(tiled.picture.astype(int) - whole.picture).max() <= 1


def test_a_search_that_gains_less_than_bf16_rounds_goes_on_in_float32(model, monkeypatch):
    monkeypatch.setattr("fovea.style.perception.arithmetic", lambda _, asked: "bf16" if asked == "auto" else asked)
    own, sharp, rough = (
        stylise(picture(1), striped(), model, options=options(strength=0.003, precision=each))
        for each in ("auto", "float32", "bf16")
    )
    assert len(rough.history) < 13
    assert len(own.history) == len(sharp.history) == 13
    assert own.history[-1].total < own.history[0].total
    again = Stylist(model, options(strength=0.003, precision="auto"))
    assert again.perception.precision == "bf16"
    pictures = Pictures.read(picture(1), striped(), (), None, again.options)
    assert np.array_equal(again.stylise(pictures).picture, own.picture)
    assert np.array_equal(again.stylise(pictures).picture, own.picture)  # and begins in bf16 again


def test_stopped_at_once_it_gives_the_picture_it_began_with(model):
    result = stylise(picture(1), striped(), model, options=options(), stop=lambda: True)
    assert np.array_equal(result.picture, picture(1))
    assert len(result.history) == 1


def test_it_is_watched_and_stopped_and_the_best_picture_is_kept(model):
    moments = []
    result = stylise(
        picture(1), striped(), model, options=options(), watch=moments.append, stop=lambda: len(moments) > 4
    )
    assert not result.finished
    assert [moment.step.step for moment in moments] == [0, 1, 2, 3, 4]
    assert np.array_equal(moments[-1].picture(), result.picture)
    assert "stopped early" in str(result)


def test_stopped_before_the_last_size_it_counts_the_steps_that_were_taken(model):
    moments = []
    asked = options(size=(32, 48, 64), steps=6)
    result = stylise(picture(1), striped(), model, options=asked, watch=moments.append, stop=lambda: len(moments) > 3)
    assert str(result).startswith("32×27 pixels by ConvNet, 3 steps, stopped early")


def test_a_style_that_is_too_large_is_told_before_the_work(model):
    moments = []
    asked = options(size=(48,), style_scale=4.0, memory=0.005)
    with pytest.raises(MachineError, match="192×192 pixels need"):
        stylise(picture(1), striped(), model, options=asked, watch=moments.append)
    assert not moments


def test_the_history_as_csv(model):
    result = stylise(picture(1), striped(), model, options=options(steps=3))
    rows = list(csv.DictReader(result.history_csv().splitlines()))
    assert list(rows[0]) == ["size", "step", "evaluations", "content", "style", "variation", "total"]
    assert [float(row["total"]) for row in rows] == [step.total for step in result.history]


def test_frames_begin_where_the_last_one_ended_and_pictures_do_not(model, tmp_path):
    for n in range(3):
        Image.fromarray(np.roll(picture(1), n, axis=1)).save(tmp_path / f"{n}.png")
    paths = sorted(tmp_path.iterdir())
    stylist = Stylist(model, options(steps=4))
    frames = [each for _, each in stylise_each(stylist, paths, [striped()], frames=True)]
    alone = [each for _, each in stylise_each(stylist, paths, [striped()])]
    assert np.array_equal(frames[0].picture, alone[0].picture)
    assert frames[1].history[0].total < alone[1].history[0].total
    assert alone[1].history[0].content < 1e-6 < frames[1].history[0].content


def test_another_network_stands_in_for_vgg():
    model = model_of(build("cifar_resnet20", num_classes=3, seed=0))
    result = stylise(picture(1), striped(), model, options=options(steps=8))
    assert result.history[-1].total < result.history[0].total
    layers = options(steps=3, content_layer="conv2_x", style_layers=("conv1", "features.conv3_x.0"))
    assert stylise(picture(1), striped(), model, options=layers).history[-1].content >= 0


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"styles": []}, UsageError, "there is no style"),
        ({"masks": [striped()]}, ShapeError, "has 40×40 pixels, the content 48×40"),
        ({"masks": [picture(1), picture(2)]}, UsageError, "1 styles have 2 masks"),
        ({"masks": [np.zeros((40, 48, 3), np.uint8)]}, UsageError, "black all over"),
        ({"content": np.zeros((4, 90, 3), np.uint8)}, ShapeError, "the content has 90×4 pixels"),
        ({"styles": np.zeros((900, 9, 3), np.uint8)}, ShapeError, "a style has 9×900 pixels, which become 0×48"),
        ({"content": "nowhere.png"}, UnreadableImage, "nowhere.png"),
        ({"options": options(style_weights=(1.0, 2.0))}, UsageError, "1 styles have 2 style weights"),
        ({"options": options(content_layer="conv4_9")}, UsageError, "no stage is called conv4_9"),
        ({"options": options(size=(32,))}, ShapeError, "do not get as far as conv5_1"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(model, changes, kind, message):
    asked = {"content": picture(1), "styles": striped(), "options": options(), "masks": ()} | changes
    if changes.get("options") and changes["options"].size == (32,):
        asked["content"] = picture(1, 15, 48)
    with pytest.raises(kind, match=message):
        stylise(asked.pop("content"), asked.pop("styles"), model, **asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": ()}, "size"),
        ({"size": (64, 48)}, r"size \(=64, 48\) must be growing numbers"),
        ({"size": (4096,)}, "size"),
        ({"steps": 0}, "steps"),
        ({"strength": 1.1}, r"strength \(=1.1\) must be 0 \(content alone\) to 1"),
        ({"style_scale": 9.0}, "style_scale"),
        ({"variation": float("inf")}, "variation"),
        ({"memory": -1.0}, "memory"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        StyliseOptions(**changes)


@pytest.mark.parametrize("given", [np.zeros((40, 48), np.uint8), np.zeros((40, 48, 3)), [[1, 2]]])
def test_what_is_no_picture_is_told(given):
    with pytest.raises(ShapeError, match=r"the content is .*; give a file, or an array"):
        Pictures.read(given, striped(), (), None, options())


def test_pictures_are_read_through_the_door(tmp_path):
    Image.fromarray(picture(1)).convert("L").save(tmp_path / "grey.png")
    read = Pictures.read(tmp_path / "grey.png", str(tmp_path / "grey.png"), (), None, options())
    assert read.content.shape == (40, 48, 3)
    assert len(read.styles) == 1
