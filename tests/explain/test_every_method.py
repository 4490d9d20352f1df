"""One contract over every method and ten very different networks: it works or refuses, and leaves no trace."""

import warnings

import numpy as np
import pytest
import torch

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import ModelError
from fovea.explain.attributing import attribute
from fovea.explain.dreaming import DreamingOptions, dream
from fovea.explain.inverting import InvertingOptions, invert
from fovea.explain.maximising import MaximisingOptions, maximise
from fovea.explain.methods import METHODS
from fovea.explain.options import ExplainOptions
from fovea.explain.places import place_of
from fovea.explain.showing_learned import show_weights
from fovea.explain.similarity import similarity
from fovea.explain.spaces import feature_space
from fovea.explain.units import units
from fovea.explain.untouched import untouched
from fovea.runtime.features import features
from fovea.runtime.model import Model
from tests.explain.conftest import state

NETWORKS = {  # the size of image that it is built for, and the methods that refuse, with the reason
    "lenet5": (32, {"cam": "does something else"}),
    "lenet5_1998": (
        32,
        {
            "cam": "does something else|no layer whose maps|has no spatial",
            "guided_backpropagation": "is a rule for ReLU|runs tanh too",
            "deconvnet": "is a rule for ReLU|runs tanh too",
        },
    ),
    "cifar_nin": (32, {}),
    "alexnet_one_tower": (96, {"cam": "does something else"}),
    "googlenet": (64, {}),
    "cifar_resnet20": (32, {"deconvnet": "has no max pooling"}),
    "cifar_densenet_40_12": (32, {"deconvnet": "has no max pooling"}),
    "se_resnet50": (64, {}),
    "cifar_nasnet_a": (16, {"cam": "behind normal17 this network does something else"}),  # a ReLU
    "mobilenet_v2": (64, {"deconvnet": "has no max pooling"}),
    "efficientnet_b0": (64, {"deconvnet": "runs silu too", "guided_backpropagation": "runs silu too"}),
}
QUICK = ExplainOptions(grid=2, samples=2, most_steps=17, batch_size=2)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return request.param, build(request.param, image_size=NETWORKS[request.param][0])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_works_or_refuses_and_the_network_is_as_it_was(network, method):
    name, module = network
    size, refused = NETWORKS[name]
    module.train()
    list(module.modules())[-1].eval()  # a part that its owner froze
    before = state(module)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, module.in_channels), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if method in refused:
            with pytest.raises(ModelError, match=refused[method]):
                attribute(module, images, method=method, options=QUICK)
        else:
            found = attribute(module, images, method=method, options=QUICK)
            assert found.maps.shape == (2, size, size)
            assert np.isfinite(found.maps).all()
            assert METHODS[method].signed or found.maps.min() >= 0
    assert state(module) == before


def looks(model, split):
    """What else shows what a network has learned, each as the command asks for it."""
    layer = places(model)
    pixels = torch.from_numpy(np.stack([split.images[row].transpose(2, 0, 1) for row in range(2)]))
    return {
        "weights": lambda: show_weights(model.network),
        "activations": lambda: features(model, split, stages=[layer], pooled=False)[layer],
        "units": lambda: units(model, split, top=2, channels=(0, 1)),
        "maximise": lambda: maximise(model, targets=[0, 1], options=MaximisingOptions(steps=2)),
        "maximise a unit": lambda: maximise(model, units=[f"{layer}:0"], options=MaximisingOptions(steps=2)),
        "deepdream": lambda: dream(model, pixels, stage=layer, options=DreamingOptions(octaves=2, steps=1)),
        "inversion": lambda: invert(model, pixels, stages=[layer], options=InvertingOptions(steps=2)),
        "pca": lambda: feature_space(model, split, method="pca"),
        "tsne": lambda: feature_space(model, split),
        "similarity": lambda: similarity(model, split, stages=[layer], batch_size=6),
    }


def places(model):
    spec = model.bundle.preprocessing
    with untouched(model.network):
        return place_of(model.network, torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size)).name


def test_every_other_look_works_on_it_and_leaves_it_as_it_was(network):
    name, module = network
    size, _ = NETWORKS[name]
    spec = Preprocessing(image_size=size, resize=size, in_channels=module.in_channels)
    classes = tuple(map(str, range(module.num_classes)))
    model = Model(Bundle(network=module, architecture=None, classes=classes, preprocessing=spec), batch_size=4)
    pixels = np.random.default_rng(1).integers(0, 256, (6, size, size, module.in_channels), dtype=np.uint8)
    split = Split("test", ArrayImages(pixels, "noise"), np.arange(6) % 2, classes)
    module.train()
    before = state(module)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for what, look in looks(model, split).items():
            assert look() is not None
            assert state(module) == before, what
