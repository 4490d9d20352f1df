"""AlexNet, ZFNet and Network in Network: tables, options, initialisation."""

import pytest
import torch

from fovea.architectures import alexnet, nin, zfnet
from fovea.architectures.catalogue import build
from fovea.cost.count import multiply_adds, parameters, stage_shapes
from fovea.errors import ShapeError, UsageError
from fovea.layers.local_response_norm import LocalResponseNorm

IMAGENET = ["alexnet", "alexnet_one_tower", "alexnet_book", "zfnet", "nin"]


def meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def test_alexnets_layers_have_the_parameters_that_caffes_have():
    network = meta("alexnet")
    layers = dict(network.features.named_children()) | dict(network.head.named_children())
    assert {name: parameters(layer) for name, layer in layers.items() if parameters(layer)} == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }


def test_alexnet_has_659272_neurons():
    shapes = stage_shapes(meta("alexnet"), in_channels=3, image_size=227)
    layers = [*alexnet.PAPER, *alexnet.UNITS, "fc8"]
    assert sum(torch.Size(shapes[name]).numel() for name in layers) == 659_272


def test_the_towers_meet_in_conv3_and_the_dense_layers_alone():
    network = build("alexnet", num_classes=4, image_size=67, seed=0).eval()
    images = torch.randn(1, 3, 67, 67)

    def first_half_of(stage, upstream):
        """Whether the first half of a stage's maps feels the second half of an earlier one's."""
        names = list(dict(network.features.named_children()))
        start = network.stage_outputs(images, [upstream])[upstream].detach().requires_grad_()
        maps = start
        for name in names[names.index(upstream) + 1 : names.index(stage) + 1]:
            maps = network.features.get_submodule(name)(maps)
        (gradient,) = torch.autograd.grad(maps[:, : maps.shape[1] // 2].sum(), start)
        return bool(gradient[:, gradient.shape[1] // 2 :].abs().sum() > 0)

    assert not first_half_of("pool2", "conv1")  # through both normalisations
    assert first_half_of("conv3", "pool2")
    assert not first_half_of("pool5", "conv3")


def test_in_one_tower_everything_meets():
    network = meta("alexnet_ungrouped")
    assert {m.groups for m in network.modules() if isinstance(m, torch.nn.Conv2d)} == {1}
    assert {m.groups for m in network.modules() if isinstance(m, LocalResponseNorm)} == {1}
    assert parameters(meta("alexnet", towers=1)) == parameters(network) == 62_378_344


def test_both_readings_of_alpha_can_be_had():
    images = 10 * torch.randn(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    formula = build("alexnet", image_size=67, seed=0).features.norm1
    code = build("alexnet", image_size=67, seed=0, scaling="code").features.norm1
    maps = 10 * images.repeat(1, 32, 1, 1)
    assert torch.allclose(
        code(maps[:, :48].repeat(1, 2, 1, 1))[:, :48], torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2)(maps[:, :48])
    )
    assert formula(maps).abs().sum() < code(maps).abs().sum()


def test_alexnet_starts_as_published():
    network = build("alexnet", image_size=67, seed=0)
    for name, stage in (*network.features.named_children(), *network.head.named_children()):
        for key, tensor in stage.named_parameters():
            if key.endswith("bias"):
                assert (tensor == (1 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0)).all(), name
            else:
                assert tensor.std().item() == pytest.approx(0.01, rel=0.02), name
                assert abs(tensor.mean().item()) < 1e-3


def test_dropout_stands_behind_the_hidden_layers_and_in_torchvisions_before_them():
    def order(name):
        return [[type(part).__name__ for part in meta(name).head.get_submodule(fc)] for fc in ("fc6", "fc7")]

    assert order("alexnet") == order("alexnet_book") == [["Linear", "ReLU", "Dropout"]] * 2
    assert order("alexnet_one_tower") == [["Dropout", "Linear", "ReLU"]] * 2
    assert {m.p for m in meta("alexnet").modules() if isinstance(m, torch.nn.Dropout)} == {0.5}


@pytest.mark.parametrize("name", IMAGENET)
@pytest.mark.parametrize("size", [28, 32, 64])
def test_a_small_stem_takes_small_images(name, size):
    network = meta(name, stem="small", image_size=size, num_classes=10)
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert (first.kernel_size, first.stride, first.out_channels) == (
        (3, 3),
        (1, 1),
        {"alexnet_one_tower": 64}.get(name, 96),
    )
    channels = network.in_channels
    assert network(torch.empty(2, channels, size, size, device="meta")).shape == (2, 10)
    assert multiply_adds(network, in_channels=channels, image_size=size) > 0


@pytest.mark.parametrize("name", IMAGENET)
def test_an_unknown_stem_is_refused(name):
    with pytest.raises(UsageError, match=r"stem \(='tiny'\) must be 'paper' or 'small'"):
        meta(name, stem="tiny")


@pytest.mark.parametrize(
    ("name", "least"),
    [("alexnet", 67), ("alexnet_one_tower", 63), ("alexnet_book", 65), ("zfnet", 47), ("cifar_nin", 4), ("nin", 39)],
)
def test_the_least_image_is_named_and_works(name, least):
    with pytest.raises(
        ShapeError, match=rf"image_size \(={least - 1}\) is too small: .* reach .*; {least} is the least"
    ):
        meta(name, image_size=least - 1)
    network = meta(name, image_size=least)
    assert network.eval()(torch.empty(1, network.in_channels, least, least, device="meta")).shape[0] == 1


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("alexnet", {"towers": 3}, r"towers \(=3\) must be 2, as published, or 1"),
        ("alexnet", {"scaling": "caffe"}, "must be 'formula' or 'code'"),
        ("zfnet", {"widths": (384, 256)}, r"widths \(=\(384, 256\)\) must be three numbers"),
        ("zfnet", {"widths": (384, 0, 256)}, "must be three numbers"),
        ("cifar_nin", {"second_pool": "median"}, r"second_pool \(='median'\) must be 'max' or 'mean'"),
    ],
)
def test_impossible_options_are_refused(name, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        meta(name, **options)


def test_zfnets_table_says_the_sizes_of_the_figure():
    shapes = stage_shapes(meta("zfnet"), in_channels=3, image_size=224)
    sides = [shapes[name][-1] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")]
    assert sides == [110, 55, 26, 13, 13, 13, 13, 6]
    assert [row.channels for row in zfnet.FIGURE_3] == [96, 256, 384, 384, 256]
    wide = stage_shapes(meta("zfnet_wide"), in_channels=3, image_size=224)
    assert [wide[f"conv{n}"][0] for n in range(1, 6)] == [96, 256, 512, 1024, 512]


def test_zfnet_starts_from_a_gaussian_with_biases_at_zero():
    network = build("zfnet", image_size=47, seed=0)
    assert all((p == 0).all() for n, p in network.named_parameters() if n.endswith("bias"))
    weights = torch.cat([p.flatten() for n, p in network.named_parameters() if n.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("name", "rows"), [("cifar_nin", nin.CIFAR), ("nin", nin.IMAGENET)])
def test_nins_layers_start_from_the_released_gaussians(name, rows):
    network = build(name, seed=0)
    for n, row in enumerate(rows, start=1):
        for convolution, std in zip(network.features.get_submodule(f"mlpconv{n}").convolutions, row.std, strict=True):
            assert convolution.weight.std().item() == pytest.approx(std, rel=0.05)
            assert (convolution.bias == 0).all()


def test_the_logits_of_nin_are_the_means_of_its_last_maps():
    network = build("cifar_nin", num_classes=3, seed=0).eval()
    images = torch.randn(2, 3, 32, 32)
    maps = network.stage_outputs(images, ["mlpconv3"])["mlpconv3"]
    assert maps.shape == (2, 3, 8, 8)
    assert torch.allclose(network(images), maps.mean(dim=(2, 3)), atol=1e-6)
    assert not list(network.head.parameters())
    assert (network.num_classes, network.num_features) == (3, 192)


def test_another_head_of_nin_is_another_last_convolution():
    network = build("cifar_nin", seed=0)
    before = {name: p.clone() for name, p in network.named_parameters()}
    network.reset_head(20)
    assert network.num_classes == 20
    output = network.features.mlpconv3.convolutions[-1]
    assert output.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert [
        n for n, p in network.named_parameters() if p.shape != before[n].shape or not torch.equal(p, before[n])
    ] == [
        "features.mlpconv3.4.weight",
        "features.mlpconv3.4.bias",
    ]


def test_the_second_pooling_of_cifar_nin_is_a_choice():
    assert isinstance(meta("cifar_nin").features.pool2, torch.nn.MaxPool2d)
    mean = meta("cifar_nin", second_pool="mean")
    assert isinstance(mean.features.pool2, torch.nn.AvgPool2d)
    assert stage_shapes(mean, in_channels=3, image_size=32)["pool2"] == (192, 8, 8)
