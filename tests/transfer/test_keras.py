"""Keras's files come in: its names in each layout, its order of axes, its images; without Keras, and with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fovea.architectures.catalogue import build, list_architectures
from fovea.errors import ModelError, UsageError
from fovea.transfer.creating import started
from fovea.transfer.importing import import_weights
from fovea.transfer.keys import names_in, tables_of
from fovea.transfer.keys.changes import flattened
from fovea.transfer.keys.keras import DECLINED
from fovea.transfer.preparations import preprocessing, within

# The layers with weights of five networks of keras.applications 3.15, as Keras lists them.
LAYERS = json.loads((Path(__file__).parent / "keras_layers.json").read_text())
VARIABLES = {
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance", "count"),
}
SNAKE = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "Normalization": "normalization",
}
FIRST = {"kernel": "W", "bias": "b"}  # as Keras 1 had it
TEN = [str(n) for n in range(10)]


def ours(network, **sizes):
    """Our network for a network of Keras, drawn, with the options that make it theirs."""
    name = names_in("keras")[network]
    options = next(table.options for table in tables_of(name) if table.library == "keras")
    made = build(name, num_classes=10, seed=1, **sizes, **options)
    generator = torch.Generator().manual_seed(2)
    for key, tensor in made.state_dict().items():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=generator) if "var" in key or "weight" in key else tensor.normal_(
                0, 0.1, generator=generator
            )
    return name, made


def arrays(network, layers, made):
    """Every layer of Keras with its variables, from our modules in their order: without the tables that are tested."""
    modules = iter([module for module in made.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)])
    found = []
    for each in layers:
        kind, name = each.split()
        if kind == "Normalization":
            values = [np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)]
            found.append((kind, name, [value.astype("float32") for value in values]))
            continue
        module = next(modules)
        weight = module.weight.detach().numpy()
        if kind == "BatchNormalization":
            wider = 1e-8 if network.startswith("DenseNet") else 0
            values = [
                weight,
                module.bias.detach().numpy(),
                module.running_mean.numpy(),
                module.running_var.numpy() - wider,
            ]
        else:
            if name == "fc1":  # 512 maps, here of 2×2
                weight = weight.reshape(-1, 512, 2, 2).transpose(2, 3, 1, 0).reshape(2 * 2 * 512, -1)
            elif name == "conv_preds":
                weight = weight.T[None, None]
            elif kind == "Dense":
                weight = weight.T
            else:
                weight = weight.transpose(2, 3, 0, 1) if kind == "DepthwiseConv2D" else weight.transpose(2, 3, 1, 0)
            values = [weight] + ([] if module.bias is None else [module.bias.detach().numpy()])
        found.append((kind, name, values))
    assert next(modules, None) is None
    return found


def written(path, layout, layers):
    """A file in one of Keras's layouts."""
    names, met = {}, {}
    for kind, name, values in layers:
        number = f"_{met[kind]}" if kind in met else ""
        met[kind] = met.get(kind, 0) + 1
        for n, (variable, value) in enumerate(zip(VARIABLES[kind], values, strict=False)):
            second = f"depthwise_{variable}" if (kind, variable) == ("DepthwiseConv2D", "kernel") else variable
            place = {
                "path": f"{name}/{variable}",
                "legacy": f"model_weights/{name}/{name}/{variable}:0",
                "Keras 2": f"{name}/{name}/{second}:0",
                "Keras 1": f"{name}/{name}_{FIRST.get(variable, variable)}_1:0",
                "Keras 3": f"layers/{SNAKE[kind]}{number}/vars/{n}",
                "forerunner": f"_layer_checkpoint_dependencies/{SNAKE[kind]}{number}/vars/{n}",
            }
            names[place[layout]] = value
    if layout == "path":
        np.savez(path.with_suffix(".npz"), **names)
        return path.with_suffix(".npz")
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, value in names.items():
            file[name] = value
    return path


def same(found, made):
    for key, tensor in found.bundle.network.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(tensor, made.state_dict()[key], rtol=1e-6, atol=1e-8, msg=key)


