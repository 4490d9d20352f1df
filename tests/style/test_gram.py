"""Gram matrices against their definition, in float64."""

from __future__ import annotations

import pytest
import torch

from fovea.style.gram import gram


def by_hand(maps, shares=None):
    """Equation 3, place by place."""
    flat = maps[0].double().flatten(1)
    counted = flat if shares is None else flat * shares.double().flatten()
    return torch.einsum("ip,jp->ij", flat, counted)


@pytest.fixture
def maps():
    return torch.randn(1, 5, 6, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def shares():
    return torch.rand(6, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shared", [False, True])
def test_products_and_their_gradient_are_those_of_a_float64_reference(maps, shares, shared):
    own = shares if shared else None
    weights = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))
    maps.requires_grad_()
    found = gram(maps, own)
    (gradient,) = torch.autograd.grad((found * weights).sum(), maps)
    reference = maps.detach().double().requires_grad_()
    wanted = by_hand(reference, own)
    (exact,) = torch.autograd.grad((wanted * weights.double()).sum(), reference)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=1e-5)


def test_its_own_backward_pass_is_the_derivative(maps, shares):
    assert torch.autograd.gradcheck(gram, (maps.double().requires_grad_(), shares.double()))


def test_the_memory_format_does_not_matter(maps):
    last = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gram(last), gram(maps))


def test_maps_in_bf16_are_added_in_float32(maps):
    found = gram(maps.bfloat16())
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), by_hand(maps.bfloat16()), rtol=1e-5, atol=1e-5)
