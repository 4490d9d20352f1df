"""The outline of a network: stages, branches, shortcuts, gates and cells, as the papers draw them."""

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.cost.outline import outline


def stages(name):
    with torch.device("meta"):
        network = build(name)
    told = network.architecture
    size = (told.image_size, told.image_size)
    return {stage.name: stage for stage in outline(network, in_channels=told.in_channels, image_size=size)}


def words(block):
    return [[box.text for box in lane] for lane in block.lanes]


def test_lenet_is_a_chain_of_stages_with_the_papers_names():
    found = stages("lenet5_1998")
    assert list(found) == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert [words(stage.blocks[0]) for stage in found.values()][:3] == [[["5×5, 6"]], [["mean 2×2 /2"]], [["5×5, 16"]]]
    assert found["c3"].shape == (16, 10, 10)


def test_alexnets_towers_are_split_where_their_convolutions_are():
    found = stages("alexnet")
    towers = {name: stage.blocks[0].lanes[0][0].towers for name, stage in found.items() if name.startswith("conv")}
    assert towers == {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2}
    assert found["conv2"].blocks[0].lanes[0][0].text == "5×5, 128"


def test_an_inception_module_has_its_four_branches():
    (block,) = stages("googlenet")["inception_3a"].blocks
    assert block.join == "concat"
    assert words(block) == [["1×1, 64"], ["1×1, 96", "3×3, 128"], ["1×1, 16", "5×5, 32"], ["max 3×3", "1×1, 32"]]


def test_a_residual_stage_has_a_projection_once_and_then_identities():
    first, others = stages("resnet50")["conv3_x"].blocks
    assert words(first) == [["1×1 /2, 128", "3×3, 128", "1×1, 512"], ["1×1 /2, 512"]]
    assert words(others) == [[], ["1×1, 128", "3×3, 128", "1×1, 512"]]
    assert (first.join, others.join, others.repeat) == ("add", "add", 3)


def test_dense_blocks_repeat_their_layer():
    (block,) = stages("densenet121")["dense_block3"].blocks
    assert (block.join, block.repeat, words(block)) == ("concat", 24, [[], ["1×1, 128", "3×3, 32"]])


def test_squeeze_and_excitation_is_one_box():
    first, others = stages("efficientnet_b0")["stage5"].blocks
    assert words(first) == [["1×1, 240", "depthwise 3×3 /2", "squeeze-excitation", "1×1, 80"]]
    assert words(others)[1] == ["1×1, 480", "depthwise 3×3", "squeeze-excitation", "1×1, 80"]


def test_a_searched_cell_shows_its_pairs_and_equal_cells_are_drawn_once():
    found = stages("nasnet_a_mobile")
    assert "normal1 … normal3" in found
    cell = found["normal1 … normal3"].blocks[-1]
    assert cell.join == "concat"
    assert sorted(text for lane in words(cell) for text in lane) == [
        "mean 3×3 + identity",
        "mean 3×3 + mean 3×3",
        "sep 3×3 + identity",
        "sep 5×5 + sep 3×3",
        "sep 5×5 + sep 3×3",
    ]


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "mobilenet_v2", "vgg16"])
def test_every_convolution_of_the_network_has_a_box(name):
    with torch.device("meta"):
        network = build(name)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    found = stages(name).values()
    boxes = [
        box
        for stage in found
        for block in stage.blocks
        for lane in block.lanes
        for box in lane * block.repeat
        if box.kind in ("convolution", "depthwise")
    ]
    assert len(boxes) == convolutions


class Branching(nn.Module):
    """A module of somebody else, with functions between its layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, images):
        maps = self.stem(images).relu()
        both = torch.cat([self.left(maps), self.right(maps)], 1) + maps
        return self.classifier(both.mean((2, 3)))


def test_branches_of_any_module_are_found():
    found = outline(Branching(), in_channels=3, image_size=(16, 16))
    assert [stage.name for stage in found] == ["stem", "left, right", "classifier"]
    joins = [(block.join, words(block)) for stage in found for block in stage.blocks if len(block.lanes) > 1]
    assert joins == [("add", [[], ["1×1, 4 | 3×3, 4"]])]
