"""The Inception modules and auxiliary classifiers, each against an independent computation."""

import pytest
import torch
from torch.nn import functional as F

from fovea.cost.count import parameters
from fovea.errors import ShapeError, UsageError
from fovea.layers.auxiliary import AuxiliaryClassifier, NormalisedAuxiliaryClassifier
from fovea.layers.branches import Branches
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.inception import Filters, InceptionModule, NaiveInceptionModule
from fovea.layers.inception_bn import HalvingMaxPool, NormalisedInceptionModule, Row
from fovea.layers.inception_factorised import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE
from fovea.layers.initialisation import gaussian, initialise

FILTERS_3A = Filters(64, 96, 128, 16, 32, 32)
SMALL = Filters(2, 3, 4, 2, 3, 5)


def maps(channels, side=7, count=2):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def drawn(module):
    """With weights that differ, and statistics as after some training."""
    torch.manual_seed(0)
    initialise(module, gaussian(0.3, bias=0.1))
    for name, tensor in module.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return module.eval()


def normalised(unit, images, **where):
    """A ConvNorm by hand."""
    conv = F.conv2d(images, unit.conv.weight, **where)
    norm = unit.norm
    mean, variance, scale, shift = (
        t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return ((conv - mean) / (variance + norm.eps).sqrt() * scale + shift).relu()


def test_branches_are_joined_in_their_order():
    joined = Branches({"b": torch.nn.Identity(), "a": torch.nn.ReLU()})
    images = maps(3)
    assert torch.equal(joined(images), torch.cat([images, images.relu()], dim=1))
    with pytest.raises(ShapeError, match="one or more"):
        Branches({})


def test_a_unit_is_convolution_normalisation_and_relu():
    unit = drawn(ConvNorm(4, 6, (1, 3), stride=2, groups=2, eps=1e-3))
    images = maps(4)
    assert unit.conv.bias is None
    assert torch.allclose(unit(images), normalised(unit, images, stride=2, padding=(0, 1), groups=2), atol=1e-6)


def test_a_unit_without_activation_is_linear():
    assert (drawn(ConvNorm(4, 6, 1, activation=None))(maps(4)) < 0).any()


@pytest.mark.parametrize(("sizes", "sentence"), [((3, 4), r"in_channels \(=3\)"), ((4, 3), r"out_channels \(=3\)")])
def test_channels_that_groups_do_not_divide_are_refused(sizes, sentence):
    with pytest.raises(ShapeError, match=rf"{sentence} must be divisible by groups \(=2\)"):
        ConvNorm(*sizes, 1, groups=2)


def test_the_module_is_four_branches_with_reductions():
    module = drawn(InceptionModule(6, SMALL))
    images = maps(6)

    def conv(layer, x, padding=0):
        return F.conv2d(x, layer[0].weight, layer[0].bias, padding=padding).relu()

    expected = [
        conv(module.one, images),
        conv(module.three[1], conv(module.three[0], images), 1),
        conv(module.five[1], conv(module.five[0], images), 2),
        conv(module.pool[1], F.max_pool2d(images, 3, 1, 1)),
    ]
    assert torch.allclose(module(images), torch.cat(expected, dim=1), atol=1e-5)
    assert module(images).shape[1] == SMALL.out_channels == 14
    assert module.five[1][0].weight.shape[-2:] == (5, 5)


def test_module_3a_without_reductions_has_387296_weights_and_biases_and_with_them_163696():
    assert parameters(NaiveInceptionModule(192, one=64, three=128, five=32)) == 387_296
    assert parameters(InceptionModule(192, FILTERS_3A)) == 163_696


def test_the_naive_module_passes_the_pooled_input_whole():
    module = drawn(NaiveInceptionModule(6, one=2, three=3, five=4))
    images = maps(6)
    outputs = module(images)
    assert outputs.shape[1] == 2 + 3 + 4 + 6
    assert torch.equal(outputs[:, -6:], F.max_pool2d(images, 3, 1, 1))


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((0, SMALL), {}, r"in_channels \(=0\)"),
        ((6, SMALL._replace(five=0)), {}, "every number of filters must be 1 or more"),
        ((6, SMALL), {"large_kernel": 4}, r"large_kernel \(=4\) must be odd"),
    ],
)
def test_an_impossible_module_is_refused(arguments, options, sentence):
    with pytest.raises(ShapeError, match=sentence):
        InceptionModule(*arguments, **options)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_the_normalised_module_has_two_3x3_for_the_5x5(pool):
    module = drawn(NormalisedInceptionModule(6, Row(2, 3, 4, 2, 5, pool, 3)))
    images = maps(6)
    pooled = F.avg_pool2d(images, 3, 1, 1) if pool == "avg" else F.max_pool2d(images, 3, 1, 1)
    three, double = module.three, module.three_three
    halfway = normalised(double[1], normalised(double[0], images), padding=1)
    expected = [
        normalised(module.one, images),
        normalised(three[1], normalised(three[0], images), padding=1),
        normalised(double[2], halfway, padding=1),
        normalised(module.pool[1], pooled),
    ]
    assert torch.allclose(module(images), torch.cat(expected, dim=1), atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 7, 8])
