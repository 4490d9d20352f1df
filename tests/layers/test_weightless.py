"""Running without weights gives the shapes, and every weight is there again afterwards."""

import pytest
import torch
from torch import nn

from fovea.errors import ShapeError
from fovea.layers.smallest_image import shape_after
from fovea.layers.weightless import call_weightless, named_tensors, weightless


class Tied(nn.Module):
    """A part under two names, a weight in two parts."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3)
        self.again = self.first
        self.last = nn.Conv2d(3, 3, 3)
        self.last.weight = self.first.weight

    def forward(self, images):
        return self.last(self.again(self.first(images)))


def test_shapes_come_without_arithmetic():
    network = Tied()
    output = call_weightless(network, weightless(network), torch.empty(2, 3, 9, 9, device="meta"))
    assert output.is_meta
    assert output.shape == (2, 3, 3, 3)
    assert shape_after(network, (3, 9, 9)) == (3, 3, 3)


def test_a_part_with_two_names_has_its_weights_again_afterwards():
    network = Tied()
    before = network.first.weight
    shape_after(network, (3, 9, 9))
    assert network.first.weight is network.again.weight is network.last.weight is before
    assert not before.is_meta


def test_they_are_there_again_after_an_error_too():
    network = Tied()
    with pytest.raises((RuntimeError, ShapeError)):
        shape_after(network, (3, 4, 4))
    assert not any(parameter.is_meta for parameter in network.parameters())


def test_a_tied_weight_has_one_stand_in():
    standing_in = weightless(Tied())
    assert standing_in["first.weight"] is standing_in["last.weight"]
    assert set(named_tensors(Tied())) == set(standing_in)


def test_what_lies_on_meta_stands_for_itself():
    with torch.device("meta"):
        network = Tied()
    assert weightless(network) == {}
    assert shape_after(network, (3, 9, 9)) == (3, 3, 3)
