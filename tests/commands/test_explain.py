"""The command explain: pages, arrays and one sentence for what cannot be."""

import io
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from fovea.explain.options import ATTRIBUTIONS


@pytest.fixture
def digit(tmp_path):
    from sklearn.datasets import load_digits

    Image.fromarray((load_digits().images[3] * 15).astype(np.uint8)).resize((40, 40)).save(tmp_path / "three.png")
    return tmp_path / "three.png"


def test_an_image_gives_a_page_pictures_arrays_and_a_line(fovea, digits_run, digit, tmp_path):
    code, out, err = fovea("explain", digits_run, digit)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Grad-CAM of ")
    assert lines[1].startswith(f"  {digit}: ")
    assert lines[2].startswith("Grad-CAM: deletion 0.")
    assert lines[-1] == "page: explained/explain.html"
    page = (tmp_path / "explained/explain.html").read_text()
    assert "three.png" in page
    assert page.count("data:image/png") == 2
    assert (tmp_path / "explained/picture_01.png").read_bytes().startswith(b"\x89PNG")
    arrays = np.load(io.BytesIO((tmp_path / "explained/arrays.npz").read_bytes()))
    assert arrays["grad_cam_maps"].shape == (1, 16, 16)
    assert arrays["images"].shape == (1, 16, 16, 1)


def test_the_same_command_twice_gives_the_same_page_and_arrays(fovea, digits_run, digit, tmp_path):
    asked = ("explain", digits_run, digit, "--compare", "smoothgrad,occlusion", "--out")
    fovea(*asked, "one")
    fovea(*asked, "two")
    for name in ("explain.html", "picture_01.png", "picture_02.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_every_attribution_side_by_side_from_the_run_s_own_data(fovea, digits_run):
    works = [name for name in ATTRIBUTIONS if name != "cam"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, _ = fovea(
            "explain", digits_run, "--compare", *works, "--limit", 2, "--grid", 4, "--json", "--randomise"
        )
    assert code == 0
    told = json.loads(out)
    assert [each["path"].split("/")[0] for each in told["images"]] == ["digits", "digits"]
    assert list(told["images"][0]["methods"]) == works
    assert told["images"][0]["methods"]["integrated_gradients"]["gap"] <= 0.01


def test_a_unit_is_explained_without_curves_of_a_class(fovea, digits_run, digit):
    code, out, _ = fovea("explain", digits_run, digit, "--method", "deconvnet", "--target", "conv2:3", "--json")
    assert code == 0
    image = json.loads(out)["images"][0]
    assert image["target"] == "unit conv2:3"
    assert image["probability"] is None
    assert image["methods"] == {"deconvnet": {"layer": None, "gap": None}}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name a model and an image, for example: fovea explain runs/latest photo.jpg"),
        (("RUN", "nosuch.png"), 3, "nosuch.png: there is no such file or folder"),
        (("RUN", "IMAGE", "--method", "gradcm"), 2, "no method is called gradcm"),
        (("RUN", "IMAGE", "--method", "lrp"), 2, "method (=lrp) is not offered"),
        (("RUN", "IMAGE", "--method", "cam"), 4, "cam is exact where a linear layer reads the mean"),
        (("RUN", "IMAGE", "--target", "12"), 2, "target (=12) must be 0 to 9"),
        (("RUN", "IMAGE", "--layer", "conv9"), 2, "no stage is called conv9"),
        (("RUN", "IMAGE", "--layer", "head"), 2, "head names what enters the output layer"),
        (("RUN", "IMAGE", "--data", "digits"), 2, "name images or --data, not both"),
        (("RUN", "IMAGE", "--method", "weights"), 2, "weights looks at no single image; leave"),
        (("RUN", "--compare", "grad_cam,tsne"), 2, "tsne does not"),
        (("RUN", "IMAGE", "--with", "RUN"), 2, "--with is for similarity; grad_cam would ignore it"),
        (("RUN", "IMAGE", "--units", "3"), 2, "--units is for maximise, units, weights; grad_cam would ignore it"),
        (
            ("RUN", "IMAGE", "--method", "saliency", "--target", "conv1:0", "--randomise"),
            2,
            "--randomise tests explanations of classes",
        ),
        (("RUN", "--limit", "0"), 2, "limit (=0) must be 1 or more"),
        (("nosuch", "IMAGE"), 2, "'nosuch' is neither a run folder"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(fovea, digits_run, digit, tmp_path, arguments, code, words):
    given = [{"RUN": digits_run, "IMAGE": digit}.get(each, each) for each in arguments]
    found, out, err = fovea("explain", *given)
    assert (found, out) == (code, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "explained").exists()