def test_the_normalised_module_halves_even_and_odd_maps(side):
    row = Row(0, 3, 4, 2, 5, "max", 0, stride=2)
    outputs = drawn(NormalisedInceptionModule(6, row))(maps(6, side))
    assert outputs.shape[1:] == (row.out_channels(6), (side + 1) // 2, (side + 1) // 2)


def test_halving_takes_even_sides_from_the_first_pixel():
    row = torch.tensor([[[[5.0, 1, 1, 2, 9, 3]]]])
    assert HalvingMaxPool()(row.expand(1, 1, 6, 6)).tolist()[0][0][0] == [5, 9, 9]
    assert HalvingMaxPool()(row[..., :5].expand(1, 1, 5, 5)).tolist()[0][0][0] == [5, 2, 9]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Row(2, 0, 4, 2, 5, "avg", 3), "3×3 branches need 1 filter or more"),
        (Row(2, 3, 4, 2, 5, "avg", 3, stride=3), r"stride \(=3\)"),
        (Row(2, 3, 4, 2, 5, "max", 3, stride=2), "no 1×1 branch"),
        (Row(0, 3, 4, 2, 5, "avg", 0, stride=2), "the pooling is the maximum"),
    ],
)
def test_an_impossible_row_is_refused(row, sentence):
    with pytest.raises(ShapeError, match=sentence):
        NormalisedInceptionModule(6, row)


@pytest.mark.parametrize(
    ("module", "side", "expected"),
    [
        (InceptionA(6, 5), 9, (64 + 64 + 96 + 5, 9)),
        (InceptionB(6), 9, (384 + 96 + 6, 4)),
        (InceptionC(6, 4), 9, (768, 9)),
        (InceptionD(6), 9, (320 + 192 + 6, 4)),
        (InceptionE(6), 3, (2048, 3)),
    ],
)
def test_the_factorised_modules_give_what_they_declare(module, side, expected):
    outputs = module.eval()(maps(6, side, 1))
    assert outputs.shape == (1, *expected[:1], expected[1], expected[1])
    assert module.out_channels == expected[0]
    with pytest.raises(ShapeError, match=r"in_channels \(=0\)"):
        type(module)(*([0, 4] if isinstance(module, InceptionA | InceptionC) else [0]))


def test_a_factorised_7x7_is_a_7x7_of_rank_one():
    module = drawn(InceptionC(2, 1))
    row, column = module.seven[1], module.seven[2]
    whole = column.conv.weight[:, 0, :, 0][:, None, :, None] * row.conv.weight[0, 0, 0][None, None, None, :]
    image = maps(1, 9, 1)
    once = F.conv2d(F.conv2d(image, row.conv.weight, padding=(0, 3)), column.conv.weight, padding=(3, 0))
    assert torch.allclose(once, F.conv2d(image, whole, padding=3), atol=1e-4)
    assert (row.conv.weight.shape[-2:], column.conv.weight.shape[-2:]) == ((1, 7), (7, 1))


def test_the_auxiliary_classifiers_have_the_published_parameters():
    assert sum(parameters(AuxiliaryClassifier(channels, 1000)) for channels in (512, 528)) == 6_379_728
    assert parameters(NormalisedAuxiliaryClassifier(768, 1000)) == 27_161_264 - 23_834_568


def test_the_auxiliary_classifier_is_pooling_convolution_and_two_layers():
    head = drawn(AuxiliaryClassifier(4, 3, side=8))
    images = maps(4, 8)
    pooled = F.avg_pool2d(images, 5, 3)
    conv = F.conv2d(pooled, head.conv[0].weight, head.conv[0].bias).relu().flatten(1)
    hidden = F.linear(conv, head.hidden.weight, head.hidden.bias).relu()
    assert torch.allclose(head(images), F.linear(hidden, head.output.weight, head.output.bias), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("side", "kernel"), [(17, 5), (11, 3), (5, 1), (26, 5)])
def test_the_normalised_auxiliary_classifier_convolves_over_what_is_left(side, kernel):
    head = NormalisedAuxiliaryClassifier(4, 3, side=side).eval()
    assert head.conv.conv.weight.shape[-1] == kernel
    assert head(maps(4, side)).shape == (2, 3)


def test_an_impossible_auxiliary_classifier_is_refused():
    with pytest.raises(ShapeError, match="4×4 are too small for an auxiliary classifier; 5 is least"):
        AuxiliaryClassifier(4, 3, side=4)
    with pytest.raises(UsageError, match=r"dropout \(=1.0\)"):
        AuxiliaryClassifier(4, 3, dropout=1.0)
