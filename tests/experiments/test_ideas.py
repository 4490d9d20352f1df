"""Ideas switched off: what is there instead is what the idea replaced, and everything else stays to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build
from fovea.cost.count import multiply_adds
from fovea.errors import UsageError
from fovea.experiments.arms import Arm, Label, across, without
from fovea.experiments.ideas import IDEAS, idea
from fovea.experiments.ideas.normalising import Shift
from fovea.layers.inception import Filters, InceptionModule
from fovea.layers.squeeze_excitation import SqueezeExcitation
from fovea.layers.vgg_block import VGGBlock
from fovea.training.options import options

# A network that has the idea, as small as it comes, and its images. Whatever is not named here is one of options.
HAS = {
    "relu": ("lenet5", {}),
    "dropout": ("mobilenet_v2", {"image_size": 32}),
    "overlapping_pooling": ("resnet18", {"image_size": 32}),
    "max_pooling": ("lenet5", {}),
    "lrn": ("googlenet", {"image_size": 64}),
    "shared_weights": ("lenet5", {}),
    "small_kernels": ("vgg11", {"image_size": 32}),
    "reductions": ("googlenet", {"image_size": 64}),
    "batch_norm": ("cifar_resnet20", {"image_size": 16}),
    "skips": ("cifar_resnet20", {"image_size": 16}),
    "bottlenecks": ("resnet50", {"image_size": 32}),
    "separable": ("mobilenet_v1_0_25", {"image_size": 32}),
    "squeeze_excitation": ("mnasnet_a1", {"image_size": 32}),
    "stochastic_depth": ("efficientnet_b0", {"image_size": 32}),
    "initialisation": ("lenet5", {}),
}
# What an idea's end makes anew under the name of what was there.
MADE_ANEW = {"initialisation": ("",), "reductions": (".three.1.0.bias", ".five.1.0.bias")}
OF_OPTIONS = {
    "augmentation": {"flip": True},
    "momentum": {"momentum": 0.9},
    "warmup": {"warmup_epochs": 1.0},
    "weight_decay": {"weight_decay": 1e-4},
    "label_smoothing": {"label_smoothing": 0.1},
    "weight_average": {"ema": 0.99},
}


def arm(name, told):
    def network(seed):
        return build(name, seed=seed, num_classes=4, **told)

    return Arm(label=Label(name), network=network, options=options())


def shape_of(network):
    return (network.in_channels, network.architecture.image_size, network.architecture.image_size)


def test_every_idea_is_tried_here():
    assert set(HAS) | set(OF_OPTIONS) == set(IDEAS)


@pytest.mark.parametrize("name", HAS)
def test_without_it_the_network_runs_what_stays_keeps_its_weights_and_the_rest_is_of_the_seed(name):
    whole = arm(*HAS[name])
    network = whole.network(3)
    shape, before = shape_of(network), network.state_dict()
    for lacking in without(whole, name, shape=shape):
        made, again = lacking.network(3), lacking.network(3).state_dict()
        after = made.state_dict()
        kept = [key for key in after if key in before and before[key].shape == after[key].shape]
        assert kept
        stays = [key for key in kept if not any(part in key for part in MADE_ANEW.get(name, ()))]
        assert all(torch.equal(before[key], after[key]) for key in stays)
        assert all(torch.equal(value, again[key]) for key, value in after.items())
        assert made.architecture.name == f"{HAS[name][0]} --without {lacking.label.without}"
        with torch.no_grad():
            logits = made.eval()(torch.rand(2, *shape))
        assert logits.shape == (2, 4)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", OF_OPTIONS)
def test_an_idea_of_the_recipe_leaves_the_network_and_changes_the_options(name):
    whole = Arm(
        label=Label("lenet5"), network=lambda seed: build("lenet5", seed=seed), options=options(**OF_OPTIONS[name])
    )
    (lacking,) = without(whole, name, shape=(1, 32, 32))
    assert lacking.options != whole.options
    assert lacking.label == Label("lenet5", name)
    weights = lacking.network(1).state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in whole.network(1).state_dict().items())
    bare = Arm(label=Label("lenet5"), network=whole.network, options=lacking.options)
    with pytest.raises(UsageError, match=f"--without {name}: this recipe has nothing of it to leave out"):
        without(bare, name, shape=(1, 32, 32))


def test_without_shortcuts_a_residual_network_is_the_plain_one_of_its_paper():
    (lacking,) = without(arm("cifar_resnet20", {}), "skips", shape=(3, 32, 32))
    made, plain = lacking.network(0).train(), build("cifar_plain20", num_classes=4).train()
    plain.load_state_dict(dict(zip(plain.state_dict(), made.state_dict().values(), strict=True)))
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(made(images), plain(images))


def test_a_normalisation_leaves_its_shift_alone_and_adds_nothing_else():
    whole = arm("cifar_resnet20", {})
    (lacking,) = without(whole, "batch_norm", shape=(3, 32, 32))
    norms = [part for part in whole.network(0).modules() if isinstance(part, nn.BatchNorm2d)]
    shifts = [part for part in lacking.network(0).modules() if isinstance(part, Shift)]
    assert [len(shift.bias) for shift in shifts] == [norm.num_features for norm in norms]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in lacking.network(0).modules())
    assert torch.equal(Shift(3)(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


def test_one_large_kernel_sees_what_a_stack_of_small_ones_sees():
    network = nn.Sequential(VGGBlock(2, 8, (3, 3, 3)), VGGBlock(8, 8, (3,)), VGGBlock(8, 8, (3, 3), normalised=True))
    assert idea("small_kernels").without["large"].network(network, (2, 8, 8)) == 2
    assert [conv.kernel_size for conv in network.modules() if isinstance(conv, nn.Conv2d)] == [(7, 7), (3, 3), (5, 5)]
    assert sum(isinstance(part, nn.BatchNorm2d) for part in network.modules()) == 1


def test_without_reductions_large_kernels_see_all_channels():
    module = InceptionModule(32, Filters(8, 4, 16, 4, 8, 8))
    assert idea("reductions").without["none"].network(nn.Sequential(module), (32, 8, 8)) == 2
    assert module.three[1][0].weight.shape == (16, 32, 3, 3)
    assert module.five[1][0].weight.shape == (8, 32, 5, 5)
    assert module(torch.rand(1, 32, 8, 8)).shape == (1, 40, 8, 8)


def test_two_small_convolutions_cost_what_the_bottleneck_cost():
    whole = arm("resnet50", {"image_size": 64})
    (lacking,) = without(whole, "bottlenecks", shape=(3, 64, 64))
    cost, other = (multiply_adds(each.network(0), in_channels=3, image_size=64) for each in (whole, lacking))
    assert other == pytest.approx(cost, rel=0.05)


def test_a_separable_convolution_becomes_the_full_one_it_stands_for():
    whole = arm("mobilenet_v1_0_25", {"image_size": 32})
    (lacking,) = without(whole, "separable", shape=(3, 32, 32))
    kernels = [part for part in lacking.network(0).modules() if isinstance(part, nn.Conv2d)]
    assert all(part.groups == 1 for part in kernels)
    assert [tuple(part.kernel_size) for part in kernels[1:]] == [(3, 3)] * 13


def test_without_shared_weights_units_are_as_many_and_weights_are_many_more():
    whole = arm("lenet5", {})
    local, full = without(whole, "shared_weights", shape=(1, 32, 32))
    counts = [sum(p.numel() for p in each.network(0).parameters()) for each in (whole, local, full)]
    conv1, conv2 = (6 * 25 + 6, 16 * 150 + 16)
    assert counts[1] - counts[0] == 6 * 28**2 * 26 - conv1 + 16 * 10**2 * 151 - conv2
    assert counts[2] - counts[0] == 6 * 28**2 * 1025 - conv1 + 1600 * (6 * 14**2 + 1) - conv2
    with pytest.raises(UsageError, match="200,000,000 is the most"):
        without(arm("vgg11", {}), "shared_weights:full", shape=(3, 224, 224))[0].network(0)


def test_an_idea_that_a_network_does_not_have_is_refused_with_who_has():
    whole = arm("lenet5", {})
    with pytest.raises(UsageError, match=r"lenet5 --without skips:plain: this network has nothing of it .* ResNet"):
        without(whole, "skips", shape=(1, 32, 32))[0].network(0)
    with pytest.raises(UsageError, match=r"no idea is called 'skip'.*Did you mean skips\?"):
        without(whole, "skip", shape=(1, 32, 32))
    with pytest.raises(UsageError, match=r"there is no such way .* there are relu:tanh, relu:sigmoid"):
        without(whole, "relu:elu", shape=(1, 32, 32))


def test_an_option_is_varied_for_every_arm_alike():
    whole = arm("lenet5", {})
    arms = across([whole, *without(whole, "relu:tanh", shape=(1, 32, 32))], "lr=0.01,0.1")
    assert [each.label for each in arms] == [
        ("lenet5", "", "lr=0.01"), ("lenet5", "relu:tanh", "lr=0.01"),
        ("lenet5", "", "lr=0.1"), ("lenet5", "relu:tanh", "lr=0.1"),
    ]  # fmt: skip
    assert [each.options.update.lr for each in arms] == [0.01, 0.01, 0.1, 0.1]
    assert across([whole], "nesterov=false")[0].options.update.nesterov is False
    assert Label("a b/c", "relu:tanh", "lr=0.1").folder(3) == "a-b-c_relu-tanh_lr=0.1_seed3"
    for told, why in (
        ("lr", "must be an option and its values"),
        ("learning=1", "no option of training is called 'learning'"),
        ("lr=fast", "must be a number"),
        ("epochs=1.5", "must be a whole number"),
        ("nesterov=1", "must be true or false"),
        ("milestones=1", "only options of one number or word"),
    ):
        with pytest.raises(UsageError, match=why):
            across([whole], told)


def test_a_squeeze_is_taken_out_where_it_is():
    network = nn.Sequential(nn.Conv2d(4, 4, 1), SqueezeExcitation(4, 1))
    assert idea("squeeze_excitation").without["nothing"].network(network, (4, 8, 8)) == 1
    assert isinstance(network[1], nn.Identity)
