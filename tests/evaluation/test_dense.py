"""Networks that slide over larger images: equal to crops where nothing is padded, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fovea.architectures.catalogue import build
from fovea.errors import ModelError, ShapeError, UsageError
from fovea.evaluation.dense import fully_convolutional


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) * 2 - 1


def unpadded() -> nn.Sequential:
    """For 14 pixels: stride 2, a last map of 4×4."""
    torch.manual_seed(1)
    features = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3)
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(96, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))


def crops(network: nn.Module, images: Tensor, side: int, stride: int, places: tuple[int, int]) -> Tensor:
    """The logits of every shifted crop, as a map."""
    rows = [
        torch.stack(
            [network(images[:, :, i : i + side, j : j + side]) for j in range(0, stride * places[1], stride)], dim=-1
        )
        for i in range(0, stride * places[0], stride)
    ]
    return torch.stack(rows, dim=-2)


def built(name: str, **sizes: int) -> nn.Module:
    return build(name, num_classes=5, seed=0, **sizes).eval()


@torch.no_grad()
def test_without_padding_the_map_is_the_logits_of_every_crop() -> None:
    network, images = unpadded().eval(), noise(2, 3, 20, 24)
    maps = fully_convolutional(network, 3, 14)(images)
    assert maps.shape == (2, 3, 4, 6)
    torch.testing.assert_close(maps, crops(network, images, 14, 2, (4, 6)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_lenet_slides_by_its_stride_of_four() -> None:
    network, images = built("lenet5"), noise(2, 1, 40, 44)
    maps = fully_convolutional(network, 1, 32)(images)
    assert maps.shape == (2, 5, 3, 4)
    torch.testing.assert_close(maps, crops(network, images, 32, 4, (3, 4)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@torch.no_grad()
def test_global_pooling_becomes_a_window(pooling: type[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.Tanh(), pooling(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    images = noise(1, 2, 15, 13)
    maps = fully_convolutional(network, 2, 9)(images)
    torch.testing.assert_close(maps, crops(network, images, 9, 2, (4, 3)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_with_padding_crops_differ_a_little_and_the_own_size_does_not() -> None:
    network, images = built("vgg11", image_size=64), noise(1, 3, 128, 128)
    dense = fully_convolutional(network, 3, 64)
    own = images[:, :, 32:96, 32:96]
    logits = network(own)
    torch.testing.assert_close(dense(own)[:, :, 0, 0], logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
    maps = dense(images)
    assert maps.shape == (1, 5, 3, 3)
    apart = (maps[:, :, 1, 1] - logits).norm() / logits.norm()  # the place whose window is the own crop
    assert 1e-3 < apart < 1


@pytest.mark.parametrize(
    ("name", "size", "places"),
    [
        ("cifar_resnet20", 32, (3, 5)),
        ("resnet18", 64, (2, 2)),
        ("cifar_nin", 32, (3, 5)),
        ("googlenet", 64, (1, 2)),
        ("alexnet", 99, (1, 2)),
        ("mobilenet_v1_0_25", 64, (2, 2)),
    ],
)
@torch.no_grad()
def test_networks_of_the_catalogue_give_their_logits_at_their_own_size(
    name: str, size: int, places: tuple[int, int]
) -> None:
    network, images = built(name, image_size=size), noise(2, 3, size, size)
    dense, logits = fully_convolutional(network, 3, size), network(images)
    torch.testing.assert_close(dense(images).mean((2, 3)), logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    assert dense(noise(1, 3, size * 5 // 4, size * 3 // 2)).shape == (1, 5, *places)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("se_resnet50", r"layer features\.conv2_x\.0\.branch\.excitation \(SqueezeExcitation\) pools the whole image"),
        ("efficientnet_b0", r"layer features\.stage2\.0\.branch\.squeeze \(SqueezeExcitation\) pools the whole image"),
    ],
)
def test_squeeze_and_excitation_is_refused_by_name(name: str, layer: str) -> None:
    with pytest.raises(ModelError, match=rf"{name}: {layer}; .*--protocol ten"):
        fully_convolutional(built(name, image_size=64), 3, 64)


def test_radial_basis_output_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"lenet5_1998: layer head\.output \(RadialBasisOutput\)"):
        fully_convolutional(built("lenet5_1998"), 1, 32)


class Attention(nn.Module):
    """All places look at all others."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2)
        return ((tokens.mT @ tokens).softmax(-1) @ tokens.mT).mT.unflatten(2, maps.shape[2:])


