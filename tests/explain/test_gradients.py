"""Gradients of pixels: against the definition, a linear network, and captum where it is installed."""

import pytest
import torch
from torch import nn

from fovea.errors import ModelError
from fovea.explain.aims import unit_of
from fovea.explain.gradients import input_x_gradient, integrated_gradients, saliency, smoothgrad
from fovea.explain.options import ExplainOptions
from fovea.explain.places import place_of
from fovea.explain.question import Question
from fovea.explain.untouched import untouched

TARGETS = torch.tensor([0, 3, 1])


def asked(method, network, images, aim=TARGETS, **options):
    with untouched(network):
        return method(Question(network=network, images=images, aim=aim, options=ExplainOptions(**options)))


def gradient(network, images):
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(network(leaf)[range(3), TARGETS].sum(), leaf)[0]


def test_saliency_is_the_largest_size_of_a_pixel_s_channels_whatever_the_batch(small, images):
    expected = gradient(small, images)
    found = asked(saliency, small, images, batch_size=2)
    torch.testing.assert_close(found.maps, expected.abs().amax(1))
    torch.testing.assert_close(found.detail, expected)


def test_functions_in_place_give_the_same(small, functional, images):
    torch.testing.assert_close(asked(saliency, functional, images).maps, asked(saliency, small, images).maps)


def test_of_a_linear_network_input_x_gradient_is_what_each_pixel_adds():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4, bias=False))
    images = torch.randn(3, 3, 4, 4)
    found = asked(input_x_gradient, network, images)
    torch.testing.assert_close(found.maps.sum((1, 2)), network(images)[range(3), TARGETS])
    assert (found.maps < 0).any()


@pytest.mark.parametrize("baseline", ["black", "mean", "blurred"])
def test_integrated_gradients_add_up_to_the_rise_over_the_baseline(small, images, baseline):
    from fovea.explain.baselines import baseline_of

    found = asked(integrated_gradients, small, images, baseline=baseline, completeness=0.001)
    start = baseline_of(images, baseline)
    rise = (small(images) - small(start))[range(3), TARGETS].detach()
    assert (found.gap <= 0.001).all()
    torch.testing.assert_close(found.maps.sum((1, 2)), rise, rtol=0.002, atol=1e-5)


def test_they_are_the_integral_and_not_only_its_sum():
    """Along the way of x * y the gradient is (y, x) * t, so each pixel gets half of the product."""

    class Product(nn.Module):
        def forward(self, images):
            return images.flatten(1).prod(1, keepdim=True)

    images = torch.tensor([3.0, 5.0]).view(1, 1, 1, 2)
    found = asked(integrated_gradients, Product(), images, aim=torch.tensor([0]))
    torch.testing.assert_close(found.maps.flatten(), torch.tensor([7.5, 7.5]))


def test_where_the_points_are_used_up_the_gap_says_so():
    class Step(nn.Module):
        """Nearly a jump: no 17 points see it."""

        def forward(self, images):
            return torch.sigmoid(1e4 * (images.mean((1, 2, 3)) - 0.3371))[:, None]

    images = torch.ones(1, 1, 2, 2)
    few = asked(integrated_gradients, Step(), images, aim=torch.tensor([0]), most_steps=17)
    assert few.gap > 0.5
    assert asked(integrated_gradients, Step(), images, aim=torch.tensor([0])).gap <= 0.01


def test_smoothgrad_is_the_mean_over_noise_that_depends_on_seed_and_image_alone(small, images):
    found = asked(smoothgrad, small, images, samples=8, batch_size=3).maps
    again = asked(smoothgrad, small, images, samples=8, batch_size=8).maps
    torch.testing.assert_close(found, again)
    assert not torch.allclose(found, asked(smoothgrad, small, images, samples=8, seed=1).maps)
    first = asked(smoothgrad, small, images[:1], aim=TARGETS[:1], samples=8).maps
    torch.testing.assert_close(first, found[:1])
    little = asked(smoothgrad, small, images, samples=2, noise=1e-6).maps
    torch.testing.assert_close(little, asked(saliency, small, images).maps, rtol=1e-3, atol=1e-4)


def test_a_unit_s_gradient_is_that_of_its_largest_activation(small, images):
    unit = unit_of(place_of(small, images, "second"), 2)
    leaf = images.clone().requires_grad_()
    expected = torch.autograd.grad(
        small.second(small.pool(small.relu(small.norm(small.first(leaf)))))[:, 2].amax((1, 2)).sum(), leaf
    )[0]
    torch.testing.assert_close(asked(saliency, small, images, aim=unit).detail, expected)


def test_a_network_that_does_not_look_is_refused(images):
    class Blind(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 4)

    with pytest.raises(ModelError, match="what is explained does not depend on the image"):
        asked(saliency, Blind(), images)


def test_saliency_and_integrated_gradients_are_captum_s(small, images):
    attr = pytest.importorskip("captum.attr", reason="captum is a peer; make peers installs it")
    theirs = attr.Saliency(small).attribute(images.clone().requires_grad_(), target=TARGETS)
    torch.testing.assert_close(asked(saliency, small, images).detail.abs(), theirs)
    product = attr.InputXGradient(small).attribute(images.clone().requires_grad_(), target=TARGETS)
    torch.testing.assert_close(asked(input_x_gradient, small, images).detail, product)
    integrated = attr.IntegratedGradients(small).attribute(
        images, target=TARGETS, n_steps=2000, method="riemann_trapezoid"
    )
    ours = asked(integrated_gradients, small, images, completeness=1e-4).detail
    assert (ours - integrated.float()).abs().max() < 0.01 * integrated.abs().max()
