"""L-BFGS on pixels: it descends, stops, and tells."""

from __future__ import annotations

import itertools

import pytest
import torch

from fovea.errors import NumbersError
from fovea.style.aim import Terms
from fovea.style.descending import Descent

ZERO = torch.zeros(())


def valley(images):
    """A long narrow valley with its lowest place at 0.3."""
    weights = torch.logspace(0, 2, images.numel()).view_as(images)
    apart = images - 0.3
    return Terms((weights * apart**2).sum(), ZERO, ZERO), 2 * weights * apart


def descent(evaluate=valley, stop=lambda: False):
    told = []
    start = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return Descent(evaluate, start, lambda step, images: told.append((step, images.clone())), stop), told


def test_no_step_increases_the_loss_and_the_lowest_place_is_found():
    search, told = descent()
    assert search.run(60)
    losses = [step.total for step, _ in told]
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 1e-6 * losses[0]
    assert (search.images - 0.3).abs().max() < 1e-3
    steps = [step.step for step, _ in told]
    assert steps == list(range(len(steps)))
    assert len(steps) <= 61


def test_every_step_is_told_with_the_picture_it_reached():
    search, told = descent()
    search.run(5)
    for step, images in told:
        assert float(valley(images)[0].total) == pytest.approx(step.total, rel=1e-5)
    assert [step.evaluations for step, _ in told] == sorted(step.evaluations for step, _ in told)
    assert told[-1][0].step == 5


def test_stopped_the_best_picture_so_far_is_kept():
    passes = []

    def stop():
        passes.append(0)
        return len(passes) > 6

    search, told = descent(stop=stop)
    assert not search.run(60)
    assert float(valley(search.images)[0].total) <= told[-1][0].total < told[0][0].total


def test_the_same_descent_twice_gives_the_same_bits():
    found = []
    for _ in range(2):
        search, _ = descent()
        search.run(10)
        found.append(search.images)
    assert torch.equal(*found)


def test_no_number_is_told_with_the_step():
    def broken(images):
        terms, gradient = valley(images)
        return terms._replace(style=terms.content * float("nan")), gradient

    search, _ = descent(broken)
    with pytest.raises(NumbersError, match="the loss became nan in step 0 at 5 pixels"):
        search.run(3)


def test_taken_up_again_it_goes_on_counting():
    search, told = descent()
    search.run(4)
    assert search.taken == 4
    assert search.run(9)
    assert [step.step for step, _ in told] == list(range(10))
    assert told[-1][0].evaluations == search.evaluations
    losses = [step.total for step, _ in told]
    assert losses == sorted(losses, reverse=True)