class Turned(nn.Module):
    """Keeps every shape, and moves everything."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flip(3)


class Positions(nn.Module):
    """Adds what belongs to a place."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps + torch.linspace(-1, 1, 12)


class Gated(nn.Module):
    """A gate for each channel, from a pooling that is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.pool(maps).sigmoid()


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (Attention(), r"layer 1 \(Attention\) does 'view'"),
        (Turned(), r"layer 1 \(Turned\) does 'flip'"),
        (Positions(), r"layer 1 \(Positions\) takes no larger image"),
        (Gated(), r"layer 1\.pool \(AdaptiveAvgPool2d\) pools the whole image, and not for the classifier"),
        (nn.InstanceNorm2d(4), r"layer 1 \(InstanceNorm2d\) does"),
        (nn.GroupNorm(2, 4), r"layer 1 \(GroupNorm\) does 'native_group_norm'"),
        (nn.BatchNorm2d(4, track_running_stats=False), r"layer 1 \(BatchNorm2d\) does"),
        (nn.Softmax2d(), r"layer 1 \(Softmax2d\) does '_softmax'"),
        (nn.AdaptiveAvgPool2d(6), r"layer 1 \(AdaptiveAvgPool2d\) pools 12×12 pixels to 6×6"),
        (nn.Flatten(2), r"layer 1 \(Flatten\) flattens \(2, 4, 12, 12\)"),
    ],
)
def test_what_does_not_slide_is_refused_by_name(inner: nn.Module, why: str) -> None:
    tail = [nn.Flatten(), nn.LazyLinear(3)]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), inner, *tail).eval()
    network(noise(2, 3, 14, 14))
    with pytest.raises(ModelError, match=why):
        fully_convolutional(network, 3, 14)


def test_pooling_in_forward_itself_is_refused() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.output(self.conv(images).mean((2, 3)))

    with pytest.raises(ModelError, match=r"Mean: layer output \(Linear\) reads .* nn\.Flatten"):
        fully_convolutional(Mean(), 3, 14)


def test_a_network_that_is_no_sequence_of_its_parts_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 4, 3)
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

        def forward(self, images: Tensor) -> Tensor:
            return 2 * self.head(self.features(images))

    with pytest.raises(ModelError, match="gives other logits when it slides"):
        fully_convolutional(Twice(), 3, 14)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_the_network_stays_as_it_was_also_where_it_is_refused(name: str) -> None:
    network, images = build(name, seed=0), noise(2, 1, 32, 32)
    network.train()
    network.head.f6.eval() if name == "lenet5_1998" else network.head.fc4.eval()
    modes = [module.training for module in network.modules()]
    kinds = [(path, type(module)) for path, module in network.named_modules()]
    before, logits = {k: v.clone() for k, v in network.state_dict().items()}, network(images)
    try:
        fully_convolutional(network, 1, 32)
    except ModelError:
        assert name == "lenet5_1998"
    assert [module.training for module in network.modules()] == modes
    assert [(path, type(module)) for path, module in network.named_modules()] == kinds
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(network(images), logits)


def test_statistics_of_a_network_in_training_stay() -> None:
    network = unpadded().train()
    fully_convolutional(network, 3, 14)
    assert network.training
    assert int(network[1].num_batches_tracked) == 0


def test_weights_are_shared() -> None:
    network = unpadded()
    dense = fully_convolutional(network, 3, 14)
    ours = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    assert {tensor.data_ptr() for tensor in (*dense.parameters(), *dense.buffers())} == ours
    images = noise(1, 3, 14, 14)
    with torch.no_grad():
        network[6].weight.mul_(2)
        torch.testing.assert_close(dense(images)[:, :, 0, 0], network.eval()(images))


def test_it_evaluates() -> None:
    dense = fully_convolutional(unpadded().train(), 3, 14)
    assert not any(module.training for module in dense.modules())


@pytest.mark.parametrize("shape", [(1, 3, 13, 20), (1, 1, 20, 20)])
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    dense = fully_convolutional(unpadded(), 3, 14)
    with pytest.raises(ShapeError, match="takes 3 channels and 14 pixels or more"):
        dense(noise(*shape))


def test_sizes_are_checked() -> None:
    with pytest.raises(UsageError, match=r"image_size \(=0\) must be 1 or more"):
        fully_convolutional(unpadded(), 3, 0)
