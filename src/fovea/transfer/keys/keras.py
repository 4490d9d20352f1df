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

_NORM = "norm:"  # marks the tensors of normalisations, of which a rule cannot know Keras's words
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
    **dict.fromkeys(
        ("resnet50", "resnet101", "resnet152"),
        "Keras pads the first pooling on both sides, this network lets it overhang to the right, as its authors",
    ),
    **dict.fromkeys(
        ("resnet50_v1_5", "resnet101_v1_5", "resnet152_v1_5"),
        "Keras strides in a block's first convolution, this network in its second",
    ),
    **dict.fromkeys(
        ("preact_resnet50", "preact_resnet101", "preact_resnet152"),
        "Keras pools before the first normalisation and strides at the end of a stage",
    ),
    "inception_v3": "Keras leaves the padding's zeros out of its mean poolings, this network counts them",
    **dict.fromkeys(
        ("nasnet_a_large", "nasnet_a_mobile"),
        "Keras counts the padding's zeros in its poolings at stride 2, this network leaves them out",
    ),
}


def norm_rules(ours: str, theirs: str) -> Rules:
    """The rule of one normalisation, by our key and their layer."""
    return ((rf"{ours}\.(\w+)", rf"{theirs}/{_NORM}\g<{re.compile(ours).groups + 1}>"),)


def weight_rules(ours: str, theirs: str) -> Rules:
    """The rule of a convolution or a linear layer, by our key and their layer."""
    return ((rf"{ours}\.(weight|bias)", rf"{theirs}/\g<{re.compile(ours).groups + 1}>"),)


def variable(name: str) -> str:
    """What a rule gives, with Keras's word for the tensor in place of ours."""
    layer, _, tensor = name.partition("/")
    if tensor.startswith(_NORM):
        tensor = tensor.removeprefix(_NORM)
        return f"{layer}/{NORM.get(tensor, tensor)}"  # how often it was trained is not counted there
    return f"{layer}/kernel" if tensor == "weight" else name


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
