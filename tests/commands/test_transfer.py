"""fovea transfer, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drawn = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 10)):
        for place, name in enumerate(("dark", "light")):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (drawn.integers(0, 100, (40, 36, 3)) + 120 * place).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = build("cifar_resnet20", num_classes=10, seed=0)
    spec = Preprocessing(image_size=32, resize=36, in_channels=3)
    names = tuple(map(str, range(10)))
    bundle = Bundle(network=network, architecture=describe(network), classes=names, preprocessing=spec)
    return bundle.save(tmp_path / "source")


def test_a_folder_becomes_a_table_and_a_bundle_that_predicts(fovea, folder, weights, tmp_path):
    out = tmp_path / "out"
    arguments = ("transfer", str(folder), "--from", str(weights), "--ways", "probe,svm", "--out", str(out))
    code, said, err = fovea(*arguments)
    assert code == 0, err
    assert "judged on validation: 20 images, which chose nothing" in said
    assert f"bundle   {out / 'bundle'}" in said
    assert "probe: left out" in err
    image = next((folder / "val" / "light").iterdir())
    code, said, err = fovea("predict", str(out), str(image))
    assert code == 0, err
    assert " light " in said
    code, said, err = fovea(*arguments, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(said)["judged_on"] == {"split": "validation", "images": 20}


def test_what_is_missing_or_wrong_is_one_sentence(fovea, folder, weights, tmp_path):
    code, out, err = fovea("transfer", str(folder))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--from" in err
    code, _, err = fovea("transfer", str(folder), "--from", str(weights), "--ways", "probe:nowhere")
    assert code == 2
    assert "no stage is called nowhere" in err
    full = tmp_path / "full"
    full.mkdir()
    (full / "thing").write_text("x")
    code, _, err = fovea("transfer", str(folder), "--from", str(weights), "--ways", "probe", "--out", str(full))
    assert code == 2
    assert "holds other things" in err
    assert [path.name for path in full.iterdir()] == ["thing"]
