"""Inverted representations: what a layer keeps comes back, what it loses does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fovea.errors import ModelError, NumbersError, UsageError
from fovea.explain.inverting import InvertingOptions, invert
from tests.explain.conftest import state
from tests.explain.test_maximising import model_of


class Losing(nn.Module):
    """A first layer that keeps the image, a second that keeps the means of its quarters alone."""

    def __init__(self, channels=3):
        super().__init__()
        self.keeps, self.loses = nn.Conv2d(channels, channels, 1, bias=False), nn.AvgPool2d(8)
        nn.init.dirac_(self.keeps.weight)
        self.rest = 0

    def forward(self, images):
        maps = self.loses(torch.relu_(self.keeps(images)))
        self.rest += 1
        return maps.mean((2, 3))


@pytest.fixture
def pixels():
    """Smooth images whose colours vary together, as photographs are."""
    coarse = torch.rand(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    coarse = 0.1 + 0.6 * coarse[:, :1] + 0.2 * coarse[:, 1:]
    return nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic").clamp(0, 1) * 255


@pytest.mark.parametrize("canvas", ["fourier", "pixels"])
def test_a_layer_that_keeps_the_image_gives_it_back(canvas, pixels):
    network = Losing()
    options = InvertingOptions(canvas=canvas, steps=150, lr=0.2, variation_weight=1e-4)
    found = invert(model_of(network, size=16, classes=3), pixels, stages=["keeps"], options=options)
    assert found.pictures.shape == (1, 2, 16, 16, 3)
    assert found.errors.max() < 0.05
    off = (found.pictures[0].astype(float) - found.originals) / 255
    assert np.abs(off).mean() < 0.02
    assert np.array_equal(found.originals, pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    assert network.rest == 1  # to find the place: what lies behind it does not run
    assert str(found).startswith("keeps: the representation is off by")


def test_a_layer_that_loses_the_image_gives_another_with_the_same_representation(pixels):
    network = Losing()
    model = model_of(network, size=16, classes=3)
    options = InvertingOptions(steps=150, lr=0.1, variation_weight=1e-4)
    found = invert(model, pixels, stages=["loses", "keeps"], options=options)
    assert found.stages == ("loses", "keeps")
    assert found.errors.max() < 0.05
    apart = [np.abs(each.astype(float) - found.originals).mean() for each in found.pictures]
    assert apart[0] > 4 * apart[1]
    images = [torch.from_numpy(each).permute(0, 3, 1, 2) / 255 for each in (found.pictures[0], found.originals)]
    got, wanted = (network.loses(each) for each in images)
    told = (got - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    np.testing.assert_allclose(found.errors[0], told.numpy(), atol=2e-3)


@pytest.mark.parametrize("which", ["small", "functional"])
def test_activations_in_place_change_nothing(which, images, request):
    model = model_of(request.getfixturevalue(which))
    pixels = (images.sigmoid() * 255).round()
    found = invert(model, pixels, stages=["first", "second"], options=InvertingOptions(steps=30, lr=0.1))
    early = invert(model, pixels, stages=["first", "second"], options=InvertingOptions(steps=2, lr=0.1))
    assert (found.errors < 0.8 * early.errors).all()


def test_the_same_seed_gives_the_same_bits_and_batches_change_nothing(small, images):
    model = model_of(small)
    pixels = (images.sigmoid() * 255).round()

    def inverted(**options):
        return invert(model, pixels, stages=["second"], options=InvertingOptions(steps=10, **options))

    first = inverted()
    assert first.pictures.tobytes() == inverted().pictures.tobytes()
    assert first.pictures.tobytes() != inverted(seed=1).pictures.tobytes()
    np.testing.assert_allclose(inverted(batch_size=2).errors, first.errors, rtol=1e-3)


def test_a_caller_without_gradients_gets_the_same(small, images):
    model, options = model_of(small), InvertingOptions(steps=4)
    pixels = images.sigmoid() * 255
    wanted = invert(model, pixels, stages=["second"], options=options)
    with torch.inference_mode():
        found = invert(model, pixels.clone(), stages=["second"], options=options)
    assert found.pictures.tobytes() == wanted.pictures.tobytes()


def test_penalties_do_what_they_say(pixels):
    model = model_of(Losing(), size=16, classes=3)

    def inverted(**options):
        options = {"variation_weight": 0.0, **options}
        found = invert(model, pixels, stages=["keeps"], options=InvertingOptions(steps=80, lr=0.1, **options))
        return found.pictures.astype(float) / 127.5 - 1

    plain = inverted()
    smooth = inverted(variation_weight=3.0)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.7 * np.abs(np.diff(plain, axis=2)).mean()
    assert np.abs(inverted(alpha_weight=30.0)).max() < 0.8 * np.abs(plain).max()


def test_a_representation_of_zeros_can_be_asked_for(pixels):
    network = Losing()
    with torch.no_grad():
        network.keeps.weight.abs_()
    found = invert(
        model_of(network, size=16, classes=3), 0 * pixels, stages=["keeps"], options=InvertingOptions(steps=3)
    )
    assert np.isfinite(found.errors).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_other_channels_than_three(channels, pixels):
    model = model_of(Losing(channels), channels, size=16, classes=channels, scale=1.0)
    options = InvertingOptions(steps=100, lr=0.2, variation_weight=1e-4)
    found = invert(model, pixels[:, :channels] / 255, stages=["keeps"], options=options)
    assert found.pictures.shape == (1, 2, 16, 16, channels)
    assert found.errors.max() < 0.1


def test_the_network_stays_as_it_was(small, images):
    model = model_of(small)
    pixels = images.sigmoid() * 255
    small.train()
    before = state(small)
    invert(model, pixels, stages=["second"], options=InvertingOptions(steps=2))
    assert state(small) == before

    def stop(done, total):
        assert total == 8
        if done == 3:
            raise KeyboardInterrupt

    options = InvertingOptions(steps=2, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        invert(model, pixels, stages=["first", "second"], options=options, progress=stop)
    assert state(small) == before


def test_what_cannot_be_inverted_is_refused(small, images):
    model, pixels = model_of(small), images.sigmoid() * 255
    with pytest.raises(UsageError, match="no stage to invert"):
        invert(model, pixels, stages=[])
    with pytest.raises(UsageError, match="no stage is called secnd"):
        invert(model, pixels, stages=["secnd"])
    with pytest.raises(UsageError, match="variation_weight"):
        InvertingOptions(variation_weight=-1.0)
    with torch.no_grad():
        small.first.bias[0] = float("inf")
    with pytest.raises(NumbersError, match="the representation of an image became NaN"):
        invert(model, pixels, stages=["second"])


def test_a_stage_that_does_not_look_is_refused(pixels):
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.conv(torch.zeros_like(images)).mean((2, 3))

    with pytest.raises(ModelError, match="does not depend on the image"):
        invert(model_of(Blind(), size=16), pixels, stages=["conv"])
