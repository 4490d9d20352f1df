"""DeepDream on small networks: it raises what it shall, over sizes that fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fovea.errors import ModelError, NumbersError, ShapeError, UsageError
from fovea.explain.dreaming import DreamingOptions, dream
from tests.explain.conftest import state
from tests.explain.test_maximising import Dense, model_of

FEW = DreamingOptions(steps=5, octaves=2)


@pytest.fixture
def pixels():
    drawn = torch.randint(0, 256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(2))
    return drawn.to(torch.uint8)


@pytest.mark.parametrize("which", ["small", "functional"])
@pytest.mark.parametrize("stage", ["first", "second"])
def test_the_stage_sees_more_in_the_pictures_as_given(which, stage, pixels, request):
    network = request.getfixturevalue(which)
    model = model_of(network, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    found = dream(model, pixels, stage=stage, options=FEW)
    assert found.sizes == ((9, 9), (12, 12))
    assert found.pictures.shape == (3, 12, 12, 3)
    assert (found.after > 1.2 * found.before).all()
    assert (found.pictures != pixels.permute(0, 2, 3, 1).numpy()).mean() > 0.5
    if stage == "first":
        spec = model.bundle.preprocessing
        for given, told in (
            (pixels, found.before),
            (torch.from_numpy(found.pictures).permute(0, 3, 1, 2), found.after),
        ):
            squares = network.first(spec.normalise(given)).square().mean((1, 2, 3)).detach()
            np.testing.assert_allclose(told, squares.numpy(), rtol=1e-4)
    assert "over 2 sizes" in str(found)


def test_a_step_changes_values_by_the_rate_on_average(small):
    grey = torch.full((1, 3, 12, 12), 128, dtype=torch.uint8)
    found = dream(model_of(small), grey, stage="first", options=DreamingOptions(steps=1, octaves=1, rate=0.1))
    change = np.abs(found.pictures.astype(float) - 128).mean() / 255
    assert change == pytest.approx(0.1, rel=0.1)


def test_the_image_keeps_its_detail_over_octaves(small, pixels):
    """With hardly a step, what comes out is the image, not a small one enlarged."""
    found = dream(model_of(small), pixels, stage="first", options=DreamingOptions(steps=1, octaves=3, rate=1e-6))
    assert np.abs(found.pictures.astype(int) - pixels.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_octaves_too_small_for_the_stage_are_left(pixels):
    torch.manual_seed(0)
    network = Dense()
    network.conv = nn.Conv2d(3, 20, 8)
    found = dream(model_of(network), pixels, stage="conv", options=DreamingOptions(steps=2, octaves=9))
    assert found.sizes == ((9, 9), (12, 12))
    with pytest.raises(ShapeError, match="images of 7×12 do not reach conv; give larger ones"):
        dream(model_of(network), pixels[:, :, :7], stage="conv", options=FEW)


def test_images_may_be_larger_than_the_network_s_and_need_not_be_square():
    torch.manual_seed(0)
    network = Dense()
    pixels = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(3))
    mean = tuple(torch.linspace(0, 0.5, 432).tolist())
    found = dream(model_of(network, scale=1.0, mean=mean), pixels, stage="conv", options=FEW)
    assert found.pictures.shape == (2, 20, 30, 3)
    assert found.sizes == ((14, 21), (20, 30))
    assert (found.after > found.before).all()
    assert network.seen == 1  # to find the place


def test_the_same_seed_gives_the_same_bits_and_batches_change_nothing(small, pixels):
    model = model_of(small)
    first, again = (dream(model, pixels, stage="second", options=FEW) for _ in range(2))
    assert first.pictures.tobytes() == again.pictures.tobytes()
    other = dream(model, pixels, stage="second", options=DreamingOptions(steps=5, octaves=2, seed=1))
    assert first.pictures.tobytes() != other.pictures.tobytes()
    cut = dream(model, pixels, stage="second", options=DreamingOptions(steps=5, octaves=2, batch_size=2))
    np.testing.assert_allclose(cut.after, first.after, rtol=1e-3)


def test_a_caller_without_gradients_gets_the_same(small, pixels):
    model = model_of(small)
    wanted = dream(model, pixels, stage="second", options=FEW)
    with torch.inference_mode():
        found = dream(model, pixels.clone().float(), stage="second", options=FEW)
    assert found.pictures.tobytes() == wanted.pictures.tobytes()


def test_a_blurred_gradient_adds_broader_shapes(small):
    grey = torch.full((1, 3, 12, 12), 128, dtype=torch.uint8)
    rough = []
    for blur in (0.0, 1.5):
        options = DreamingOptions(steps=4, octaves=1, rate=0.02, blur=blur)
        found = dream(model_of(small), grey, stage="first", options=options).pictures.astype(float)
        rough.append(np.abs(np.diff(found, axis=2)).mean() / found.std())
    assert rough[1] < 0.7 * rough[0]


def test_the_network_stays_as_it_was(small, pixels):
    model = model_of(small)
    small.train()
    before = state(small)
    dream(model, pixels, stage="second", options=FEW)
    assert state(small) == before

    def stop(done, total):
        assert total == 10
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dream(model, pixels, stage="second", options=FEW, progress=stop)
    assert state(small) == before


def test_what_cannot_be_dreamed_is_refused(small, pixels):
    model = model_of(small)
    with pytest.raises(UsageError, match="no stage is called secnd"):
        dream(model, pixels, stage="secnd", options=FEW)
    with pytest.raises(ShapeError, match="must be"):
        dream(model, pixels[:0], stage="second", options=FEW)
    with pytest.raises(UsageError, match="octaves"):
        DreamingOptions(octaves=0)
    with pytest.raises(UsageError, match="ratio"):
        DreamingOptions(ratio=1.0)
    with torch.no_grad():
        small.first.bias[0] = float("inf")
    with pytest.raises(NumbersError, match="mean square became NaN or infinite"):
        dream(model, pixels, stage="second", options=FEW)


def test_a_stage_that_does_not_look_is_refused(pixels):
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.conv(torch.zeros_like(images)).mean((2, 3))

    with pytest.raises(ModelError, match="does not depend on the image"):
        dream(model_of(Blind()), pixels, stage="conv", options=FEW)