@pytest.mark.parametrize(
    ("network", "layout"),
    [
        *(("MobileNet", layout) for layout in ("path", "legacy", "Keras 2", "Keras 3", "forerunner")),
        *((network, "Keras 3") for network in ("MobileNetV2", "DenseNet121", "EfficientNetB0")),
        ("EfficientNetB0", "legacy"),
    ],
)
def test_a_file_of_each_layout_has_every_tensor_in_its_place(network, layout, tmp_path):
    name, made = ours(network)
    path = written(tmp_path / "some.weights.h5", layout, arrays(network, LAYERS[network], made))
    found = import_weights(path, name, classes=TEN)
    assert (found.mapped.table.library, found.mapped.table.network) == ("keras", network)
    same(found, made)
    assert found.bundle.network.architecture.options == made.architecture.options
    mode = {"DenseNet121": "imagenet", "EfficientNetB0": "imagenet"}.get(network, "tf")
    assert found.bundle.preprocessing == preprocessing(mode, 224)
    assert any(note.startswith("images as keras's") for note in found.notes)


@pytest.mark.parametrize("layout", ["Keras 1", "Keras 3"])
def test_vgg_s_first_full_layer_is_turned_from_channels_last_and_its_colours_too(layout, tmp_path):
    name, made = ours("VGG16", image_size=64)
    path = written(tmp_path / "vgg.h5", layout, arrays("VGG16", LAYERS["VGG16"], made))
    found = import_weights(path, name, classes=TEN, image_size=64)
    first = made.features.conv1.conv1.weight
    assert torch.equal(found.bundle.network.features.conv1.conv1.weight, first.flip(1))
    first.data.copy_(first.flip(1))
    same(found, made)
    assert found.bundle.preprocessing == preprocessing("caffe", 64)
    placed = {each.ours: each for each in found.mapped.placed}
    assert placed["head.fc6.0.weight"].changed == "from (2048, 4096), transposed from (height, width, channel), out"

    start = started(name, path, sizes={"image_size": 64})  # as training begins with it
    assert torch.equal(start.network.features.conv1.conv1.weight, first)
    assert start.preprocessing == preprocessing("caffe", 64)

    changed = import_weights(path, name, classes=TEN, image_size=64, preprocessing="tf")
    assert changed.bundle.preprocessing == preprocessing("tf", 64)  # what is told wins


def test_a_file_without_the_top_is_partial(tmp_path):
    _, made = ours("VGG16", image_size=64)
    layers = [layer for layer in arrays("VGG16", LAYERS["VGG16"], made) if layer[1].startswith("block")]
    path = written(tmp_path / "notop.weights.h5", "Keras 3", layers)
    with pytest.raises(ModelError, match=r"by keras's names.*fc1/kernel is missing.*--partial"):
        import_weights(path, "vgg16", classes=TEN, image_size=64)
    found = import_weights(path, "vgg16", classes=TEN, image_size=64, partial=True)
    assert found.bundle.provenance["imported"]["partial"].startswith("from head.fc6.0 on 6 tensors")
    assert found.bundle.network.head.output.out_features == 10


@pytest.mark.parametrize(("network", "earlier"), [("MobileNetV2", "Logits"), ("DenseNet121", "fc1000")])
def test_the_last_layer_had_another_name(network, earlier, tmp_path):
    name, made = ours(network)
    layers = [(kind, earlier if n == "predictions" else n, v) for kind, n, v in arrays(network, LAYERS[network], made)]
    same(import_weights(written(tmp_path / "x.h5", "Keras 2", layers), name, classes=TEN), made)


def test_what_does_not_fit_is_named_as_the_file_has_it(tmp_path):
    name, made = ours("MobileNet")
    layers = arrays("MobileNet", LAYERS["MobileNet"], made)
    kind, first, (kernel,) = layers[0]
    layers[0] = kind, first, [kernel[:2]]
    path = written(tmp_path / "x.h5", "Keras 3", layers)
    with pytest.raises(
        ModelError, match=r"layers/conv2d/vars/0 is \(2, 3, 3, 32\), .* has \(32, 3, 3, 3\), transposed"
    ):
        import_weights(path, name, classes=TEN)
    layers[0] = kind, first, [kernel]
    path = written(tmp_path / "y.h5", "legacy", [*layers, ("Dense", "more", [kernel])])
    with pytest.raises(ModelError, match="more/more/kernel:0 has no place in mobilenet_v1_relu6"):
        import_weights(path, name, classes=TEN)


