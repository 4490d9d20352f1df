"""One call for any method, on models, modules, files and arrays."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.errors import UsageError
from fovea.explain.attributing import attribute
from fovea.explain.methods import METHODS, attribution_name, explainer
from fovea.explain.options import ATTRIBUTIONS, ExplainOptions, method_name
from fovea.explain.subject import subject_of
from fovea.runtime.model import Model
from tests.explain.conftest import state

SPEC = Preprocessing(image_size=32, resize=32, in_channels=1, mean=(0.5,), std=(0.25,))


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = build("lenet5")
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return Model(Bundle(network=network, architecture=describe(network), classes=classes, preprocessing=SPEC))


@pytest.fixture
def files(tmp_path):
    for name, shape in (("grey.png", (40, 60)), ("colour.png", (33, 20, 3)), ("dot.png", (1, 1))):
        pixels = np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return [tmp_path / name for name in ("grey.png", "colour.png", "dot.png")]


def test_files_of_any_size_and_colour_are_explained_at_the_network_s_size(model, files):
    found = attribute(model, files)
    assert found.method == "grad_cam"
    assert found.layer == "pool2"
    assert found.maps.shape == (3, 32, 32)
    assert found.pictures.shape == (3, 32, 32, 1)
    assert [name.rpartition("/")[2] for name in found.names] == ["grey.png", "colour.png", "dot.png"]
    predicted = model.network(subject_of(model, files).images).softmax(1).max(1)
    assert found.targets == tuple(model.classes[place] for place in predicted.indices)
    np.testing.assert_allclose(found.probabilities, predicted.values.detach(), rtol=1e-5)
    assert f"{files[0]}: {found.targets[0]}, {100 * found.probabilities[0]:.1f} %; most at row" in str(found)


def test_a_class_is_named_by_name_or_index_and_a_unit_by_stage_and_channel(model, files):
    by_name = attribute(model, files, method="saliency", target="seven")
    np.testing.assert_array_equal(by_name.maps, attribute(model, files, method="saliency", target=7).maps)
    assert by_name.told(0) == f"seven, {100 * by_name.probabilities[0]:.1f} %"
    unit = attribute(model, files, method="saliency", target="conv2:3")
    assert unit.targets == ("unit conv2:3",) * 3
    assert np.isnan(unit.probabilities).all()
    assert unit.told(1) == "unit conv2:3"
    with pytest.raises(UsageError, match=r"unit \(=16\) of conv2 must be 0 to 15"):
        attribute(model, files, target="conv2:16")
    with pytest.raises(UsageError, match=r"target \(=sevn\) is no class.*Did you mean seven"):
        attribute(model, files, target="sevn")


def test_black_is_the_baseline_of_integrated_gradients_whatever_the_preprocessing(model, files):
    found = attribute(model, files[:1], method="integrated-gradients", options=ExplainOptions(most_steps=4096))
    with torch.no_grad():
        shown = subject_of(model, files[:1]).images
        rise = model.network(shown) - model.network(torch.full((1, 1, 32, 32), -2.0))
    place = model.classes.index(found.targets[0])
    np.testing.assert_allclose(found.maps.sum(), rise[0, place], rtol=0.0101)
    assert found.gap <= 0.01
    assert "; adds up but for " in str(found)


def test_a_module_is_explained_without_a_bundle_and_stays_its_owner_s(small):
    small.train()
    small.norm.eval()
    before = state(small)
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    found = attribute(small, images, method="guided_backpropagation")
    assert found.detail.shape == (2, 3, 12, 12)
    assert set(found.targets) <= {"0", "1", "2", "3"}
    assert state(small) == before


def test_a_module_that_says_nothing_of_its_classes_has_them_by_number():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    found = attribute(network, images, target=6)
    assert found.targets == ("6", "6")
    assert found.layer == "1"


def test_what_judges_an_explanation_asks_the_very_question(model, files):
    """The black image among it, from which integrated gradients begin."""
    subject = subject_of(model, files[:1])
    question = subject.question(options=ExplainOptions(most_steps=17))
    maps = explainer("integrated_gradients", question)(model.network, subject.images, question.aim)
    found = attribute(model, files[:1], method="integrated_gradients", options=ExplainOptions(most_steps=17))
    np.testing.assert_allclose(maps.detach(), found.maps, rtol=1e-4, atol=1e-6)


def test_the_batch_changes_rounding_alone(model, files):
    for method in ("layer_cam", "smoothgrad", "integrated_gradients"):
        one, all_ = (
            attribute(model, files, method=method, options=ExplainOptions(batch_size=size, samples=5)).maps
            for size in (1, 16)
        )
        np.testing.assert_allclose(one, all_, rtol=1e-3, atol=1e-4 * np.abs(all_).max())


def test_methods_are_named_as_people_type_them():
    assert method_name("Grad-CAM++") == "grad_cam_plus_plus"
    assert method_name("t-SNE") == "tsne"
    assert list(METHODS) == list(ATTRIBUTIONS)
    with pytest.raises(UsageError, match=r"no method is called gradcm; .* Did you mean grad_cam"):
        attribution_name("gradcm")
    with pytest.raises(UsageError, match=r"method \(=LRP\) is not offered: layer-wise relevance propagation"):
        attribution_name("LRP")
    with pytest.raises(UsageError, match="tsne says nothing of single pixels"):
        attribution_name("tsne")


def test_a_method_as_a_function_gives_the_same_maps(model, files):
    found = attribute(model, files, method="occlusion", options=ExplainOptions(grid=4))
    subject = subject_of(model, files)
    targets = torch.tensor([model.classes.index(each) for each in found.targets])
    like = subject.question(options=ExplainOptions(grid=4))
    maps = explainer("occlusion", like)(model.network, subject.images, targets)
    np.testing.assert_allclose(maps.detach(), found.maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"grid": 0}, r"grid \(=0\) must be 1 or more"),
        ({"completeness": 1.0}, r"completeness \(=1.0\) must be above 0 and below 1"),
        ({"most_steps": 16}, r"most_steps \(=16\) must be 17 or more"),
        ({"noise": 0.0}, r"noise \(=0.0\) must be above 0"),
    ],
)
def test_options_out_of_range_are_refused(option, words):
    with pytest.raises(UsageError, match=words):
        ExplainOptions(**option)
