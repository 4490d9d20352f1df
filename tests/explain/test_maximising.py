"""Activation maximisation on small networks: it climbs, repeats to the bit, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError, NumbersError, ShapeError, UsageError
from fovea.explain.maximising import MaximisingOptions, maximise
from fovea.runtime.model import Model
from tests.explain.conftest import state

FEW = MaximisingOptions(steps=12, lr=0.1)


def model_of(network, channels=3, size=12, classes=4, **spec):
    spec = Preprocessing(image_size=size, resize=size, in_channels=channels, **spec)
    return Model(Bundle(network=network, architecture=None, classes=tuple("abcdefgh"[:classes]), preprocessing=spec))


def scored(model, found):
    """The logits of the pictures, computed by hand."""
    pixels = torch.from_numpy(found.pictures).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.network(model.bundle.preprocessing.normalise(pixels))


class Dense(nn.Module):
    """Takes images of 12 pixels alone; `seen` counts how often what follows the convolution ran."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.seen = nn.Conv2d(3, 5, 3), nn.Linear(500, 4), 0

    def forward(self, images):
        maps = torch.relu_(self.conv(images.sub_(0.1)))
        self.seen += 1
        return self.fc(maps.flatten(1))


@pytest.mark.parametrize("canvas", ["fourier", "pixels"])
@pytest.mark.parametrize("which", ["small", "functional"])
def test_classes_score_more_in_the_pictures_as_given(which, canvas, request):
    model = model_of(request.getfixturevalue(which), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    found = maximise(model, targets=["b", 3, "a"], options=MaximisingOptions(steps=12, lr=0.1, canvas=canvas))
    assert found.names == ("b", "d", "a")
    assert found.pictures.shape == (3, 12, 12, 3)
    assert found.history.shape == (12, 3)
    assert (found.after > found.before + 0.002).all()
    np.testing.assert_allclose(found.after, scored(model, found)[range(3), [1, 3, 0]].numpy(), rtol=1e-4, atol=1e-5)
    assert str(found).count("at the start") == 3


def test_the_same_seed_gives_the_same_bits_and_another_others(small):
    model = model_of(small)
    first, again = (maximise(model, targets=[1, 2], options=FEW) for _ in range(2))
    assert first.history.tobytes() == again.history.tobytes()
    assert first.pictures.tobytes() == again.pictures.tobytes()
    torch.manual_seed(5)
    other = maximise(model, targets=[1, 2], options=MaximisingOptions(steps=12, lr=0.1, seed=1))
    assert first.pictures.tobytes() != other.pictures.tobytes()


def test_a_caller_without_gradients_gets_the_same(small):
    model = model_of(small)
    wanted = maximise(model, targets=[1], options=FEW)
    with torch.inference_mode():
        found = maximise(model, targets=[1], options=FEW)
    assert found.pictures.tobytes() == wanted.pictures.tobytes()


def test_what_is_sought_beside_it_and_the_batch_change_nothing(small):
    model = model_of(small)
    several = maximise(model, targets=[0, 1, 2], options=FEW)
    cut = maximise(model, targets=[0, 1, 2], options=MaximisingOptions(steps=12, lr=0.1, batch_size=2))
    alone = maximise(model, targets="c", options=FEW)
    np.testing.assert_allclose(several.history, cut.history, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(several.history[:, 2], alone.history[:, 0], rtol=1e-4, atol=1e-5)


def test_units_of_several_stages_come_in_the_order_asked_for(small):
    model = model_of(small)
    found = maximise(model, units=["second:1", ("first", 4), "second:7"], options=FEW)
    assert found.names == ("second:1", "first:4", "second:7")
    assert (found.after > found.before).all()
    pixels = torch.from_numpy(found.pictures).permute(0, 3, 1, 2)
    maps = small.first(model.bundle.preprocessing.normalise(pixels))
    assert found.after[1] == pytest.approx(maps[1, 4].mean().item(), rel=1e-4)


def test_the_centre_is_one_position(small):
    model = model_of(small)
    options = MaximisingOptions(steps=12, lr=0.1, position="centre")
    found = maximise(model, units=["first:2"], options=options)
    pixels = torch.from_numpy(found.pictures).permute(0, 3, 1, 2)
    maps = small.first(model.bundle.preprocessing.normalise(pixels))
    assert found.after[0] == pytest.approx(maps[0, 2, 6, 6].item(), rel=1e-4)
    assert maps[0, 2, 6, 6] > maps[0, 2].mean()


class Shy(nn.Module):
    """A unit that only bright pixels wake, and one that nothing does."""

    def forward(self, images):
        maps = self.relu(torch.cat([images[:, :1] - 0.6, images[:, :1] - 2], dim=1))
        return maps.mean((2, 3))

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)


def test_a_unit_that_is_silent_in_faint_noise_is_woken_and_one_that_never_speaks_stays():
    found = maximise(model_of(Shy(), classes=2), units=["relu:0", "relu:1"], options=FEW)
    assert found.before.tolist() == [0, 0]
    assert found.after[0] > 0.02
    assert found.after[1] == 0


def test_units_take_larger_images_than_the_network_and_nothing_behind_them_runs():
    torch.manual_seed(0)
    network = Dense()
    model = model_of(network)
    options = MaximisingOptions(steps=6, image_size=20)
    found = maximise(model, units=["conv:1"], options=options)
    assert found.pictures.shape == (1, 20, 20, 3)
    assert found.after > found.before
    assert network.seen == 1  # to find the place
    with pytest.raises(UsageError, match=r"image_size \(=20\) must be the network's 12 for classes"):
        maximise(model, targets=[0], options=options)
    with pytest.raises(ShapeError, match=r"image_size \(=2\) does not reach conv; take 12"):
        maximise(model, units=["conv:1"], options=MaximisingOptions(image_size=2))


def test_a_mean_image_serves_other_sizes_by_its_channels_means():
    torch.manual_seed(0)
    mean = tuple(torch.linspace(0, 0.5, 432).tolist())
    found = maximise(model_of(Dense(), mean=mean), units=["conv:1"], options=MaximisingOptions(steps=4, image_size=16))
    assert found.pictures.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_than_three(channels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2))
    model = model_of(network, channels, size=8, classes=2, scale=1.0)
    found = maximise(model, targets=[0, 1], options=FEW)
    assert found.pictures.shape == (2, 8, 8, channels)
    assert (found.after > found.before).all()


