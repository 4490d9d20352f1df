"""One contract over every method and ten very different networks: it works or refuses, and leaves no trace."""

import warnings

import numpy as np
import pytest
import torch

from fovea.architectures.catalogue import build
from fovea.errors import ModelError
from fovea.explain.attributing import attribute
from fovea.explain.methods import METHODS
from fovea.explain.options import ExplainOptions
from tests.explain.conftest import state

NETWORKS = {  # the size of image to try, and the methods that refuse, with the reason
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
    "alexnet_one_tower": (224, {"cam": "does something else"}),
    "googlenet": (64, {}),
    "cifar_resnet20": (32, {"deconvnet": "has no max pooling"}),
    "cifar_densenet_40_12": (32, {"deconvnet": "has no max pooling"}),
    "se_resnet50": (64, {}),
    "cifar_nasnet_a": (32, {"cam": "behind normal17 this network does something else"}),  # a ReLU
    "mobilenet_v2": (64, {"deconvnet": "has no max pooling"}),
    "efficientnet_b0": (64, {"deconvnet": "runs silu too", "guided_backpropagation": "runs silu too"}),
}
QUICK = ExplainOptions(grid=2, samples=2, most_steps=17, batch_size=2)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return request.param, build(request.param)


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
