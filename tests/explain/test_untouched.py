"""A network that was looked into is as it was."""

import pytest
import torch
from torch import nn

from fovea.errors import ModelError
from fovea.explain.untouched import untouched
from tests.explain.conftest import state


def test_modes_flags_and_gradients_of_each_part_come_back(small):
    small.train()
    small.norm.eval()  # frozen by its owner
    small.first.weight.requires_grad_(False)
    small.fc.weight.grad = torch.ones_like(small.fc.weight)
    before = state(small)
    with untouched(small):
        assert not any(module.training for module in small.modules())
        assert not any(parameter.requires_grad for parameter in small.parameters())
        assert torch.is_grad_enabled()
    assert state(small) == before
    assert small.fc.weight.grad.sum() == small.fc.weight.numel()


def test_they_come_back_after_an_exception(small):
    small.train()
    before = state(small)
    with pytest.raises(ZeroDivisionError), untouched(small):
        raise ZeroDivisionError
    assert state(small) == before


def test_gradients_are_on_within_where_the_caller_has_turned_them_off(small, images):
    with torch.inference_mode(), untouched(small):
        leaf = images.clone().requires_grad_()
        small(leaf).sum().backward()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # torch's word on scripts, which we refuse
def test_a_compiled_script_is_refused(images):
    scripted = torch.jit.trace(nn.Conv2d(3, 2, 3).eval(), images)
    with pytest.raises(ModelError, match="TorchScript module, into which nothing can look"), untouched(scripted):
        pass