def test_penalties_and_blur_make_images_smoother(small):
    def roughness(**options):
        found = maximise(model_of(small), targets=[0], options=MaximisingOptions(steps=20, lr=0.3, **options))
        return np.abs(np.diff(found.pictures.astype(float), axis=2)).mean()

    plain = roughness(canvas="pixels")
    assert roughness(canvas="pixels", total_variation=10.0) < 0.7 * plain
    assert roughness(canvas="pixels", blur=1.0) < 0.7 * plain
    assert roughness() < plain


def test_the_network_stays_as_it_was(small):
    model = model_of(small)
    small.train()
    before = state(small)
    maximise(model, targets=[0], options=FEW)
    assert state(small) == before

    def stop(done, _):
        if done == 3:
            raise KeyboardInterrupt

    for asked in ({"targets": [0]}, {"units": ["second:0"]}):
        with pytest.raises(KeyboardInterrupt):
            maximise(model, **asked, options=FEW, progress=stop)
        assert state(small) == before


def test_progress_is_told_to_the_end(small):
    told = []
    maximise(
        model_of(small),
        targets=[0, 1, 2],
        options=MaximisingOptions(steps=2, batch_size=2),
        progress=lambda *each: told.append(each),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nan_is_an_error_of_numbers_and_leaves_nothing(small):
    with torch.no_grad():
        small.fc.bias[0] = float("nan")
    before = state(small)
    with pytest.raises(NumbersError, match="a score became NaN or infinite at step 0"):
        maximise(model_of(small), targets=[0], options=FEW)
    assert state(small) == before


def test_a_network_that_does_not_look_is_refused():
    class Blind(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 4)

    with pytest.raises(ModelError, match="does not depend on the image"):
        maximise(model_of(Blind()), targets=[0], options=FEW)


def test_what_cannot_be_sought_is_refused(small):
    model = model_of(small)
    with pytest.raises(UsageError, match="give one of the two"):
        maximise(model)
    with pytest.raises(UsageError, match="give one of the two"):
        maximise(model, targets=[0], units=["first:0"])
    with pytest.raises(UsageError, match="no class to maximise"):
        maximise(model, targets=[])
    with pytest.raises(UsageError, match="no unit to maximise"):
        maximise(model, units=[])
    with pytest.raises(UsageError, match=r"target \(=z\) is no class"):
        maximise(model, targets=["z"])
    with pytest.raises(UsageError, match=r"unit \(=first\) must be a stage or layer and a channel"):
        maximise(model, units=["first"])
    with pytest.raises(UsageError, match="must be 0 to 5, its channels"):
        maximise(model, units=["first:6"])
    with pytest.raises(UsageError, match="no stage is called furst"):
        maximise(model, units=["furst:0"])


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"lr": 0.0}, {"image_size": 0}, {"jitter": 1.0}, {"turn": 181.0}, {"zoom": 1.0}, {"blur_every": 0}],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        MaximisingOptions(**wrong)
