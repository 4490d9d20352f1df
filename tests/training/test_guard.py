"""The guard: a step that is not finite changes nothing, nor does any after it, and where it came from is said."""

from __future__ import annotations

import copy

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from fovea.data.batch import Batch
from fovea.training.guard import Guard, diagnosed, gradient_norm
from fovea.training.loop import Step
from fovea.training.losses import objective
from fovea.training.optimisers import build, state_tensors
from fovea.training.options import options
from fovea.training.ranks import Ranks

CPU = torch.device("cpu")
NAN, INFINITE = float("nan"), float("inf")
GOOD = torch.tensor(1.5)


# The flag.


@pytest.mark.parametrize(
    ("loss", "norm"),
    [
        (NAN, 1.0),
        (INFINITE, 1.0),
        (-INFINITE, 1.0),
        (1.0, NAN),
        (1.0, INFINITE),
        (INFINITE, INFINITE),
        (-INFINITE, INFINITE),
    ],
)
def test_what_is_not_finite_raises_the_flag_and_nothing_lowers_it(loss, norm):
    guard = Guard(CPU)
    guard.check(GOOD, GOOD)
    assert guard.raised == 0
    guard.check(torch.tensor(loss), torch.tensor(norm))
    assert guard.raised == 1
    guard.check(GOOD, GOOD)
    assert guard.raised == 1


def test_large_numbers_are_numbers():
    guard = Guard(CPU)
    guard.check(torch.tensor(1e38), torch.tensor(1e38))
    guard.check(torch.tensor(-1e38), torch.tensor(0.0))
    assert guard.raised == 0


def test_the_step_that_raised_it_is_seen_and_stays_the_one():
    guard, seen = Guard(CPU), []
    for step in range(6):
        guard.check(torch.tensor(NAN) if step == 3 else GOOD, GOOD)
        guard.post(step)
        seen.append(guard.seen())
        if step == 3:
            assert guard.seen(now=True) == 3
            break
    assert seen == [None, None, None, 3]


def test_before_the_first_step_nothing_is_seen():
    assert Guard(CPU).seen() is None
    assert Guard(CPU).seen(now=True) is None


def test_a_guard_that_begins_in_the_middle_of_a_run_counts_as_the_run_does():
    guard = Guard(CPU)
    guard.check(GOOD, torch.tensor(INFINITE))
    guard.post(4711)
    assert guard.seen() == 4711


def test_the_norm_is_that_of_all_gradients_as_one_vector():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4), torch.randn(7), torch.randn(2, 3, 2, 2)]
    whole = torch.cat([gradient.flatten() for gradient in gradients])
    assert gradient_norm(gradients) == pytest.approx(float(whole.norm()), rel=1e-6)
    assert torch.isnan(gradient_norm([*gradients, torch.tensor([NAN])]))
    assert torch.isinf(gradient_norm([torch.tensor([1e30]), torch.tensor([1e30])]))


# A step.


def small():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
    )


def batch(spoilt=None, count=6):
    torch.manual_seed(5)
    images = torch.randn(count, 1, 8, 8)
    if spoilt is not None:
        images[2, 0, 1, 1] = spoilt
    return Batch(images, torch.arange(count) % 3)


def step_of(network, **told):
    fabric, asked = Fabric(accelerator="cpu", devices=1), options(device="cpu", **told)
    loss = objective(asked.objective, label_counts=torch.ones(3, dtype=torch.int64))
    optimiser = build(network, asked.update)
    return Step(
        fabric=fabric,
        ranks=Ranks(fabric),
        forward=fabric.setup_module(network),
        loss=loss,
        optimiser=optimiser,
        options=asked,
    )


def weights_and_state(network, step):
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    return weights | {name: tensor.clone() for name, tensor in state_tensors(step.optimiser).items()}


