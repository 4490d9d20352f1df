"""What the lectures say, number by number: one assertion each. Grown by every room that follows.

L0: a lecture on convolutional networks for image recognition; L1: on early architectures; L2: a study group after the
book Dive into Deep Learning; L3: slides on key ideas and architectures.
"""

import torch

from fovea.architectures.catalogue import build
from fovea.commands.shape import layer_of
from fovea.cost.arithmetic import Maps
from fovea.cost.chain import chain, formula
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.cost.inverse import inverse
from fovea.layers import convolution as mode
from fovea.layers.locally_connected import LocallyConnected2d


def shapes(name, image_size):
    with torch.device("meta"):
        network = build(name, image_size=image_size)
    return stage_shapes(network, in_channels=1, image_size=image_size)


def cost(name, image_size):
    with torch.device("meta"):
        network = build(name, image_size=image_size)
    return parameters(network), multiply_adds(network, in_channels=1, image_size=image_size)


def convolved(size, kernel, *, padding=0, stride=1):
    image = torch.zeros(1, 1, size, size, device="meta")
    return torch.nn.Conv2d(1, 1, kernel, stride=stride, padding=padding, device="meta")(image).shape[-1]


# Output sizes (L0, L2)


def test_a_valid_convolution_gives_input_minus_kernel_plus_one():
    assert all(convolved(n, k) == n - k + 1 for n in (5, 28, 32) for k in (1, 3, 5))


def test_a_full_convolution_gives_input_plus_kernel_minus_one():
    assert all(convolved(n, k, padding=k - 1) == n + k - 1 for n in (5, 28, 32) for k in (1, 3, 5))