def test_networks_of_keras_that_are_others_are_refused_with_the_reason(tmp_path):
    assert set(DECLINED) <= set(list_architectures())
    path = written(tmp_path / "x.h5", "legacy", [("Conv2D", "conv1_conv", [np.ones((7, 7, 3, 64), "float32")])])
    with pytest.raises(ModelError, match="Keras pads the first pooling on both sides, this network lets it overhang"):
        import_weights(path, "resnet50")


def test_keras_is_not_downloaded_from():
    with pytest.raises(
        UsageError, match=r"not fetched.*VGG16\(\).save_weights.*fovea import VGG16.weights.h5 --as vgg16"
    ):
        import_weights("keras:VGG16")


def test_what_efficientnet_normalises_by_within():
    mean, ones = torch.tensor([0.485, 0.456, 0.406]), torch.ones(3)
    published = within({"normalization/mean": mean, "normalization/variance": torch.tensor([0.229, 0.224, 0.225])}, 224)
    assert published == preprocessing("imagenet", 224)
    adapted = within({"normalization/mean": mean, "normalization/variance": ones / 16}, 224)
    assert adapted.std == (0.25, 0.25, 0.25)
    with pytest.raises(ModelError, match=r"normalization/mean has 3 numbers .* one for each of 1 channels"):
        within({"normalization/mean": mean, "normalization/variance": ones}, 224, in_channels=1)


def test_flattening_goes_both_ways():
    change, theirs = flattened(5), torch.randn(3 * 3 * 5, 7)
    maps = torch.randn(1, 5, 3, 3)
    expected = maps.permute(0, 2, 3, 1).flatten(1) @ theirs
    torch.testing.assert_close(maps.flatten(1) @ change.ours(theirs).T, expected)
    assert torch.equal(change.outward(change.ours(theirs)), theirs)
    assert change.ours(torch.randn(44, 7)) is None


@pytest.mark.slow
@pytest.mark.parametrize("network", names_in("keras"))
def test_logits_are_keras_s(network, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    keras = pytest.importorskip("keras")
    base, _, alpha = network.partition("(alpha=")
    settings = {"alpha": float(alpha.removesuffix(")"))} if alpha else {}
    theirs = getattr(keras.applications, base)(weights=None, classes=10, classifier_activation=None, **settings)
    numbers = np.random.default_rng(0)
    for weight in theirs.weights:
        shape, kind = tuple(weight.shape), weight.path.rpartition("/")[2]
        if kind == "kernel":
            depthwise = "dw" in weight.path or "depthwise" in weight.path
            weight.assign(numbers.normal(0, (2 / np.prod(shape[: 2 if depthwise else -1])) ** 0.5, shape))
        elif "project_bn/gamma" in weight.path:  # smaller, or deep networks make much of every rounding
            weight.assign(numbers.uniform(0.1, 0.3, shape))
        elif kind in ("gamma", "moving_variance"):
            weight.assign(numbers.uniform(0.8, 1.2, shape))
        elif kind in ("beta", "bias", "moving_mean"):
            weight.assign(numbers.normal(0, 0.1, shape))
    family = next(
        module
        for start, module in (
            ("VGG16", keras.applications.vgg16),
            ("VGG19", keras.applications.vgg19),
            ("MobileNetV2", keras.applications.mobilenet_v2),
            ("MobileNet", keras.applications.mobilenet),
            ("DenseNet", keras.applications.densenet),
            ("EfficientNet", keras.applications.efficientnet),
        )
        if network.startswith(start)
    )
    pixels = numbers.integers(0, 256, (1, *theirs.input_shape[1:]), dtype=np.uint8)
    prepared = family.preprocess_input(pixels.astype("float32"))
    expected = torch.from_numpy(keras.ops.convert_to_numpy(theirs(prepared, training=False)))
    theirs.save_weights(tmp_path / "new.weights.h5")
    theirs.save(tmp_path / "old.h5")
    np.savez(tmp_path / "paths.npz", **{weight.path: keras.ops.convert_to_numpy(weight) for weight in theirs.weights})
    for file in ("new.weights.h5", "old.h5", "paths.npz"):
        found = import_weights(tmp_path / file, names_in("keras")[network], classes=TEN).bundle
        with torch.inference_mode():
            images = found.preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            logits = found.network.eval()(images)
        difference = float((logits - expected).abs().max() / expected.abs().max())
        record_property(file, difference)
        assert difference <= 1e-5, file
