"""How Keras's files call tensors: LAYER/kernel and the like in our tables, in the files in one of three ways.

Networks of keras.applications that are not ours exactly, and so have no table: ResNet50, 101 and 152 pad their first
pooling on both sides, where the authors' and our resnet50 let it overhang; their second versions pool before the first
normalisation and stride at the end of a stage; InceptionV3 leaves zeros of the padding out of its means, and NASNet
counts them, where ours do the contrary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from fovea.transfer.keys.rules import Rules

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
VARIABLES = {  # of each kind of layer, in the order of Keras 3's files
    "batch_normalization": tuple(NORM.values()),
    "normalization": ("mean", "variance", "count"),
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
}
INPUTS = tuple(f"normalization/{name}" for name in VARIABLES["normalization"])  # a layer in front of the network

# What earlier versions of Keras called what the tables call otherwise.
EARLIER_LAYERS = {"Logits": "predictions", "fc1000": "predictions"}
EARLIER_VARIABLES = {
    "W": "kernel",
    "b": "bias",
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # its name alone was wrong
}

# Ours that look like Keras's, and why its weights would give other logits in them.
DECLINED = {
    **{
        name: "Keras pads the first pooling on both sides, this network lets it overhang to the right, as its authors"
        for name in ("resnet50", "resnet101", "resnet152")
    },
    **{
        name: "Keras strides in a block's first convolution, this network in its second"
        for name in ("resnet50_v1_5", "resnet101_v1_5", "resnet152_v1_5")
    },
    **{
        name: "Keras pools before the first normalisation and strides at the end of a stage"
        for name in ("preact_resnet50", "preact_resnet101", "preact_resnet152")
    },
    "inception_v3": "Keras leaves the padding's zeros out of its mean poolings, this network counts them",
    **{
        name: "Keras counts the padding's zeros in its poolings at stride 2, this network leaves them out"
        for name in ("nasnet_a_large", "nasnet_a_mobile")
    },
}


def norm_rules(ours: str, theirs: str) -> Rules:
    """The rules of one normalisation, by our key and their layer."""
    last = rf"\g<{re.compile(ours).groups + 1}>"
    counted = (rf"{ours}\.(num_batches_tracked)", f"{theirs}/{last}")  # which Keras does not count
    return *((rf"{ours}\.{name}", f"{theirs}/{variable}") for name, variable in NORM.items()), counted


def weight_rules(ours: str, theirs: str) -> Rules:
    """The rules of a convolution or a linear layer, by our key and their layer."""
    return (rf"{ours}\.weight", f"{theirs}/kernel"), (rf"{ours}\.bias", f"{theirs}/bias")


def in_file(names: Iterable[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """The tables' names of a file's tensors, each with its name in the file.

    A file has `LAYER/LAYER/kernel:0` below the names of layers (Keras 1 and 2, and 3 in its old format; Keras 1 has
    `LAYER/LAYER_W_1:0`), `LAYER/kernel` where somebody wrote `variable.path`, or `layers/conv2d_7/vars/0` (Keras 3 and
    its forerunners): the eighth of the convolutions, in the order of the network, and its first variable. What is none
    of these keeps its name.

    Args:
        names: In the file.
        kinds: The table's layers in the network's order, each with the kind that Keras 3 calls it by.
    """
    places = _numbered(kinds)
    found: dict[str, str] = {}
    for name in names:
        numbered = re.fullmatch(r"(?:layers|_layer_checkpoint_dependencies)/(.+)/vars/(\d+)", name)
        called = places.get((numbered[1], int(numbered[2])), name) if numbered else _cleaned(name)
        found[name if called in found else called] = name
    return found


def _numbered(kinds: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """Of a layer's name in Keras 3's files and the number of a variable: what the tables call it."""
    places, met = {}, Counter[str]()
    for layer, kind in kinds.items():
        number = f"_{met[kind]}" if met[kind] else ""
        met[kind] += 1
        for n, variable in enumerate(VARIABLES[kind]):
            places[f"{kind}{number}", n] = f"{layer}/{variable}"
    return places


def _cleaned(name: str) -> str:
    layer, slash, rest = name.partition("/")
    if not slash:
        return name
    variable = re.sub(r":\d+$", "", rest.rpartition("/")[2])
    variable = re.sub(r"_\d+$", "", variable.removeprefix(f"{layer}_"))
    layer = re.sub(r"^normalization_\d+$", "normalization", layer)  # numbered by how many there were before it
    return f"{EARLIER_LAYERS.get(layer, layer)}/{EARLIER_VARIABLES.get(variable, variable)}"