@pytest.mark.parametrize("first", [True, False], ids=["the first step", "a later step"])
@pytest.mark.parametrize("value", [NAN, INFINITE])
@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam", "adamw", "muon"])
def test_no_optimiser_moves_weights_or_state_in_a_bad_step_nor_in_good_ones_after_it(optimiser, value, first):
    network = small()
    step = step_of(network, optimiser=optimiser, lr=0.01, clip=1.0)
    for number in range(0 if first else 3):
        step(batch(), number, 0.01)
    before = weights_and_state(network, step)
    step(batch(value), 3, 0.01)
    assert step.guard.seen() == 3
    for number in (4, 5):
        step(batch(), number, 0.01)
    after = weights_and_state(network, step)
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam", "adamw", "muon"])
def test_good_steps_move_everything_and_raise_nothing(optimiser):
    network = small()
    step = step_of(network, optimiser=optimiser, lr=0.01)
    step(batch(), 0, 0.01)
    before = weights_and_state(network, step)
    step(batch(), 1, 0.01)
    after = weights_and_state(network, step)
    assert step.guard.seen(now=True) is None
    matrices = [name for name, weight in before.items() if weight.dim() > 1]  # a bias before batch norm has no gradient
    assert len(matrices) >= 6
    assert [name for name in matrices if torch.equal(before[name], after[name])] == []


def test_one_bad_part_of_an_accumulated_batch_spoils_the_step():
    network = small()
    step = step_of(network, accumulate=3, batch_size=6)
    before = weights_and_state(network, step)
    step(batch(NAN), 0, 0.01)
    assert step.guard.seen() == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_and_state(network, step).items())


# Where it came from.


def said(network, spoilt_batch, loss=None, names=None):
    forward = nn.Module()
    forward.add_module("network", network)
    forward.forward = network.forward
    plain = objective(options().objective, label_counts=torch.ones(3, dtype=torch.int64))
    named = names or [f"photo{n}.jpg" for n in range(len(spoilt_batch.labels))]
    return diagnosed(forward.train(), spoilt_batch, loss or plain, named)


def test_pixels_come_first_and_their_files_are_named():
    network = small()
    network[0].weight.data.fill_(NAN)
    assert said(network, batch(NAN)) == "the pixels of photo2.jpg are not finite"


def test_of_many_files_ten_are_named_and_the_rest_counted():
    spoilt = batch(count=14)
    spoilt.images[:, 0, 0, 0] = INFINITE
    told = said(small(), spoilt)
    assert told.startswith("the pixels of photo0.jpg, photo1.jpg, ")
    assert told.endswith("photo9.jpg and 4 more are not finite")


def test_the_first_layer_that_gives_no_numbers_is_named():
    network = small()
    network[3].bias.data[0] = INFINITE
    assert said(network, batch()) == "layer 3 gave NaN or infinity"


def test_where_a_layer_fails_for_some_images_these_are_named():
    network = small()
    told = batch()
    told.images[4] *= 1e38
    network[0].weight.data.mul_(1e10)
    network[1].eval()  # statistics over the batch would spread it to all of them
    network.train = lambda *_: network
    assert said(network, told) == "layer 0 gave NaN or infinity, for photo4.jpg"


def test_a_loss_that_is_none_of_logits_that_are_numbers_is_said():
    told = said(small(), batch(), loss=lambda logits, _: logits.sum() * NAN)
    assert told == "the loss is nan, of logits that are finite"


def test_a_gradient_that_is_none_names_the_layer_it_appeared_before():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_, maps):
            return maps.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient / 0.0

    class Breaking(nn.Module):
        def forward(self, maps):
            return Broken.apply(maps)

    network = small()
    network.insert(3, Breaking())
    told = said(network, batch())
    assert told == "the gradient of 1.bias is not finite, that of the layers behind it is"


def test_a_norm_that_overflows_is_told_from_a_step_that_is_finite_now():
    def steep(logits, _):
        return logits.sum() * 1e36

    assert said(small(), batch(), loss=steep) == "the gradient's norm overflows"
    assert said(small(), batch()).startswith("the same step, done again, is finite here")


def test_diagnosing_leaves_no_gradients_and_no_hooks():
    network = small()
    before = copy.deepcopy({name: weight.detach() for name, weight in network.named_parameters()})
    said(network, batch())
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[name], weight) for name, weight in network.named_parameters())
