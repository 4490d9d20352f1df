"""What the lectures say, number by number: one assertion each. Grown by every room that follows.

L0: a lecture on convolutional networks for image recognition; L1: on early architectures; L2: a study group after the
book Dive into Deep Learning; L3: slides on key ideas and architectures.
"""

import torch

from fovea.architectures.catalogue import build
from fovea.cost.count import multiply_adds, parameters, stage_shapes


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
