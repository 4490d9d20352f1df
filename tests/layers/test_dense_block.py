"""Dense layers, dense blocks and transitions, against torch's functions."""

import pytest
import torch
from torch.nn import functional as F

from fovea.errors import ShapeError, UsageError
from fovea.layers.dense_block import DenseBlock, DenseLayer
from fovea.layers.transition import Transition


def maps(channels, size=6):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def rectified(tensor):
    """Batch normalisation by the batch's own statistics, without scale or shift, and a ReLU."""
    mean = tensor.mean((0, 2, 3), keepdim=True)
    variance = tensor.var((0, 2, 3), keepdim=True, unbiased=False)
    return F.relu((tensor - mean) / (variance + 1e-5).sqrt())


def test_a_plain_layer_normalises_rectifies_and_convolves():
    layer, images = DenseLayer(5, 3), maps(5)
    assert torch.allclose(layer(images), F.conv2d(rectified(images), layer.conv1.weight, padding=1), atol=1e-5)
    assert [name for name, _ in layer.named_parameters()] == ["norm1.weight", "norm1.bias", "conv1.weight"]


def test_a_bottleneck_narrows_to_a_multiple_of_the_growth_rate_first():
    layer, images = DenseLayer(20, 3, bottleneck=4), maps(20)
    narrow = F.conv2d(rectified(images), layer.conv1.weight)
    assert narrow.shape[1] == 4 * 3
    assert torch.allclose(layer(images), F.conv2d(rectified(narrow), layer.conv2.weight, padding=1), atol=1e-5)


def test_each_layer_of_a_block_sees_all_maps_before_it():
    block, images = DenseBlock(4, 3, growth_rate=2), maps(4)
    seen = [images]
    for layer in block:
        seen.append(layer(torch.cat(seen, dim=1)))
    assert torch.allclose(block(images), torch.cat(seen, dim=1), atol=1e-6)
    assert torch.equal(block(images)[:, :4], images)
    assert block.out_channels == block(images).shape[1] == 4 + 3 * 2


def test_a_transition_narrows_rounded_down_and_halves():
    transition, images = Transition(7, compression=0.5), maps(7)
    expected = F.avg_pool2d(F.conv2d(rectified(images), transition.conv.weight), 2)
    assert torch.allclose(transition(images), expected, atol=1e-5)
    assert transition.out_channels == expected.shape[1] == 3


def test_a_transition_without_compression_keeps_the_channels():
    assert Transition(7, compression=1.0).out_channels == 7


def test_dropout_stands_behind_every_convolution_and_only_in_training():
    block = DenseBlock(4, 2, growth_rate=2, bottleneck=4, dropout=0.2)
    transition = Transition(4, dropout=0.2)
    for part, convolutions in ((block, 4), (transition, 1)):
        kinds = [type(module) for module in part.modules()]
        assert kinds.count(torch.nn.Conv2d) == kinds.count(torch.nn.Dropout) == convolutions
        after = kinds[kinds.index(torch.nn.Conv2d) + 1]
        assert after is torch.nn.Dropout
    images = maps(4)
    assert not torch.equal(block(images), block(images))
    assert torch.equal(block.eval()(images), block(images))
    assert not any(isinstance(m, torch.nn.Dropout) for m in DenseBlock(4, 2, growth_rate=2).modules())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"layers": 0}, r"layers \(=0\)"),
        ({"growth_rate": 0}, r"growth_rate \(=0\)"),
        ({"bottleneck": 0}, r"bottleneck \(=0\)"),
    ],
)
def test_an_impossible_block_is_refused(wrong, sentence):
    with pytest.raises(ShapeError, match=sentence):
        DenseBlock(4, **({"layers": 2, "growth_rate": 2} | wrong))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_an_impossible_dropout_is_refused(dropout):
    with pytest.raises(UsageError, match=r"dropout \(="):
        DenseLayer(4, 2, dropout=dropout)
    with pytest.raises(UsageError, match=r"dropout \(="):
        Transition(4, dropout=dropout)


@pytest.mark.parametrize("compression", [0.0, -1.0, 1.5, 0.1])
def test_a_compression_that_leaves_nothing_or_widens_is_refused(compression):
    with pytest.raises(UsageError, match=r"compression \(="):
        Transition(4, compression=compression)
