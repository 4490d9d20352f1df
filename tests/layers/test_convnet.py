"""The usual network's auxiliary classifiers, and what it says of images that are too small."""

import pytest
import torch
from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.smallest_image import shape_after, smallest_image, too_small


def network(head=None, **options):
    stages = {"stem": nn.Conv2d(3, 4, 3, stride=2), "pool": nn.MaxPool2d(3, 2), "last": nn.Conv2d(4, 5, 3)}
    head = head or {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(5, 7)}
    return ConvNet(stages, head=head, in_channels=3, **options)


def with_auxiliary():
    return network(auxiliary={"pool": nn.Sequential(nn.Flatten(), nn.Linear(4 * 7 * 7, 7))})


def test_auxiliary_classifiers_read_their_stage_and_change_nothing_else():
    net, images = with_auxiliary(), torch.randn(2, 3, 32, 32)
    ran = []
    for stage in net.features.children():
        stage.register_forward_hook(lambda module, *_: ran.append(module))
    logits, auxiliary = net.forward_with_auxiliary(images)
    assert ran == list(net.features.children()), "every stage runs once"
    assert torch.equal(logits, net(images))
    assert list(auxiliary) == ["pool"]
    assert torch.equal(auxiliary["pool"], net.auxiliary["pool"](net.stage_outputs(images, ["pool"])["pool"]))


def test_without_auxiliary_classifiers_there_is_nothing_of_them():
    logits, auxiliary = network().forward_with_auxiliary(torch.randn(2, 3, 32, 32))
    assert (logits.shape, auxiliary) == ((2, 7), {})
    assert not [key for key in network().state_dict() if key.startswith("auxiliary")]


def test_reset_head_resets_auxiliary_classifiers_too():
    net = with_auxiliary()
    net.reset_head(3)
    logits, auxiliary = net.forward_with_auxiliary(torch.randn(2, 3, 32, 32))
    assert logits.shape == auxiliary["pool"].shape == (2, 3)


def test_an_auxiliary_classifier_of_no_stage_is_refused():
    with pytest.raises(UsageError, match=r"no stage is called pol; there are stem, pool, last. Did you mean pool"):
        network(auxiliary={"pol": nn.Flatten()})


@pytest.mark.parametrize(
    ("size", "reached"), [(2, "2×2 reaches stem"), (4, "1×1 reaches pool"), (14, "2×2 reaches last")]
)
def test_an_image_too_small_is_told_the_stage_its_size_there_and_the_least(size, reached):
    with pytest.raises(ShapeError) as told:
        network()(torch.zeros(2, 3, size, size))
    assert str(told.value) == (
        f"images of {size}×{size} pixels do not fit this network: {reached}; the smallest image that fits is 15×15"
    )
    assert isinstance(told.value.__cause__, RuntimeError)


def test_the_sides_of_an_oblong_image_are_told():
    with pytest.raises(ShapeError, match=r"images of 40×8 pixels.*9×1 reaches last"):
        network()(torch.zeros(1, 3, 40, 8))


def test_a_head_of_fixed_size_is_told_likewise():
    net = network({"flatten": nn.Flatten(), "output": nn.Linear(5 * 2 * 2, 7)})
    with pytest.raises(
        ShapeError, match=r"images of 64×64 .* 845 reaches output; the smallest image that fits is 19×19"
    ):
        net(torch.zeros(1, 3, 64, 64))


def test_where_no_size_fits_it_says_so():
    net = network({"flatten": nn.Flatten(), "output": nn.Linear(7, 7)})
    with pytest.raises(ShapeError, match="no square image fits"):
        net(torch.zeros(1, 3, 64, 64))


def test_an_auxiliary_classifier_that_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"3×3 reaches the auxiliary classifier of pool; .* is 31×31"):
        with_auxiliary().forward_with_auxiliary(torch.zeros(1, 3, 16, 16))


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="double") as told:
        network()(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    assert not isinstance(told.value, ShapeError)


def test_looking_for_the_cause_leaves_the_network_as_it_was():
    net = network().train()
    net.features.stem.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ShapeError):
        net(torch.zeros(1, 3, 4, 4))
    assert [part.training for part in net.features] == [False, True, True]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_sizes_are_found_without_computing():
    steps = [("conv", nn.Conv2d(3, 4, 5, bias=False))]
    assert shape_after(steps[0][1], (3, 9, 12)) == (4, 5, 8)
    assert smallest_image(steps, 3) == 5
    assert too_small(steps, (3, 5, 5)) is None


def test_a_module_that_gives_no_tensor_is_not_judged():
    class Pair(nn.Module):
        def forward(self, maps):
            return maps, maps

    assert too_small([("pair", Pair()), ("conv", nn.Conv2d(3, 4, 5))], (3, 1, 1)) is None
