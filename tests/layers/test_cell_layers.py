"""What the searched cells are made of, each against an independent computation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.errors import ShapeError, UsageError
from fovea.layers.cell import Branch, Cell, Genotype, Incoming, Style, genotype
from fovea.layers.cell_stack import CellNet, CellStack
from fovea.layers.drop_path import DropPath, schedule_drop_path
from fovea.layers.factorised_reduction import FactorisedReduction
from fovea.layers.operations import OPERATIONS, Bottlenecked, LineConv2d, Pooling, operation


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Drop path


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    layer = DropPath(0.4)
    schedule_drop_path(nn.Sequential(layer), 0.5)
    assert layer.drop_probability == pytest.approx(0.2)
    torch.manual_seed(0)
    dropped = layer(torch.ones(4000, 2, 3, 3)).flatten(1)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == dropped[:, :1]).all()  # an image passes whole or not at all
    assert (dropped[:, 0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_drop_path_is_the_identity_in_evaluation_and_before_it_is_scheduled():
    layer, images = DropPath(0.9), maps(8, 2, 3, 3)
    assert layer(images) is images
    schedule_drop_path(layer, 1.0)
    assert layer.eval()(images) is images


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_an_impossible_probability_is_refused(probability):
    with pytest.raises(UsageError, match=r"must be at least 0 and below 1"):
        DropPath(probability)


def test_progress_is_a_share():
    with pytest.raises(UsageError, match=r"progress \(=1.5\)"):
        schedule_drop_path(DropPath(0.1), 1.5)


# Factorised reduction


@pytest.mark.parametrize("size", [8, 9])
def test_factorised_reduction_sees_two_of_every_four_pixels(size):
    layer, images = FactorisedReduction(3, 5, norm=lambda _: nn.Identity()), maps(2, 3, size, size)
    shifted = torch.zeros_like(images)
    shifted[:, :, :-1, :-1] = images[:, :, 1:, 1:]
    halves = [
        torch.einsum("nchw,kc->nkhw", picture[:, :, ::2, ::2], conv.weight[:, :, 0, 0])
        for picture, conv in ((images, layer.first), (shifted, layer.second))
    ]
    assert torch.allclose(layer(images), torch.cat(halves, dim=1), atol=1e-6)
    assert layer(images).shape == (2, 5, 4 + size % 2, 4 + size % 2)
    assert [half.shape[1] for half in halves] == [2, 3]


def test_factorised_reduction_needs_a_channel_for_each_half():
    with pytest.raises(ShapeError, match=r"out_channels \(=1\)"):
        FactorisedReduction(3, 1)


# Operations


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 6, 7])
def test_every_operation_gives_its_channels_at_the_size_over_the_stride_rounded_up(name, stride, size):
    found = operation(name, 6, 8, stride=stride)(maps(2, 6, size, size))
    assert found.shape == (2, 8, -(-size // stride), -(-size // stride))
    assert operation(name, 8, 8)(maps(2, 8, size, size)).shape == (2, 8, size, size)


# fmt: off
COUNTS = {  # parameters from 12 to 16 channels, by hand
    "none":       12 * 16 + 32,
    "1x1":        12 * 16 + 32,
    "3x3":        (12 * 4 + 8) + (9 * 16 + 8) + (4 * 16 + 32),
    "dilated3x3": (12 * 4 + 8) + (9 * 16 + 8) + (4 * 16 + 32),
    "1x3_3x1":    (12 * 6 + 12) + 2 * (3 * 36 + 12) + (6 * 16 + 32),
    "1x7_7x1":    (12 * 4 + 8) + 2 * (7 * 16 + 8) + (4 * 16 + 32),
    "sep3x3":     (9 * 12 + 12 * 16 + 32) + (9 * 16 + 16 * 16 + 32),
    "sep5x5":     (25 * 12 + 12 * 16 + 32) + (25 * 16 + 16 * 16 + 32),
    "sep7x7":     (49 * 12 + 12 * 16 + 32) + (49 * 16 + 16 * 16 + 32),
    "avg3x3":     12 * 16 + 32,
    "max3x3":     12 * 16 + 32,
    "max5x5":     12 * 16 + 32,
    "max7x7":     12 * 16 + 32,
}
# fmt: on


def test_every_operation_has_the_parameters_counted_by_hand():
    assert {name: count(operation(name, 12, 16)) for name in OPERATIONS} == COUNTS


@pytest.mark.parametrize("name", ["none", "avg3x3", "max3x3"])
def test_what_changes_nothing_has_no_parameters(name):
    assert count(operation(name, 8, 8)) == 0


def test_a_separable_convolution_is_relu_depthwise_pointwise_normalisation_twice():
    layer, images = operation("sep3x3", 4, 6, stride=2).eval(), maps(2, 4, 7, 7)
    expected = images
    for half, stride in ((layer.first, 2), (layer.second, 1)):
        depthwise = F.conv2d(
            expected.relu(), half.depthwise.weight, stride=stride, padding=1, groups=4 if half is layer.first else 6
        )
        expected = F.batch_norm(F.conv2d(depthwise, half.pointwise.weight), torch.zeros(6), torch.ones(6))
    assert torch.allclose(layer(images), expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "shape"), [((1, 7), (6, 3)), ((7, 1), (3, 6))])
def test_a_line_strides_along_itself_alone(kernel, shape):
    layer, images = LineConv2d(2, 3, kernel, stride=2), maps(1, 2, 6, 6)
    found = layer(images)
    assert found.shape == (1, 3, *shape)
    # SAME at stride 2 on 6 pixels: five are missing, two before and three after.
    padded = F.pad(images, (2, 3, 0, 0) if kernel == (1, 7) else (0, 0, 2, 3))
    stride = (1, 2) if kernel == (1, 7) else (2, 1)
    assert torch.allclose(found, F.conv2d(padded, layer.weight, stride=stride), atol=1e-6)


def test_too_few_channels_are_not_narrowed():
    layer = Bottlenecked(2, 3, kernels=((1, 7), (7, 1)), stride=1, norm=nn.BatchNorm2d)
    assert [name for name, _ in layer.named_children()] == ["conv1x7", "conv7x1"]
    assert layer(maps(2, 2, 5, 5)).shape == (2, 3, 5, 5)


def test_a_mean_is_over_the_pixels_inside_the_image():
    ones = torch.ones(1, 4, 5, 5)
    assert torch.equal(operation("avg3x3", 4, 4)(ones), ones)
    assert isinstance(operation("avg3x3", 4, 4), Pooling)


def test_an_unknown_operation_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"no operation is called 'sep4x4'; there are none, 1x1.*Did you mean sep"):
        operation("sep4x4", 4, 4)


# Genotypes and cells


SMALL = genotype(((0, "sep3x3"), (1, "none")), ((2, "avg3x3"), (0, "max3x3")), concat=(1, 3))


def test_a_genotype_is_a_value():
    assert (
        Genotype(((Branch(0, "sep3x3"), Branch(1, "none")), (Branch(2, "avg3x3"), Branch(0, "max3x3"))), (1, 3))
        == SMALL
    )
    first = SMALL.pairs[0]
    mutant = SMALL._replace(pairs=((first[0]._replace(operation="sep5x5"), first[1]), *SMALL.pairs[1:]))
    assert len({SMALL, mutant, SMALL}) == 2
    assert "sep5x5" in repr(mutant)
    assert SMALL.unused == (3,)


@pytest.mark.parametrize(
    ("pairs", "concat", "sentence"),
    [
        ((((0, "none"), (2, "none")),), (2,), "state 2 reads state 2; it may read 0 to 1"),
        ((((0, "none"), (-1, "none")),), (2,), "state 2 reads state -1"),
        ((((0, "none"), (1, "none")),), (), "at least one state"),
        ((((0, "none"), (1, "none")),), (3,), "each from 0 to 2"),
    ],
)
def test_a_genotype_that_cannot_be_built_is_refused(pairs, concat, sentence):
    with pytest.raises(UsageError, match=sentence):
        genotype(*pairs, concat=concat)


def test_a_cell_adds_pairs_and_concatenates_states():
    cell = Cell(SMALL, 4, current=Incoming(6, 1), previous=Incoming(5, 1)).eval()
    current, previous = maps(2, 6, 7, 7), maps(2, 5, 7, 7, seed=1)
    states = [
        F.conv2d(current.relu(), cell.current.conv.weight) / (1 + 1e-5) ** 0.5,
        F.conv2d(previous.relu(), cell.previous.conv.weight) / (1 + 1e-5) ** 0.5,
    ]
    states.append(cell.pairs[0]["left"](states[0]) + states[1])
    mean = F.avg_pool2d(states[2], 3, 1, 1, count_include_pad=False)
    states.append(mean + F.max_pool2d(states[0], 3, 1, 1))
    assert torch.allclose(cell(current, previous), torch.cat((states[1], states[3]), dim=1), atol=1e-5)
    assert cell.outgoing == Incoming(8, 1)


def test_a_reduction_cell_halves_what_comes_from_outside_and_no_more():
    cell = Cell(SMALL, 4, current=Incoming(6, 4), previous=Incoming(5, 2), stride=2)
    assert cell(maps(2, 6, 7, 7), maps(2, 5, 14, 14)).shape == (2, 8, 4, 4)
    assert cell.outgoing == Incoming(8, 8)
    assert isinstance(cell.previous[1], FactorisedReduction)  # half the resolution before the cell
    assert isinstance(cell.adapted["1"], FactorisedReduction)  # an input among the output's states


def test_without_a_previous_map_the_current_one_stands_in_as_it_is():
    cell = Cell(SMALL, 4, current=Incoming(6, 1), previous=None)
    assert isinstance(cell.previous, nn.Identity)
    assert cell(maps(2, 6, 7, 7)).shape == (2, 8, 7, 7)
    assert count(cell.pairs[0]["right"]) == count(cell.adapted["1"]) == 6 * 4 + 8


def test_all_but_the_identity_is_dropped():
    cell = Cell(
        SMALL._replace(concat=(2,)), 4, current=Incoming(4, 1), previous=Incoming(4, 1), style=Style(drop_path=0.5)
    )
    cell.drop_path.drop_probability = 1 - 1e-9  # next to always
    previous = maps(2, 4, 5, 5)
    assert torch.equal(cell(maps(2, 4, 5, 5), previous), previous)


# Stacks


class Noting(nn.Module):
    """Adds one to what it gets, and notes it."""

    def __init__(self):
        super().__init__()
        self.got = None

    def forward(self, current, previous=None):
        self.got = (current.mean().item(), None if previous is None else previous.mean().item())
        return current + 1


def noting(back):
    stages = {name: Noting() for name in ("stem", "a", "b", "c", "d")}
    return stages, CellStack(stages, back=back)


def test_a_cell_gets_the_map_before_and_the_one_before_that():
    stages, stack = noting({"a": 2, "b": 2, "c": 3, "d": 2})
    assert stack(torch.zeros(1, 1, 1, 1)).item() == 5
    assert {name: stage.got for name, stage in stages.items()} == {
        "stem": (0, None), "a": (1, None), "b": (2, 1), "c": (3, 1), "d": (4, 3),
    }  # fmt: skip


def test_a_stack_runs_no_stage_that_is_not_asked_for():
    stages, stack = noting({})
    stages_asked = [name for name, _ in zip(("stem", "a"), stack.staged(torch.zeros(1, 1, 1, 1)), strict=False)]
    assert stages_asked == ["stem", "a"]
    assert stages["c"].got is None


def small_network():
    incoming = Incoming(4, 1)
    stages = {"stem": nn.Conv2d(3, 4, 3), "one": Cell(SMALL, 4, current=incoming, previous=None)}
    stages["two"] = Cell(SMALL, 4, current=stages["one"].outgoing, previous=incoming)
    head = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(8, 7)}
    reader = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))
    return CellNet(stages, back={"one": 2, "two": 2}, head=head, in_channels=3, auxiliary={"one": reader}).eval()


def test_stage_outputs_and_auxiliary_logits_agree_with_the_forward_pass():
    network, images = small_network(), maps(2, 3, 9, 9)
    outputs = network.stage_outputs(images, ["two", "one"])
    assert list(outputs) == ["one", "two"]
    assert torch.equal(outputs["two"], network.features(images))
    logits, auxiliary = network.forward_with_auxiliary(images)
    assert torch.equal(logits, network(images))
    assert torch.equal(auxiliary["one"], network.auxiliary["one"](outputs["one"]))
    network.reset_head(3)
    assert [each.shape[1] for each in (network(images), network.forward_with_auxiliary(images)[1]["one"])] == [3, 3]


def test_later_stages_do_not_run_for_an_earlier_ones_output():
    network = small_network()
    network.features.two.register_forward_hook(lambda *_: pytest.fail("it ran"))
    assert list(network.stage_outputs(maps(2, 3, 9, 9), ["one"])) == ["one"]
    with pytest.raises(UsageError, match="no stage is called three; there are stem, one, two"):
        network.stage_outputs(maps(2, 3, 9, 9), ["three"])


def test_an_image_too_small_for_the_stem_is_explained():
    with pytest.raises(ShapeError, match="the smallest image that fits is 3×3"):
        small_network()(maps(2, 3, 2, 2))
    with pytest.raises(ShapeError, match="the smallest image that fits is 3×3"):
        small_network().forward_with_auxiliary(maps(2, 3, 2, 2))
