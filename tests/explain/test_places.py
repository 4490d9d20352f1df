"""Where one looks: by name, by default, and what is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.errors import ModelError, UsageError
from fovea.explain.places import place_of, spatial_place, watched

ZEROS = torch.zeros(1, 3, 12, 12)


@pytest.mark.parametrize(
    ("name", "size", "place", "shape"),
    [
        ("lenet5", 32, "pool2", (16, 5, 5)),
        ("cifar_resnet20", 32, "conv4_x", (64, 8, 8)),
        ("cifar_nin", 32, "mlpconv3", (10, 8, 8)),
        ("efficientnet_b0", 64, "stage9", (1280, 2, 2)),
    ],
)
def test_by_default_it_is_the_last_stage_whose_maps_have_places(name, size, place, shape):
    network = build(name).eval()
    found = place_of(network, torch.zeros(1, network.in_channels, size, size))
    assert (found.name, found.shape) == (place, shape)
    assert found.spatial


def test_of_another_network_it_is_the_last_module_to_end_with_maps(small):
    assert place_of(small, ZEROS).name == "second"  # the ReLU after it runs twice, so it is no one place


def test_a_stage_and_a_path_are_found_and_a_typing_error_has_close_matches():
    network = build("cifar_resnet20").eval()
    images = torch.zeros(1, 3, 32, 32)
    assert place_of(network, images, "conv3_x").shape == (32, 16, 16)
    assert place_of(network, images, "features.conv3_x").module is network.features.conv3_x
    with pytest.raises(UsageError, match=r"no stage is called conv3x; .* Did you mean conv3_x"):
        place_of(network, images, "conv3x")


def test_a_module_that_runs_twice_or_never_is_no_place(small):
    with pytest.raises(ModelError, match="relu runs 2 times for one image, so it is not one place"):
        place_of(small, ZEROS, "relu")
    small.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(ModelError, match="spare did not run for this image"):
        place_of(small, ZEROS, "spare")


def test_what_has_no_extent_is_refused_where_maps_are_needed(small):
    with pytest.raises(ModelError, match=r"fc gives 4 for an image, .* grad_cam needs maps; .* with maps is second"):
        spatial_place(small, ZEROS, "fc", "grad_cam")
    with pytest.raises(UsageError, match="head names what enters the output layer"):
        place_of(small, ZEROS, "head")


def test_what_follows_in_place_does_not_change_what_was_seen(functional, images):
    place = place_of(functional, images, "norm")
    with watched(place) as seen:
        functional(images)
    assert seen().min() < 0  # before the ReLU in place
    assert torch.equal(seen(), functional.norm(functional.first(images)))
    assert not functional.norm._forward_hooks


def test_cut_nothing_before_the_place_is_kept_for_the_gradient(small, images):
    place = place_of(small, images, "second")
    leaf = images.clone().requires_grad_()
    with watched(place, cut=True) as seen:
        small(leaf).sum().backward()
    assert leaf.grad is None
    assert seen().is_leaf
    expected = small.fc.weight.sum(0)[:, None, None] / 36 * (F.relu(seen().detach()) > 0)
    torch.testing.assert_close(seen().grad, expected)


def test_what_did_not_run_is_told(small):
    with watched(place_of(small, ZEROS, "fc")) as seen, pytest.raises(ModelError, match="fc did not run"):
        seen()
