"""Parameters and multiply-adds against those of fvcore, torchinfo and torch's own counter, to the last one.

Of what fvcore calls flops the comparable ones are those of convolutions and matrix products. Where it leaves some out,
or adds some, the table below has the exact number and the reason.
"""

import math
import warnings
from contextlib import contextmanager

import jaxtyping
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fovea.architectures.catalogue import build, facts, list_architectures
from fovea.cost.count import parameters
from fovea.cost.recorder import Recorder
from fovea.cost.rows import rows_of
from fovea.cost.running import forward_on_meta, image_batch, without_fast_paths
from fovea.cost.step import Setting, training_step
from fovea.cost.summing import total

COMPARABLE = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum")  # fvcore's names
ATTENTION = "fvcore knows no scaled_dot_product_attention: the two products of each attention are missing"
SAME = "fvcore knows no _convolution_mode, which padding='same' becomes: 32 depthwise convolutions are missing"
ROUNDED = "fvcore reads the cost of an einsum from NumPy's printed account, which has four digits"
RECURRENT = "fvcore knows no lstm: the products of the 36 recurrent layers are missing"

# Each network of theirs: the images' side, and fvcore's count less ours with the reason.
OTHERS = {
    "torchvision": {
        "alexnet": 224,
        "vgg11_bn": 224,
        "googlenet": 224,
        "inception_v3": 299,
        "resnet18": 224,
        "resnext50_32x4d": 224,
        "wide_resnet50_2": 224,
        "densenet121": 224,
        "squeezenet1_1": 224,
        "mobilenet_v2": 224,
        "mobilenet_v3_small": 224,
        "mobilenet_v3_large": 224,
        "mnasnet1_0": 224,
        "shufflenet_v2_x1_0": 224,
        "efficientnet_b0": 224,
        "efficientnet_v2_s": 384,
        "regnet_x_800mf": 224,
        "regnet_y_400mf": 224,
        "convnext_tiny": 224,
        "swin_t": 224,
        "swin_v2_t": 256,
        "vit_b_32": (224, -46_080_000, ATTENTION),
        "maxvit_t": (224, 1_072, ROUNDED),
    },
    "timm": {
        "deit_tiny_patch16_224": (224, -178_831_872, ATTENTION),
        "vit_small_patch16_224": (224, -357_663_744, ATTENTION),
        "cait_xxs24_224": (224, -151_296, ATTENTION),
        "pit_ti_224": (224, -201_153_024, ATTENTION),
        "xcit_nano_12_p16_224": (224, -100_864, ATTENTION),
        "twins_svt_small": (224, -118_013_952, ATTENTION),
        "mobilevit_xxs": (256, -78_184_448, ATTENTION),
        "caformer_s18": (224, -228_652_032, ATTENTION),
        "crossvit_tiny_240": (240, -271_453_248, ATTENTION),
        "volo_d1_224": (224, -413_048_832, ATTENTION),
        "mvitv2_tiny": (224, -16, ROUNDED),
        "convmixer_768_32": (224, -1_233_125_376, SAME),
        "sequencer2d_s": (224, -3_397_386_240, RECURRENT),
        "swin_tiny_patch4_window7_224": 224,
        "convnextv2_atto": 224,
        "mixer_s16_224": 224,
        "gmlp_s16_224": 224,
        "resmlp_12_224": 224,
        "poolformer_s12": 224,
        "tf_efficientnetv2_b0": 224,
        "regnety_008": 224,
        "ghostnet_100": 224,
        "mobilenetv4_conv_small": 224,
        "repvgg_a0": 224,
        "resnest14d": 224,
        "dpn68": 224,
        "xception41": 299,
        "inception_resnet_v2": 299,
        "hrnet_w18_small": 224,
        "dla34": 224,
        "vovnet39a": 224,
        "nfnet_l0": 224,
        "botnet26t_256": 256,
        "halonet26t": 256,
        "levit_128s": 224,
        "edgenext_xx_small": 256,
        "efficientformer_l1": 224,
        "fastvit_t8": 256,
        "inception_next_tiny": 224,
    },
}
# Layers that count themselves: what the rows say less what torch runs, with the reason.
OWN = {"lenet5_1998": (-90_000, "C3 is stored as a full convolution, of which each map reads some maps alone")}
# What torchinfo counts less, with the reason.
UNNAMED = {"lenet5_1998": (-22, "torchinfo counts weights and biases alone: the subsamplings' gains are missing")}
QUICK = {"lenet5", "resnet18", "mobilenet_v2", "nasnet_a_mobile", "densenet121", "googlenet", "deit_tiny_patch16_224"}


def weighed(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def other(library, name):
    """Their network on the meta device, or where it cannot be built there, brought there; and its images' side."""
    pytest.importorskip(library)
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}

    def made():
        if library == "timm":
            import timm

            return timm.create_model(name)
        import torchvision

        return torchvision.models.get_model(name, weights=None, **settings)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return made()
        except NotImplementedError:
            return made().to("meta")


def ours(network, images):
    """Parameters, multiply-adds of what ran, and those of the rows."""
    recorder = Recorder()
    forward_on_meta(network, images, recorder)
    assert not {operation.name for operation in recorder.trace.operations if operation.kind == "unknown"}
    counted = [operation for operation in recorder.trace.operations if operation.macs]
    assert {operation.kind for operation in counted} <= {"convolution", "matrix product"}
    rows = rows_of(recorder.trace, network)
    return total(rows, "parameters"), sum(operation.macs for operation in counted), rows


