"""The shapes in the signatures are checked in every call that a test makes, as pyproject.toml has it."""

import pytest
import torch
from jaxtyping import TypeCheckError

from fovea.layers.drop_path import DropPath
from fovea.training.losses import smoothed


def test_maps_of_a_shape_that_a_layer_does_not_take_are_refused():
    with pytest.raises(TypeCheckError, match="maps"):
        DropPath()(torch.zeros(2, 3, 4))


def test_so_are_two_arguments_whose_sizes_do_not_agree():
    assert smoothed(torch.eye(3), weights=torch.ones(3)).shape == (3, 3)
    with pytest.raises(TypeCheckError, match="weights"):
        smoothed(torch.eye(3), weights=torch.ones(2))