def test_a_same_convolution_keeps_the_size():
    assert all(convolved(n, k, padding=(k - 1) // 2) == n for n in (5, 28, 32) for k in (1, 3, 5))


def test_with_padding_and_stride_the_size_is_rounded_down():
    sizes = [(n, k, p, s) for n in (28, 32, 100) for k in (3, 5) for p in (0, 1, 2) for s in (1, 2, 3)]
    assert all(convolved(n, k, padding=p, stride=s) == (n + 2 * p - k) // s + 1 for n, k, p, s in sizes)


def test_the_exercise_of_100_pixels_gives_50():
    assert convolved(100, 3, padding=1, stride=2) == 50


# The slides' modified LeNet (L3)


def test_28_pixels_become_6_maps_of_24_and_12():
    found = shapes("lenet5", 28)
    assert found["conv1"] == (6, 24, 24)
    assert found["pool1"] == (6, 12, 12)


def test_32_pixels_become_6_maps_of_28_and_14():
    found = shapes("lenet5", 32)
    assert found["conv1"] == (6, 28, 28)
    assert found["pool1"] == (6, 14, 14)


def test_the_first_convolution_has_156_parameters():
    assert (5 * 5 * 1 + 1) * 6 == 156
    assert parameters(build("lenet5").features.conv1) == 156


def test_the_modified_lenet_costs_this_at_28_pixels():
    assert cost("lenet5", 28) == (44_426, 281_640)


def test_the_modified_lenet_costs_this_at_32_pixels():
    assert cost("lenet5", 32) == (61_706, 416_520)


def test_the_slides_eight_layers_count_the_input():
    # The slip: input, two convolutions, two poolings and three fully connected layers make eight.
    network = build("lenet5")
    kinds = (torch.nn.Conv2d, torch.nn.MaxPool2d, torch.nn.Linear)
    assert sum(isinstance(module, kinds) for module in network.modules()) == 8 - 1


# LeNet-5 of 1998 and the book's


def test_lenet5_of_1998_has_60000_parameters_at_32_pixels():
    assert cost("lenet5_1998", 32)[0] == 60_000
    assert shapes("lenet5_1998", 32)["c1"] == (6, 28, 28)


def test_the_books_lenet_pads_28_pixels_by_2_and_has_61706_parameters():
    network = build("lenet5_book")
    assert network.features.conv1[0].padding == (2, 2)
    assert cost("lenet5_book", 28)[0] == 61_706
    assert any(isinstance(module, torch.nn.Sigmoid) for module in network.modules())
    assert any(isinstance(module, torch.nn.AvgPool2d) for module in network.modules())


# The modes of convolution (L0)


def convolved_in(layer, size):
    return layer(torch.zeros(1, 1, size, size)).shape[-1]


def test_the_modes_give_the_sizes_of_the_lecture():
    assert convolved_in(mode.valid(1, 1, 5), 28) == 28 - 5 + 1
    assert convolved_in(mode.full(1, 1, 5), 28) == 28 + 5 - 1
    assert convolved_in(mode.same(1, 1, 5), 28) == 28
    assert convolved_in(mode.same(1, 1, 4, stride=3), 28) == 10  # 28 / 3, rounded up
    assert convolved_in(mode.strided(1, 1, 3, stride=2, padding=1), 100) == 50
    assert convolved_in(mode.dilated(1, 1, 3, dilation=2), 28) == 28 - 2 * (3 - 1)
    assert convolved_in(mode.pointwise(1, 1), 28) == 28


def test_groups_depth_and_points_divide_the_parameters_of_a_convolution():
    dense = parameters(mode.valid(32, 64, 3, bias=False))
    assert dense == 3 * 3 * 32 * 64
    assert parameters(mode.grouped(32, 64, 3, groups=4, bias=False)) == dense / 4
    assert parameters(mode.depthwise(32, 3, bias=False)) == 3 * 3 * 32
    assert parameters(mode.pointwise(32, 64, bias=False)) == 32 * 64
    separable = mode.separable(32, 64, 3)
    assert parameters(separable.depthwise) + separable.pointwise.weight.numel() == 3 * 3 * 32 + 32 * 64


def test_unshared_weights_are_as_many_as_outputs_times_kernel():
    with torch.device("meta"):
        local = LocallyConnected2d(3, 64, 11, image_size=227, stride=4, padding=2)
    assert local.weight.numel() == 200_704 * 11 * 11 * 3 == 72_855_552  # each is used once


# AlexNet (L0, L1, L2)


def alexnet_of(name, **sizes):
    with torch.device("meta"):
        return build(name, **sizes)


def cost_of_alexnet(name, image_size, in_channels=3):
    network = alexnet_of(name, image_size=image_size)
    return parameters(network), multiply_adds(network, in_channels=in_channels, image_size=image_size)


def worked_layer(size, *, padding):
    """The lecture's: 11x11 kernels at stride 4, 64 filters, three channels."""
    with torch.device("meta"):
        layer = mode.strided(3, 64, 11, stride=4, padding=padding)
        return layer, layer(torch.empty(1, 3, size, size))


def test_96_filters_of_11_by_11_and_3_channels_have_34848_weights():
    first = alexnet_of("alexnet").features.conv1[0]
    assert (first.weight.numel(), first.bias.numel()) == (34_848, 96)
    assert first.weight.shape == (96, 3, 11, 11)


def test_alexnet_has_8_layers():
    layers = [m for m in alexnet_of("alexnet").modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == 8


def test_conv3_and_the_dense_layers_see_both_towers():
    features = alexnet_of("alexnet").features
    assert [features.get_submodule(f"conv{n}")[0].groups for n in range(1, 6)] == [1, 2, 1, 2, 2]


def test_the_worked_layer_gives_56_by_56_by_64():
    layer, maps = worked_layer(227, padding=2)
    assert tuple(maps.shape[1:]) == (64, 56, 56)
    assert maps.numel() == 200_704
    assert maps.nbytes == 784 * 1024 == 802_816
    assert (layer.weight.numel(), layer.bias.numel(), parameters(layer)) == (23_232, 64, 23_296)


def test_the_worked_layer_costs_72855552_multiply_adds():
    layer, maps = worked_layer(227, padding=2)
    macs = multiply_adds(layer, in_channels=3, image_size=227)
    assert macs == 72_855_552
    assert macs + maps.numel() == 73_056_256  # with a bias for each output


def test_the_worked_layer_at_other_sizes_and_paddings():
    sides = [worked_layer(size, padding=padding)[1].shape[-1] for size, padding in ((227, 0), (224, 2), (224, 1))]
    assert sides == [55, 55, 54]


def test_the_64_channel_network_at_227_pixels():
    assert alexnet_of("alexnet_one_tower").features.conv1[0].padding == (2, 2)
    assert cost_of_alexnet("alexnet_one_tower", 227) == (61_100_840, 716_767_232)


def test_parameters_sit_in_the_dense_layers_and_arithmetic_in_the_convolutions():
    network = alexnet_of("alexnet_one_tower", image_size=227)
    whole = cost_of_alexnet("alexnet_one_tower", 227)
    convolutions = parameters(network.features), multiply_adds(network.features, in_channels=3, image_size=227)
    assert round(100 * convolutions[0] / whole[0], 1) == 4.0
    assert round(100 * convolutions[1] / whole[1], 1) == 91.8


def test_62_million_parameters_and_one_billion_computations_are_the_ungrouped_network():
    # The slip, if it is meant of the published network: that one has two towers.
    assert cost_of_alexnet("alexnet_ungrouped", 227) == (62_378_344, 1_135_256_096)


def test_two_towers_have_61_million_parameters_and_724_million_multiply_adds():
    assert cost_of_alexnet("alexnet", 227) == (60_965_224, 724_406_816)


def test_the_books_alexnet_on_one_channel_and_ten_classes():
    assert alexnet_of("alexnet_book").num_classes == 10
    assert cost_of_alexnet("alexnet_book", 224, in_channels=1) == (46_764_746, 938_146_176)


# VGG (L0, L2)


def test_two_3x3_convolutions_see_5x5_and_three_see_7x7():
    def seen(count):
        image = torch.ones(1, 1, 15, 15, requires_grad=True)
        maps = image
        for _ in range(count):
            maps = torch.nn.functional.conv2d(maps, torch.ones(1, 1, 3, 3))
        maps[0, 0, 0, 0].backward()
        return image.grad[0, 0].sum(0).count_nonzero().item()

    assert (seen(1), seen(2), seen(3)) == (3, 5, 7)


def test_three_3x3_have_45_per_cent_fewer_weights_than_one_7x7():
    channels = 64
    three = sum(torch.nn.Conv2d(channels, channels, 3, bias=False, device="meta").weight.numel() for _ in range(3))
    one = torch.nn.Conv2d(channels, channels, 7, bias=False, device="meta").weight.numel()
    assert (three, one) == (27 * channels**2, 49 * channels**2)
    assert round(100 * (1 - three / one)) == 45


def built(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def test_vgg16_has_138_million_parameters():
    assert parameters(built("vgg16")) == 138_357_544


def test_vgg16_has_16_layers_with_weights():
    weighted = (torch.nn.Conv2d, torch.nn.Linear)
    assert sum(isinstance(module, weighted) for module in built("vgg16").modules()) == 16


def test_vgg_has_the_variants_a_a_lrn_b_c_d_e():
    names = ("vgg11", "vgg11_lrn", "vgg13", "vgg16_c", "vgg16", "vgg19")
    million = [round(parameters(built(name)) / 1e6) for name in names]
    assert million == [133, 133, 133, 134, 138, 144]


def test_the_books_vgg11_has_128806154_parameters_for_one_channel_and_ten_classes():
    assert parameters(built("vgg11_book")) == 128_806_154
    assert parameters(built("vgg11", in_channels=1, num_classes=10)) == 128_806_154


def test_the_books_vgg11_with_channels_divided_by_4_costs_this():
    assert cost("vgg11_book_ratio_4", 224) == (43_093_322, 512_155_648)
    assert parameters(built("vgg11_book", ratio=4)) == 43_093_322


# DenseNet (L3)


def test_densenet_joins_each_layer_to_all_before():
    block = built("densenet121").features.dense_block1
    assert [layer.conv1.in_channels for layer in block] == [64 + 32 * n for n in range(6)]


# GoogLeNet and its modules (L0, L3)


def googlenet_on_meta():
    with torch.device("meta"):
        return build("googlenet")


def test_googlenet_has_nine_modules():
    assert sum(name.startswith("inception_") for name, _ in googlenet_on_meta().features.named_children()) == 9


def test_googlenet_has_no_hidden_fully_connected_layer_only_1024_to_1000_remains():
    linear = [module for module in googlenet_on_meta().modules() if isinstance(module, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(1024, 1000)]


def test_googlenet_averages_7_by_7_by_1024_to_1_by_1():
    found = stage_shapes(googlenet_on_meta(), in_channels=3, image_size=224)
    assert found["inception_5b"] == (1024, 7, 7)
    assert found["pool5"] == (1024, 1, 1)


def test_googlenet_has_8_7_times_fewer_parameters_than_alexnet():
    # The slip: "4 million, 12 times fewer than AlexNet". It has 6,998,552 against 60,965,224.
    counted = parameters(googlenet_on_meta())
    assert counted == 6_998_552
    assert round(60_965_224 / counted, 1) == 8.7
    assert round(60_965_224 / counted) != 12
    assert round(counted / 1e6) != 4


def test_module_3a_has_387296_weights_and_biases_without_reductions_and_163696_with_them():
    from fovea.layers.inception import Filters, InceptionModule, NaiveInceptionModule

    assert parameters(NaiveInceptionModule(192, one=64, three=128, five=32)) == 387_296
    assert parameters(InceptionModule(192, Filters(64, 96, 128, 16, 32, 32))) == 163_696
    assert parameters(googlenet_on_meta().features.inception_3a) == 163_696


# ResNet and after (L0, L3)


def residual_on_meta(name, **sizes):
    with torch.device("meta"):
        return build(name, **sizes)


def layers_of_residual(network):
    """Convolutions and linear layers on the longest path: projections of shortcuts lie beside it."""
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    return sum(isinstance(m, kinds) for name, m in network.named_modules() if "shortcut" not in name.split("."))


def test_224_pixels_become_112_and_56_after_the_first_convolution_and_pooling():
    found = stage_shapes(residual_on_meta("resnet50"), in_channels=3, image_size=224)
    assert found["conv1"] == (64, 112, 112)
    assert found["pool1"] == (64, 56, 56)


def test_residual_networks_have_18_to_152_layers():
    counted = {depth: layers_of_residual(residual_on_meta(f"resnet{depth}")) for depth in (18, 34, 50, 101, 152)}
    assert all(depth == layers for depth, layers in counted.items())


def test_152_layers_have_a_top_5_error_of_3_6_per_cent():
    from fovea.architectures.catalogue import facts

    assert [error.top5 for error in facts("resnet152").errors if "ensemble" in error.protocol] == [3.57]


def test_plain_networks_have_as_many_layers_and_no_shortcuts():
    for depth in (18, 34):
        plain, residual = residual_on_meta(f"plain{depth}"), residual_on_meta(f"resnet{depth}", shortcut="A")
        assert layers_of_residual(plain) == layers_of_residual(residual) == depth
        assert parameters(plain) == parameters(residual)
        assert not any("shortcut" in name for name, _ in plain.named_modules())


def test_1202_layers_do_worse_than_110():
    from fovea.architectures.catalogue import facts

    assert layers_of_residual(residual_on_meta("cifar_resnet1202")) == 1202
    assert layers_of_residual(residual_on_meta("cifar_resnet110")) == 110
    assert [facts(f"cifar_resnet{depth}").errors[0].top1 for depth in (1202, 110)] == [7.93, 6.43]


def test_version_2_has_1001_layers_and_no_nonlinearity_on_the_path_of_identities():
    from fovea.layers.pre_activation import PreActivation

    network = residual_on_meta("cifar_preact_resnet1001")
    assert layers_of_residual(network) == 1001
    blocks = [module for module in network.modules() if isinstance(module, PreActivation)]
    kinds = {type(block.shortcut) for block in blocks if not block.shared}
    assert len(blocks) == 333
    assert kinds == {torch.nn.Identity}
    assert all(isinstance(block.shortcut, torch.nn.Conv2d) for block in blocks if block.shared)


def test_senet_brings_global_context():
    from fovea.layers.squeeze_excitation import SqueezeExcitation

    torch.manual_seed(0)
    layer = SqueezeExcitation(4, 2)
    maps = torch.zeros(1, 4, 8, 8, requires_grad=True)
    layer(maps + 1)[0, 0, 0, 0].backward()
    assert (maps.grad != 0).flatten(2).any(dim=1).all()  # one output pixel sees every pixel


# The arithmetic alone, as `fovea shape` says it: the same numbers, from nothing but sizes (L0, L2, L3)


def in_words(words, size, in_channels=3):
    """The lecture's layers one after another, as `fovea shape --size SIZE WORDS` works them out."""
    return chain([(word, layer_of(word)) for word in words.split()], Maps(in_channels, size, size))


def costs_in_words(words, size, in_channels=3):
    found = in_words(words, size, in_channels)
    return found.parameters, found.macs


def sizes_in_words(words, size, in_channels=3):
    return [link.worked.after.height for link in in_words(words, size, in_channels).links]


LENET = "conv5-6 pool2 conv5-16 pool2 fc120 fc84 fc10"
ALEXNET = (
    "conv11s4{first} pool3s2 conv5p2{groups}-{second} pool3s2 conv3p1-384 conv3p1{groups}-{fourth} conv3p1{groups}-256 "
    "pool3s2 fc4096 fc4096 fc{classes}"
)
ONE_TOWER = ALEXNET.format(first="p2-64", second=192, fourth=256, groups="", classes=1000)
UNGROUPED = ALEXNET.format(first="-96", second=256, fourth=384, groups="", classes=1000)
TWO_TOWERS = ALEXNET.format(first="-96", second=256, fourth=384, groups="g2", classes=1000)
THE_BOOKS = ALEXNET.format(first="p1-96", second=256, fourth=384, groups="", classes=10)


def vgg(*depths, classes=1000, ratio=1):
    widths = [width // ratio for width in (64, 128, 256, 512, 512)]
    stages = [f"conv3p1-{width} " * depth + "pool2" for width, depth in zip(widths, depths, strict=True)]
    return " ".join([*stages, f"fc4096 fc4096 fc{classes}"])


def test_the_formulas_of_valid_full_and_same_print_as_the_lecture_has_them():
    assert sizes_in_words("conv5-6", 28) == [28 - 5 + 1]
    assert sizes_in_words("conv5full-6", 28) == [28 + 5 - 1]
    assert sizes_in_words("conv5same-6", 28) == [28]
    assert formula(in_words("conv5-6", 28).links[0].worked.extents[0]) == "28 − 5 + 1 = 24"


def test_the_exercise_of_100_pixels_is_rounded_down_from_50_5():
    (axis, _) = in_words("conv3s2p1-6", 100).links[0].worked.extents
    assert formula(axis) == "floor((100 + 2·1 − 3) / 2) + 1 = floor(99 / 2) + 1 = 49 + 1 = 50"
    assert (axis.left, axis.lost) == (1, 0)  # the one pixel left over is padding


def test_the_slides_lenet_in_words():
    assert sizes_in_words(LENET, 28, 1)[:4] == [24, 12, 8, 4]
    assert sizes_in_words(LENET, 32, 1)[:4] == [28, 14, 10, 5]
    first = in_words(LENET, 28, 1).links[0].worked
    assert (first.after.channels, first.parameters) == (6, (5 * 5 * 1 + 1) * 6)
    assert costs_in_words(LENET, 28, 1) == (44_426, 281_640)
    assert costs_in_words(LENET, 32, 1) == (61_706, 416_520)


def test_the_books_lenet_in_words():
    book = "conv5p2-6 avgpool2 conv5-16 avgpool2 fc120 fc84 fc10"
    assert sizes_in_words(book, 28, 1)[:4] == [28, 14, 10, 5]
    assert costs_in_words(book, 28, 1)[0] == 61_706


def test_96_filters_in_words_have_34848_weights_and_96_biases():
    first = in_words("conv11s4-96", 227).links[0].worked
    assert (first.weights, first.biases) == (34_848, 96)


def test_the_worked_layer_prints_every_number_of_the_lecture():
    said = str(in_words("conv11s4p2-64", 227).links[0].worked)
    for number in ("56×56×64", "200,704 elements", "4 bytes", "784 KiB", "802.8 kB", "23,232 + 64", "23,296"):
        assert number in said
    assert "72,855,552" in said
    assert "73,056,256 with the addition of a bias" in said


def test_which_size_and_padding_alexnet_has():
    found = inverse(55, 11, stride=4).solutions
    assert (227, 0, 0, "exactly", 0) in found
    assert (224, 2, 2, "down", 1) in found
    assert sizes_in_words("conv11s4-96", 224) == sizes_in_words("conv11s4p1-96", 224) == [54]


def test_the_table_of_layers_in_words():
    found = in_words(ONE_TOWER, 227)
    assert sizes_in_words(ONE_TOWER, 227)[:8] == [56, 27, 27, 13, 13, 13, 13, 6]
    assert (found.parameters, found.macs) == (61_100_840, 716_767_232)
    *_, convolutions, dense = str(found).splitlines()
    assert convolutions.split() == ["convolutions", "2,469,696", "4.0", "%", "658,145,280", "91.8", "%"]
    assert dense.split()[2:] == ["58,631,144", "96.0", "%", "58,621,952", "8.2", "%"]


def test_the_other_alexnets_in_words():
    assert costs_in_words(UNGROUPED, 227) == (62_378_344, 1_135_256_096)
    assert costs_in_words(TWO_TOWERS, 227) == (60_965_224, 724_406_816)
    assert costs_in_words(THE_BOOKS, 224, 1) == (46_764_746, 938_146_176)


def test_small_kernels_in_words_see_as_much_as_large_ones_with_fewer_weights():
    channels = 64
    two, three, one = (in_words(words, 32, channels) for words in ("conv3-64 " * 2, "conv3-64 " * 3, "conv7-64"))
    assert [found.links[-1].field[0].size for found in (two, three, one)] == [5, 7, 7]
    assert (three.weights, one.weights) == (27 * channels**2, 49 * channels**2)


def test_vgg_in_words():
    assert costs_in_words(vgg(2, 2, 3, 3, 3), 224)[0] == 138_357_544
    assert costs_in_words(vgg(1, 1, 2, 2, 2, classes=10), 224, 1)[0] == 128_806_154
    assert costs_in_words(vgg(1, 1, 2, 2, 2, classes=10, ratio=4), 224, 1) == (43_093_322, 512_155_648)


def test_module_3a_in_words_with_and_without_reductions():
    naive = ("conv1-64", "conv3p1-128", "conv5p2-32")
    reduced = ("conv1-64", "conv1-96 conv3p1-128", "conv1-16 conv5p2-32", "pool3s1p1 conv1-32")
    assert sum(costs_in_words(branch, 28, 192)[0] for branch in naive) == 387_296
    assert sum(costs_in_words(branch, 28, 192)[0] for branch in reduced) == 163_696


def test_the_global_average_in_words_leaves_1_by_1_by_1024():
    assert str(in_words("gap", 7, 1024).links[0].worked.after) == "1×1×1024"


def test_the_first_layers_of_resnet_in_words():
    assert sizes_in_words("conv7s2p3-64 pool3s2p1", 224) == [112, 56]