def torchs(network, images):
    """Half of the FLOPs that torch's own counter finds."""
    with without_fast_paths(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() // 2


@contextmanager
def unchecked():
    """While fvcore traces, sizes are tensors: what checks the shapes in our signatures must look away."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def fvcores(network, images):
    """Parameters, and the multiply-adds of what is comparable; fvcore traces with numbers, here zeros."""
    nn = pytest.importorskip("fvcore.nn")
    network = network.to_empty(device="cpu")
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.zero_()
    analysis = nn.FlopCountAnalysis(network, torch.zeros(images.shape))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with warnings.catch_warnings(), without_fast_paths(), unchecked():
        warnings.simplefilter("ignore")
        counts = analysis.by_operator()
    return nn.parameter_count(network)[""], int(sum(counts[name] for name in COMPARABLE if name in counts))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", weighed(list_architectures()))
def test_our_networks_cost_what_three_peers_count(name):
    torchinfo = pytest.importorskip("torchinfo")
    pytest.importorskip("fvcore")
    known = facts(name)
    with torch.device("meta"):
        network = build(name).eval().requires_grad_(False)
    images = image_batch(known.in_channels, known.image_size)
    learnable, ran, rows = ours(network, images)
    assert total(rows, "macs") - ran == OWN.get(name, (0, ""))[0]
    assert ran == torchs(network, images)
    summary = torchinfo.summary(network, input_data=images, verbose=0, device="meta", mode="eval")
    assert summary.total_params == learnable == sum(parameter.numel() for parameter in network.parameters())
    assert summary.total_mult_adds == by_torchinfos_rule(rows) + UNNAMED.get(name, (0, ""))[0]
    assert fvcores(network, images) == (learnable, ran)


def by_torchinfos_rule(rows):
    """As torchinfo counts: a bias costs an addition for each place, other learnable numbers one each."""
    added = 0
    for row in rows:
        if row.runs:
            convolution = row.work == "convolution"
            added += row.macs + row.biases * math.prod(row.shape[1:]) if convolution else row.parameters
    return added


@pytest.mark.parametrize(
    ("library", "name"),
    [
        pytest.param(library, name, marks=[] if name in QUICK else [pytest.mark.slow])
        for library, networks in OTHERS.items()
        for name in networks
    ],
)
def test_other_networks_cost_what_peers_count(library, name):
    pytest.importorskip("fvcore")
    known = OTHERS[library][name]
    side, difference, _reason = known if isinstance(known, tuple) else (known, 0, "")
    network = other(library, name).eval()
    trainable = parameters(network)
    images = image_batch(3, side)
    network.requires_grad_(False)
    learnable, ran, rows = ours(network, images)
    assert total(rows, "macs") == ran == torchs(network, images)
    assert fvcores(network, images) == (learnable, ran + difference)
    assert learnable == trainable


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in ("googlenet", "vgg11"))]
)
def test_the_backward_pass_costs_what_torch_counts(name):
    """Without groups; with them torch counts too many, see test_operations.py."""
    with torch.device("meta"):
        network = build(name)
    size = facts(name).image_size
    step = training_step(network, Setting(image_size=size, batch_size=2))
    with FlopCounterMode(display=False) as counter:
        network.train()(image_batch(3, size, 2)).sum().backward()
    assert sum(operation.macs for operation in step.trace.operations) == counter.get_total_flops() // 2


class Features(torch.nn.Module):
    """The map before the head of somebody else's network."""

    def __init__(self, network, features):
        super().__init__()
        self.network, self.features = network, features

    def forward(self, images):
        return self.features(self.network, images)


# Size, stride and start of the last map, alike along both axes; "dilated" strides twice less, as for segmentation.
FIELDS = {
    "dilated resnet50": (427, 8, -213),
    "googlenet": (379, 32, -167),
    "inception_v3": (1311, 32, -618),
    "densenet121": (2071, 32, -1021),
    "mobilenet_v2": (491, 32, -245),
    "mnasnet1_0": (843, 32, -421),
    "shufflenet_v2_x1_0": (527, 32, -263),
    "regnet_x_800mf": (543, 32, -271),
    "xception41": (1147, 32, -573),
    "hrnet_w18_small": (583, 32, -291),
    "dla34": (623, 32, -311),
    "inception_v4": (2071, 32, -998),
}


LAST = {
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "shufflenet_v2_x1_0": "conv5",
    "mnasnet1_0": "layers",
    "regnet_x_800mf": "trunk_output",
}


def features_of(name):
    torchvision, timm = pytest.importorskip("torchvision"), pytest.importorskip("timm")
    if name == "dilated resnet50":
        network = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None).backbone
        return Features(network, lambda network, images: network(images)["out"])
    if hasattr(torchvision.models, name):
        settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        network = getattr(torchvision.models, name)(weights=None, **settings)
        last = LAST.get(name, "features")
        found = torchvision.models.feature_extraction.create_feature_extractor(network, {last: "out"})
        return Features(found, lambda network, images: network(images)["out"])
    return Features(timm.create_model(name), lambda network, images: network.forward_features(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_of_other_networks_are_what_their_gradients_reach(name, clear, followed, measured):
    network = clear(features_of(name).eval())
    for axis in (2, 3):
        field, _ = followed(network, (1, 3, 512, 512))
        assert field.axes[axis - 2] == FIELDS[name]
        size, stride, _ = field.axes[axis - 2]
        shape = [1, 3, 96, 96]
        shape[axis] = int(size + 8 * stride) // 32 * 32 + 32
        found, sides = followed(network, tuple(shape))
        first = found.axes[axis - 2].start + sides[axis] // 2 * stride
        assert found.axes[axis - 2] == field.axes[axis - 2]
        assert first >= 0
        assert first + size <= shape[axis]
        assert measured(network, tuple(shape), axis) == (first, first + size - 1)


def test_many_networks_are_compared():
    assert sum(len(networks) for networks in OTHERS.values()) >= 60
    assert len(list_architectures()) >= 100
