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


def test_pictures_of_an_earlier_page_do_not_stay_in_the_folder_and_other_files_do(fovea, digits_run, tmp_path):
    fovea("explain", digits_run, "--limit", 3, "--no-curves")
    (tmp_path / "explained/picture_mine.png").write_bytes(b"mine")
    assert len(list((tmp_path / "explained").glob("picture_0*.png"))) == 3
    fovea("explain", digits_run, "--limit", 1, "--no-curves")
    assert sorted(each.name for each in (tmp_path / "explained").glob("*.png")) == [
        "picture_01.png",
        "picture_mine.png",
    ]


def test_every_attribution_side_by_side_from_the_run_s_own_data(fovea, digits_run):
    works = [name for name in ATTRIBUTIONS if name != "cam"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, _ = fovea(
            "explain",
            digits_run,
            "--compare",
            *works,
            "--limit",
            6,
            "--grid",
            4,
            "--json",
            "--randomise",
            "--mosaics",
            3,
        )
    assert code == 0
    told = json.loads(out)
    assert [each["path"].split("/")[0] for each in told["images"]] == ["digits"] * 6
    assert list(told["images"][0]["methods"]) == works
    assert told["images"][0]["methods"]["integrated_gradients"]["gap"] <= 0.01
    assert set(told["randomised"]["Grad-CAM"]) == {"head", "conv1", "conv2"}
    assert len(told["pointing"]) == len(works)
    assert all(each["mosaics"] == 3 for each in told["pointing"].values())


@pytest.mark.parametrize(
    ("method", "more", "line", "arrays"),
    [
        ("weights", (), "features.conv1.0: 6 filters of 5×5, 1 channel", {"weights": (6, 1, 5, 5)}),
        ("weights", ("--layer", "conv2", "--units", 3, "--steps", 2), "units of conv2", {"history": (2, 1)}),
        ("activations", ("--layer", "conv1", "--limit", 2), "conv1: 6 maps of 12×12", {"maps": (2, 6, 12, 12)}),
        ("units", ("--layer", "conv1", "--units", 4), "conv1, of 12 images; a unit sees 5×5 pixels", {}),
        ("maximise", ("--steps", 2), "images that excite classes most", {"pictures": (10, 16, 16, 1)}),
        ("maximise", ("--steps", 2, "--target", "3"), "images that excite classes most", {"history": (2, 1)}),
        ("maximise", ("--steps", 2, "--target", "conv2:3"), "unit conv2:3", {"history": (2, 1)}),
        ("deepdream", ("--steps", 1, "--layer", "conv2", "--limit", 2), "conv2: mean square", {}),
        ("inversion", ("--steps", 2, "--limit", 2), "pool2: the representation is off", {"errors": (4, 2)}),
        ("pca", (), "of head, 12 images", {"places": (12, 2)}),
        ("t-sne", (), "t-SNE of head, 12 images", {"places": (12, 2)}),
        ("similarity", ("--with", "RUN"), "linear CKA of 12 images", {"matrix": (4, 4)}),
    ],
)
def test_what_was_learned_becomes_a_page_with_its_arrays(fovea, digits_run, tmp_path, method, more, line, arrays):
    more = [digits_run if each == "RUN" else each for each in more]
    limit = () if "--limit" in more or method in ("weights", "maximise") else ("--limit", 12)
    code, out, _ = fovea("explain", digits_run, "--method", method, *limit, *more)
    assert code == 0
    assert line in out
    assert "data:image/png" in (tmp_path / "explained/explain.html").read_text()
    kept = np.load(io.BytesIO((tmp_path / "explained/arrays.npz").read_bytes()))
    assert {name: kept[name].shape for name in arrays} == arrays


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
        (("RUN", "IMAGE", "--data", "digits"), 2, "name images or --data (with --split, --limit), not both"),
        (("RUN", "IMAGE", "--method", "weights"), 2, "weights looks at no single image; leave"),
        (("RUN", "--compare", "grad_cam,tsne"), 2, "tsne does not"),
        (("RUN", "IMAGE", "--with", "RUN"), 2, "--with is for similarity; grad_cam would ignore it"),
        (("RUN", "IMAGE", "--units", "3"), 2, "--units is for maximise, units, weights; grad_cam would ignore it"),
        (
            ("RUN", "IMAGE", "--method", "saliency", "--target", "conv1:0", "--randomise"),
            2,
            "--randomise and --mosaics test explanations of classes",
        ),
        (("RUN", "IMAGE", "--method", "saliency", "--layer", "conv2"), 2, "saliency would ignore it"),
        (("RUN", "IMAGE", "--limit", "1"), 2, "name images or --data (with --split, --limit), not both"),
        (("RUN", "--method", "maximise", "--target", "3", "--layer", "conv1"), 2, "give one of the two"),
        (("RUN", "--method", "tsne", "--target", "3"), 2, "--target is for "),
        (("RUN", "--method", "weights", "--data", "digits"), 2, "--data (--split, --limit) is for "),
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
