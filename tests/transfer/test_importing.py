"""Foreign weights become bundles: by whose names, with which meaning, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import fovea
from fovea.data.sources.imagenet import challenge_classes
from fovea.errors import DataError, ModelError, UsageError
from fovea.runtime.predict import Prediction
from fovea.transfer.importing import import_weights
from fovea.transfer.keys import names_in, tables_of
from fovea.transfer.libraries import of_torchvision
from fovea.transfer.preparations import for_channels, preprocessing, turned_round

SHARED = Path(__file__).parents[3] / "shared/data/weights/mobilenet_v2.fp16.safetensors"
PHOTOS = Path.home() / ".cache/fovea/data/imagenet-100"


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("ant\nbee\nwasp\n")
    return path


def own_file(tmp_path, name="lenet5", **sizes):
    network = fovea.create(name, seed=3, **sizes)
    path = tmp_path / "own.safetensors"
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    safetensors.torch.save_file(tensors, path)
    return network.eval(), path


def test_our_own_names_are_known_with_the_file_s_classes_and_channels(tmp_path, names):
    network, path = own_file(tmp_path, num_classes=3, in_channels=3)
    found = import_weights(path, "lenet5", preprocessing="unit", classes=names)
    assert found.mapped.table.library == "fovea"
    assert found.bundle.classes == ("ant", "bee", "wasp")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(found.bundle.network.eval()(images), network(images))
    assert [each.ours for each in found.mapped.placed] == list(network.state_dict())
    assert found.bundle.provenance["imported"]["from"] == "own.safetensors"


def test_torchvision_s_names_in_a_wrapped_file_of_ranks_give_its_logits(tmp_path, names):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.resnet18(weights=None, num_classes=3).eval()
    path = tmp_path / "theirs.pth"
    torch.save(
        {"state_dict": {f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}, "epoch": 9}, path
    )
    found = import_weights(path, "resnet18", preprocessing="imagenet", classes=names)
    assert (found.mapped.table.library, found.mapped.table.network) == ("torchvision", "resnet18")
    assert any("logits differ from torchvision's by" in note for note in found.notes)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(found.bundle.network.eval()(images), theirs(images), rtol=1e-5, atol=1e-5)
    loaded = fovea.load(found.bundle.save(tmp_path / "bundle"))
    assert loaded.bundle.preprocessing == preprocessing("imagenet", 224)
    assert loaded.bundle.preprocessing.resize == 256


def test_what_does_not_fit_is_named_and_nothing_is_made(tmp_path, names):
    _, path = own_file(tmp_path, num_classes=3)
    tensors = safetensors.torch.load_file(path)
    first = next(iter(tensors))
    for changed, sentence in (
        ({key: tensor for key, tensor in tensors.items() if key != first}, f"{first} is missing"),
        (tensors | {"extra.weight": torch.ones(2)}, "extra.weight has no place in lenet5"),
        (tensors | {first: torch.ones(2, 2)}, f"{first} is (2, 2), lenet5 has"),
    ):
        safetensors.torch.save_file(changed, path)
        with pytest.raises(ModelError) as caught:
            import_weights(path, "lenet5", preprocessing="unit", classes=names)
        assert sentence in str(caught.value)
        assert "by fovea's names" in str(caught.value)


def test_what_a_file_does_not_say_is_asked_for(tmp_path, names):
    _, path = own_file(tmp_path, num_classes=3)
    with pytest.raises(UsageError, match="--as NAME"):
        import_weights(path, preprocessing="unit", classes=names)
    with pytest.raises(UsageError, match="--preprocessing imagenet, tf, caffe or unit"):
        import_weights(path, "lenet5", classes=names)
    with pytest.raises(UsageError, match="does not say what its 3 classes are called"):
        import_weights(path, "lenet5", preprocessing="unit")
    with pytest.raises(UsageError, match=r"unknown preprocessing 'imagnet'.* Did you mean imagenet"):
        import_weights(path, "lenet5", preprocessing="imagnet", classes=names)
    with pytest.raises(DataError, match=r"2 names \(2 different ones\) were given for 3 classes"):
        import_weights(path, "lenet5", preprocessing="unit", classes=["a", "b"])
    with pytest.raises(DataError, match="cannot be read as names of classes"):
        import_weights(path, "lenet5", preprocessing="unit", classes=tmp_path / "none.txt")


def test_a_library_s_network_that_is_none_of_ours_is_refused_before_anything_is_fetched():
    with pytest.raises(UsageError, match=r"timm:resnet19 is none of our networks exactly; .* Did you mean resnet18"):
        import_weights("timm:resnet19")


@pytest.mark.parametrize(("name", "mean"), [("inception_v3", 0.5), ("googlenet", 0.5), ("resnet18", 0.485)])
def test_what_torchvision_s_network_does_to_its_inputs_is_part_of_the_preprocessing(name, mean):
    models = pytest.importorskip("torchvision.models")
    transform = models.get_model_weights(name).DEFAULT.transforms()
    spec = of_torchvision(name, transform)
    assert spec.mean[0] == mean
    if mean == 0.5:
        theirs = getattr(models, name)(weights=None, init_weights=False, transform_input=True, num_classes=2)
        pixels = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
        means, deviations = (torch.tensor(each).view(1, 3, 1, 1) for each in (transform.mean, transform.std))
        expected = theirs._transform_input((pixels / 255 - means) / deviations)
        torch.testing.assert_close(spec.normalise(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_auxiliary_classifiers_come_along_where_the_file_has_them(auxiliary, tmp_path, names):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.googlenet(weights=None, init_weights=False, num_classes=3, aux_logits=auxiliary)
    path = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    found = import_weights(path, "googlenet_torchvision", preprocessing="tf", classes=names)
    assert bool(len(found.bundle.network.auxiliary)) == auxiliary
    assert any("logits differ from torchvision's by" in note for note in found.notes)


def test_a_file_for_grey_images_is_not_compared_with_a_network_for_colour(tmp_path, names):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet18", pretrained=False, num_classes=3, in_chans=1)
    path = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    found = import_weights(path, "resnet18", preprocessing="imagenet", classes=names)
    assert found.bundle.preprocessing.in_channels == 1
    assert not any("differ" in note for note in found.notes)


def test_a_library_that_is_reached_by_no_network_says_so(monkeypatch):
    models = pytest.importorskip("torchvision.models")

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(Exception, match=r"torchvision:resnet18: cannot be had .*is there a network\?"):
        import_weights("torchvision:resnet18")


def test_caffe_s_colours_come_in_our_order(tmp_path, names):
    network, path = own_file(tmp_path, "cifar_resnet20", num_classes=3)
    found = import_weights(path, "cifar_resnet20", preprocessing="caffe", classes=names)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    with torch.inference_mode():
        expected = network(pixels.float().flip(1) - mean)
        ours = found.bundle.network.eval()(found.bundle.preprocessing.normalise(pixels))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("imagenet", -2.1179, 2.64), ("tf", -1.0, 1.0), ("caffe", -123.68, 151.061), ("unit", 0, 1)],
)
def test_conventions_map_black_and_white(name, low, high):
    spec = preprocessing(name, 8)
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8).contiguous()
    found = spec.normalise(ends)
    assert float(found.min()) == pytest.approx(low, abs=1e-3)
    assert float(found.max()) == pytest.approx(high, abs=1e-3)


def test_first_kernels_for_other_channels():
    kernels = torch.randn(4, 3, 5, 5)
    grey = torch.randn(2, 1, 9, 9)
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(conv(grey, for_channels(kernels, 1)), conv(grey.expand(-1, 3, -1, -1), kernels))
    six = for_channels(kernels, 6)
    torch.testing.assert_close(conv(torch.ones(1, 6, 5, 5), six), conv(torch.ones(1, 3, 5, 5), kernels))
    assert for_channels(kernels, 3) is kernels
    assert torch.equal(turned_round(turned_round(kernels)), kernels)


def test_imagenet_has_a_thousand_synsets_in_their_order():
    synsets = list(challenge_classes())
    assert len(synsets) == 1000
    assert synsets == sorted(synsets)
    assert (synsets[0], challenge_classes()[synsets[0]]) == ("n01440764", "tench")
    assert Prediction("x.jpg", "n01440764", {"n01440764": 0.9, "n99999999": 0.1}).line() == (
        "x.jpg  n01440764 tench 90.0%  n99999999 10.0%"
    )


def test_tables_know_whose_a_network_is():
    assert [table.library for table in tables_of("resnet18")] == ["fovea", "torchvision", "timm"]
    assert [table.library for table in tables_of("lenet5")] == ["fovea"]
    assert names_in("torchvision")["resnet50"] == "resnet50_v1_5"


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED.exists() and PHOTOS.exists()), reason="the shared weights or photographs are not here")
@pytest.mark.parametrize(("options", "expected"), [({"padding": "same"}, (0.87, 0.98)), ({}, (0.82, 0.93))])
def test_published_weights_have_their_published_accuracy_with_the_right_padding(options, expected):
    found = import_weights(SHARED, "mobilenet_v2", preprocessing="tf", options=options)
    data = fovea.open_data(PHOTOS, split="1/0/0")
    scores = fovea.evaluate(fovea.Model(found.bundle), data.split("all"))
    assert (scores.top1, scores.top_k) == expected
    assert json.dumps(found.bundle.provenance)  # it can be kept


class TestTheCommand:
    @pytest.fixture
    def fovea(self, tmp_path, monkeypatch, capsys):
        from fovea.commands.main import main

        monkeypatch.chdir(tmp_path)

        def run(*arguments):
            code = main([str(each) for each in arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    def test_a_bundle_is_made_and_predicts(self, fovea, tmp_path, names):
        _, path = own_file(tmp_path, num_classes=3)
        asked = ["import", path, "--as", "lenet5", "--preprocessing", "unit", "--classes", names]
        code, out, err = fovea(*asked, "--mapping")
        assert (code, err) == (0, "")
        assert "tensors" in out
        assert "none left over" in out
        assert "bundle: imported/lenet5" in out
        assert "features.conv1.0.weight  features.conv1.0.weight  6×1×5×5" in out
        code, _, err = fovea(*asked)
        assert code == 2
        assert "imported/lenet5: is there already" in err
        told = json.loads(fovea(*asked, "--out", "other", "--json")[1])
        assert told["bundle"] == "other"
        assert sum(1 for _ in told["tensors"]) == 10
        assert (tmp_path / "other/bundle.json").is_file()

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            ([], 2, "for example: fovea import torchvision:resnet18"),
            (["x.pth", "--as", "resnet19"], 2, "Did you mean resnet18"),
            (["x.pth", "--as", "resnet18", "--preprocessing", "tf"], 4, "there is no such file"),
            (["x.pth", "--as", "resnet18", "--preprocessing", "none"], 2, "preprocessing"),
        ],
    )
    def test_what_cannot_be_is_refused_and_nothing_is_left(self, arguments, code, sentence, fovea, tmp_path):
        found, out, err = fovea("import", *arguments)
        assert (found, out) == (code, "")
        assert sentence in err
        assert not (tmp_path / "imported").exists()
