"""Guided backpropagation and the deconvnet: cases by hand, and who is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.errors import ModelError
from fovea.explain.options import ExplainOptions
from fovea.explain.question import Question
from fovea.explain.rules import deconvnet, guided_backpropagation
from fovea.explain.untouched import untouched

TARGETS = torch.tensor([0, 3, 1])


def asked(method, network, images, aim=TARGETS):
    with untouched(network):
        return method(Question(network=network, images=images, aim=aim, options=ExplainOptions(batch_size=2)))


class ByHand(nn.Module):
    """A 1×1 convolution (times 2), ReLU, 2×2 pooling, ReLU, then a weighted sum of the four maxima."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, images):
        maps = F.max_pool2d(F.relu(2 * images), 2)
        return (F.relu(maps).flatten(1) * self.weights).sum(1, keepdim=True)


IMAGE = torch.tensor(
    [
        [1.0, 2.0, 0.0, 1.0],
        [4.0, 3.0, 5.0, 0.0],
        [-1.0, -2.0, 1.0, 2.0],
        [-3.0, -4.0, 8.0, 4.0],
    ]
)[None, None]


def test_a_deconvnet_by_hand_puts_what_is_positive_where_the_maxima_were():
    """Maxima 8, 10, 0 (of ReLU's zeros) and 16 stand at (1, 0), (1, 2), (2, 0) and (3, 2).

    The signal 1, -1, 3, 2 of the sum passes the second ReLU where it is positive: 1, 0, 3, 2. The switches put it at
    those places, the first ReLU changes nothing, and the convolution transposed doubles it.
    """
    found = asked(deconvnet, ByHand([1.0, -1.0, 3.0, 2.0]), IMAGE, aim=torch.tensor([0]))
    expected = torch.zeros(4, 4)
    expected[1, 0], expected[2, 0], expected[3, 2] = 2, 6, 4
    torch.testing.assert_close(found.detail[0, 0], expected)


def test_guided_backpropagation_by_hand_also_wants_the_image_to_have_passed():
    found = asked(guided_backpropagation, ByHand([1.0, -1.0, 3.0, 2.0]), IMAGE, aim=torch.tensor([0]))
    expected = torch.zeros(4, 4)
    expected[1, 0], expected[3, 2] = 2, 4  # (2, 0) was negative
    torch.testing.assert_close(found.detail[0, 0], expected)


@pytest.mark.parametrize("method", [guided_backpropagation, deconvnet])
def test_modules_reused_and_functions_in_place_give_the_same(small, functional, images, method):
    torch.testing.assert_close(asked(method, small, images).detail, asked(method, functional, images).detail)


def test_they_are_captum_s_where_there_is_no_reuse(images):
    attr = pytest.importorskip("captum.attr", reason="captum is a peer; make peers installs it")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU())
    network = nn.Sequential(*network, nn.Flatten(), nn.Linear(36, 4)).eval()
    for ours, theirs in ((guided_backpropagation, attr.GuidedBackprop), (deconvnet, attr.Deconvolution)):
        with pytest.warns(UserWarning, match="Setting backward hooks"):
            expected = theirs(network).attribute(images.clone().requires_grad_(), target=TARGETS)
        torch.testing.assert_close(asked(ours, network, images).detail, expected.detach())


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardtanh(0, 6, inplace=True), nn.ReLU6(inplace=True)])
def test_relu6_lets_nothing_back_above_six(activation):
    network = nn.Sequential(nn.Flatten(), activation, nn.Linear(3, 1, bias=False))
    nn.init.ones_(network[2].weight)
    images = torch.tensor([-1.0, 3.0, 7.0]).view(1, 1, 1, 3)
    found = asked(guided_backpropagation, network, images, aim=torch.tensor([0]))
    assert found.detail.flatten().tolist() == [0, 1, 0]


def test_without_switches_a_deconvnet_is_refused_and_told_what_would_do():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(100, 4))
    images = torch.randn(3, 3, 12, 12)
    with pytest.raises(ModelError, match=r"has no max pooling, so a deconvnet has no switches.*guided_backpropagation"):
        asked(deconvnet, network, images)
    assert asked(guided_backpropagation, network, images).maps.any()


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        (nn.SiLU(), "has a rule for ReLU alone, and Sequential runs silu too; take saliency"),
        (nn.Tanh(), "runs tanh too"),
        (nn.Hardtanh(), "runs hardtanh too"),
        (nn.LeakyReLU(), "runs leaky_relu too"),
        (nn.Identity(), "is a rule for ReLU, and Sequential runs none"),
    ],
)
def test_another_activation_is_refused(activation, words):
    network = nn.Sequential(nn.Flatten(), activation, nn.Linear(12, 4))
    with pytest.raises(ModelError, match=words):
        asked(guided_backpropagation, network, torch.randn(3, 3, 2, 2))
