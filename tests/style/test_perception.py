"""What a network sees: which layers run, what is kept of it, how loud its filters are."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn

from fovea.architectures.catalogue import build
from fovea.errors import ModelError, ShapeError, UsageError
from fovea.style.options import CONTENT, STYLE
from fovea.style.perception import Layers, Perception, own_layers
from fovea.style.sizing import as_images, fitted
from tests.explain.conftest import state
from tests.style.conftest import model_of, picture, vgg_like


def test_vgg_s_layers_are_the_paper_s_behind_their_rectifiers(model):
    perception = Perception(model, precision="float32")
    assert perception.layers == Layers(CONTENT, STYLE)
    reading = perception.read(as_images(picture(0)))
    assert sorted(reading) == sorted((*STYLE, CONTENT))
    assert reading["conv1_1"].shape == (1, 4, 40, 48)
    assert reading["conv5_1"].shape == (1, 8, 2, 3)
    assert all(maps.min() >= 0 for maps in reading.values())


@pytest.mark.parametrize("name", ["vgg11", "vgg19"])
def test_the_paper_s_layers_are_in_the_paper_s_networks(name):
    with torch.device("meta"):
        network = build(name)
    known = dict(network.named_modules())
    paths = [f"features.conv{n}.relu{k}" for n, k in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (4, 2))]
    assert all(isinstance(known[path], nn.ReLU) for path in paths)


def test_nothing_runs_behind_the_last_layer_and_its_weights_are_not_kept(model):
    perception = Perception(model, precision="float32")
    ran = []
    for path, module in perception.network.named_modules():
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
    perception.read(as_images(picture(0)))
    assert "features.conv5.relu1" in ran
    assert not {"features.conv5.conv2", "features.pool5", "head"} & set(ran)
    held = {name for name, each in perception.network.named_parameters() if not each.is_meta}
    assert "features.conv5.conv1.weight" in held
    assert not any(name.startswith(("features.conv5.conv2", "head")) for name in held)
    assert perception.weights() == sum(
        each.numel() * 4 for name, each in model.network.named_parameters() if name in held
    )


def test_the_model_stays_as_it_was(model):
    before = state(model.network)
    Perception(model).read(as_images(picture(0)))
    assert state(model.network) == before
    assert isinstance(model.network.features.pool1, nn.MaxPool2d)


def test_pooling_is_average_unless_max_is_asked_for(model):
    images = as_images(picture(0))
    average, most = (Perception(model, pooling=each, precision="float32").read(images) for each in ("average", "max"))
    torch.testing.assert_close(average["conv1_1"], most["conv1_1"])
    assert (most["conv2_1"] - average["conv2_1"]).abs().max() > 1e-3
    with torch.no_grad():
        normal = (images - 0.45) / 0.25
        own = model.network.features.conv1(normal)
        wanted = torch.relu(model.network.features.conv2.conv1(nn.functional.max_pool2d(own, 2)))
    torch.testing.assert_close(most["conv2_1"], wanted, rtol=1e-4, atol=1e-5)


def test_filters_are_scaled_to_a_mean_activation_of_one_over_the_photographs(model):
    perception = Perception(model, precision="float32")
    readings = [perception.read(as_images(fitted(each, 256))) for each in load_sample_images().images]
    for name, scales in perception.scales.items():
        means = torch.stack([each[name].mean((0, 2, 3)) for each in readings]).mean(0)
        loud = means > 0.1 * means.mean()
        assert loud.any()
        torch.testing.assert_close((means / scales)[loud], torch.ones(int(loud.sum())), rtol=1e-4, atol=1e-4)
        assert (scales > 0).all()


def test_bf16_reads_what_float32_reads_up_to_its_rounding(model):
    images = as_images(picture(0))
    exact = Perception(model, precision="float32").read(images)
    for name, maps in Perception(model, precision="bf16").read(images).items():
        assert maps.dtype is torch.bfloat16
        assert (maps.float() - exact[name]).norm() < 0.02 * exact[name].norm()


def test_another_network_is_read_at_its_stages():
    model = model_of(build("cifar_resnet20", num_classes=3, seed=0))
    layers = own_layers(model)
    assert layers.style == ("conv1", "conv2_x", "conv3_x", "conv4_x")[-len(layers.style) :]
    assert layers.content == layers.style[-2]
    reading = Perception(model, precision="float32").read(as_images(picture(0)))
    assert [maps.shape[1] for maps in reading.values()] == [16, 32, 64][-len(reading) :]


def test_a_network_of_grey_images_sees_the_brightness():
    model = model_of(vgg_like(in_channels=1), in_channels=1)
    perception = Perception(model, precision="float32")
    images = as_images(picture(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(perception.read(images)["conv1_1"].sum(), images)
    torch.testing.assert_close(gradient[:, 0] / 0.299, gradient[:, 1] / 0.587, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("conv9_9", UsageError, "no stage is called conv9_9"),
        ("head.output", ModelError, "gives 3 numbers and no maps"),
        ("head", UsageError, "names what enters the output layer"),
    ],
)
def test_layers_that_cannot_be_read_are_told(model, content, kind, message):
    with pytest.raises(kind, match=message):
        Perception(model, content_layer=content)


def test_a_picture_too_small_for_a_layer_is_told_with_the_layer(model):
    with pytest.raises(ShapeError, match="8×8 pixels do not get as far as conv5_1"):
        Perception(model, precision="float32").read(torch.rand(1, 3, 8, 8))


def test_a_network_of_five_channels_is_refused():
    with pytest.raises(ModelError, match="takes images of 5 channels"):
        Perception(model_of(vgg_like(in_channels=5), in_channels=5))
