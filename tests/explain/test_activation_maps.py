"""Class activation maps: against the definition, the exact map, and the grad-cam package where it is installed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.architectures.catalogue import build
from fovea.errors import ModelError, UsageError
from fovea.explain.activation_maps import cam, grad_cam, grad_cam_plus_plus, layer_cam
from fovea.explain.aims import unit_of
from fovea.explain.options import ExplainOptions
from fovea.explain.places import place_of
from fovea.explain.question import Question
from fovea.explain.untouched import untouched

TARGETS = torch.tensor([0, 3, 1])


def asked(method, network, images, layer=None, aim=TARGETS):
    options = ExplainOptions(batch_size=2)
    with untouched(network):
        return method(Question(network=network, images=images, aim=aim, layer=layer, options=options))


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return build("cifar_resnet20").eval()


@pytest.fixture
def photos():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_grad_cam_is_the_definition(small, images):
    maps = small.second(small.pool(small.relu(small.norm(small.first(images))))).detach().requires_grad_()
    score = small.fc(F.relu(maps).mean((2, 3)))[range(3), TARGETS].sum()
    weights = torch.autograd.grad(score, maps)[0].mean((2, 3), keepdim=True)
    expected = (weights * maps).sum(1).clamp_min(0).detach()
    found = asked(grad_cam, small, images, "second")
    torch.testing.assert_close(found.maps, F.interpolate(expected[:, None], (12, 12), mode="bilinear")[:, 0])
    assert found.layer == "second"


def test_what_the_network_does_in_place_behind_the_layer_does_not_matter(small, functional, images):
    for method in (grad_cam, grad_cam_plus_plus, layer_cam):
        torch.testing.assert_close(
            asked(method, functional, images, "second").maps, asked(method, small, images, "second").maps
        )


def test_with_a_mean_and_a_linear_layer_grad_cam_is_the_positive_part_of_cam(resnet, photos):
    exact, found = asked(cam, resnet, photos), asked(grad_cam, resnet, photos)
    assert (exact.maps < 0).any()
    assert exact.layer == found.layer == "conv4_x"
    assert (exact.gap < 1e-4).all()
    logits = resnet(photos)[range(3), TARGETS] - resnet.head[-1].bias[TARGETS]
    coarse = F.avg_pool2d(exact.maps[:, None], 32).flatten()
    torch.testing.assert_close(coarse, logits.detach(), rtol=0.05, atol=0.05)  # enlarging keeps the mean nearly
    with torch.no_grad():  # of single places: the gradient of a mean is the weight over their number
        maps = resnet.features(photos)
        expected = torch.einsum("nk,nkij->nij", resnet.head[-1].weight[TARGETS], maps).clamp_min(0) / 64
    torch.testing.assert_close(found.maps, F.interpolate(expected[:, None], (32, 32), mode="bilinear")[:, 0])


def test_network_in_network_has_its_classes_as_maps(photos):
    torch.manual_seed(0)
    network = build("cifar_nin").eval()
    found = asked(cam, network, photos)
    with torch.no_grad():
        maps = network.features(photos)
    expected = F.interpolate(maps[range(3), TARGETS][:, None], (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(found.maps, expected)


def test_cam_is_refused_where_it_would_not_be_exact(small, images):
    with pytest.raises(ModelError, match=r"cam is exact where a linear layer reads the mean.*take grad_cam"):
        asked(cam, small, images, "second")  # a ReLU stands between
    unit = unit_of(place_of(small, images, "second"), 0)
    with pytest.raises(ModelError, match="cam explains a class, not a unit"):
        asked(cam, small, images, aim=unit)


def test_a_unit_that_lies_before_the_layer_or_a_layer_without_extent_is_refused(small, images):
    with pytest.raises(ModelError, match="what is explained does not depend on layer second"):
        asked(grad_cam, small, images, "second", aim=unit_of(place_of(small, images, "first"), 0))
    with pytest.raises(ModelError, match="fc gives 4 for an image"):
        asked(grad_cam, small, images, "fc")
    with pytest.raises(UsageError, match="no stage is called secnd"):
        asked(grad_cam, small, images, "secnd")


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
@pytest.mark.parametrize("layer", ["conv4_x", "conv3_x"])
def test_they_are_the_grad_cam_package_s(resnet, photos, method, layer):
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is a peer; make peers installs it")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind = {"grad_cam": "GradCAM", "grad_cam_plus_plus": "GradCAMPlusPlus", "layer_cam": "LayerCAM"}[method]
    if method == "grad_cam_plus_plus":  # theirs adds 1e-6 to a denominator that small gradients do not exceed
        with torch.no_grad():
            resnet.head[-1].weight *= 1000
    with getattr(package, kind)(model=resnet, target_layers=[getattr(resnet.features, layer)]) as theirs:
        expected = torch.from_numpy(theirs(photos, [ClassifierOutputTarget(int(each)) for each in TARGETS]))
    ours = {"grad_cam": grad_cam, "grad_cam_plus_plus": grad_cam_plus_plus, "layer_cam": layer_cam}[method]
    found = asked(ours, resnet, photos, layer).maps
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    ends = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)  # they scale before they enlarge
    difference = (found - low) / (high - low) - (expected - ends[0]) / (ends[1] - ends[0])
    assert difference.abs().max() < 1e-4


def test_modules_with_auxiliary_classifiers_are_as_before(photos):
    network = build("googlenet", num_classes=4)
    network.train()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    found = asked(grad_cam, network, F.interpolate(photos, (96, 96)), "inception_4e")
    assert found.maps.shape == (3, 96, 96)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())


def test_a_head_of_dense_layers_takes_any_layer(photos):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 4)).eval()
    found = asked(layer_cam, network, photos)
    assert found.layer == "1"
    assert (found.maps >= 0).all()
    assert found.maps.max() > 0
