"""Canvases: what they paint, how to get back, and what gradient comes through."""

from __future__ import annotations

import pytest
import torch

from fovea.errors import UsageError
from fovea.explain.canvas import CANVASES, COLOURS, canvas_class

SHAPES = [(2, 3, 8, 8), (2, 1, 7, 9), (1, 3, 9, 6), (3, 5, 5, 5), (1, 1, 1, 1), (2, 3, 1, 4)]
kinds = pytest.mark.parametrize("kind", list(CANVASES))
shapes = pytest.mark.parametrize("shape", SHAPES)


def pictures(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


@kinds
@shapes
def test_an_image_to_start_from_is_painted_again(kind, shape):
    images = pictures(shape)
    painted = canvas_class(kind)(shape, start=images).painted()
    assert painted.shape == shape
    assert (painted - images).abs().max() <= 0.0101
    inside = (images > 0.01) & (images < 0.99)
    torch.testing.assert_close(painted[inside], images[inside], rtol=0, atol=1e-4)


@kinds
def test_black_and_white_keep_a_gradient(kind):
    images = torch.zeros(1, 3, 6, 6)
    images[:, :, 3:] = 1
    canvas = canvas_class(kind)((1, 3, 6, 6), start=images)
    (grown,) = torch.autograd.grad(canvas.painted().sum(), canvas.numbers)
    assert torch.isfinite(grown).all()
    assert grown.abs().max() > 0.005


@kinds
@shapes
def test_the_gradient_is_that_of_differences(kind, shape):
    canvas = canvas_class(kind)(shape, start=pictures(shape))
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    (grown,) = torch.autograd.grad((canvas.painted() * weights).sum(), canvas.numbers)
    way = torch.randn(grown.shape, generator=torch.Generator().manual_seed(5))
    ends = []
    for step in (1e-2, -1e-2):
        with torch.no_grad():
            canvas.numbers += step * way
            ends.append((canvas.painted() * weights).sum())
            canvas.numbers -= step * way
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-2, (grown * way).sum(), rtol=0.02, atol=2e-3)


@kinds
def test_the_start_is_faint_depends_on_the_seed_and_is_the_same_for_every_image(kind):
    first, again, other = (canvas_class(kind)((2, 3, 8, 8), seed=seed).painted() for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[0], first[1])
    assert 0 < (first - 0.5).abs().max() < 0.05


@kinds
@pytest.mark.parametrize("fall", [1.0, 1.5])
@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 3, 65, 63), (1, 3, 16, 16)])
def test_numbers_of_deviation_one_give_that_before_the_sigmoid_whatever_the_size(kind, shape, fall):
    found = []
    for seed in range(40):
        canvas = canvas_class(kind)(shape, seed=seed, fall=fall)
        with torch.no_grad():
            canvas.numbers *= 100
        found.append(torch.logit(canvas.painted().double()).square().mean())
    assert 0.75 < torch.stack(found).mean().sqrt() < 1.25


def test_waves_of_the_same_size_of_step_are_smoother_than_pixels_and_more_so_the_steeper_they_fall():
    def roughness(kind, fall=1.0):
        canvas = canvas_class(kind)((1, 3, 32, 32), fall=fall)
        with torch.no_grad():
            canvas.numbers *= 100
            logits = torch.logit(canvas.painted())
        return logits.diff(dim=3).square().mean() / logits.var()

    assert roughness("fourier") < 0.5 * roughness("pixels")
    assert roughness("fourier", 1.5) < 0.5 * roughness("fourier")


def test_colours_vary_together_as_measured():
    factor = torch.tensor(COLOURS)
    wanted = torch.tensor([[1, 0.910, 0.820], [0.910, 1, 0.931], [0.820, 0.931, 1]])
    torch.testing.assert_close(factor @ factor.T, wanted, rtol=0, atol=1e-3)
    columns = factor / factor.norm(dim=0)
    torch.testing.assert_close(columns.T @ columns, torch.eye(3), rtol=0, atol=5e-3)


def test_another_canvas_is_refused():
    with pytest.raises(UsageError, match=r"canvas \(=fourrier\) must be one of fourier, pixels. Did you mean fourier"):
        canvas_class("fourrier")


@kinds
def test_stirring_changes_the_images_named_alone(kind):
    canvas = canvas_class(kind)((3, 3, 8, 8), seed=2)
    before = canvas.painted().detach()
    canvas.stir(torch.tensor([True, False, True]), 1, 1.0)
    after = canvas.painted().detach()
    assert torch.equal(after[1], before[1])
    assert torch.equal(after[0], after[2])
    assert after[0].std() > 0.1
    canvas.stir(torch.tensor([True, False, False]), 2, 1.0)
    assert not torch.equal(canvas.painted()[0], after[0])
