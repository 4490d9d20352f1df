"""A model's logits are a function of the image alone, through the preprocessing in the bundle."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import fovea
from fovea.bundle import Bundle
from fovea.data.fitted import Fitted
from fovea.data.opening import open_data
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages
from fovea.errors import MachineError, ModelError, UsageError
from fovea.runtime import checkpoint
from fovea.runtime.model import BATCH_SIZE, Model, as_model, batch_of, network_logits


@pytest.fixture(scope="module")
def digits():
    return open_data("digits")


def test_a_loaded_model_gives_the_logits_of_the_run(run, digits):
    loaded = fovea.load(run.folder)
    assert torch.equal(loaded.logits(digits.test.images), run.model.logits(digits.test.images))


def test_logits_are_those_of_the_network_on_normalised_pixels(run, digits):
    spec = run.model.bundle.preprocessing
    pixels = np.stack([spec.fit(digits.test.images[i]) for i in range(5)]).astype(np.float64)
    inputs = (pixels / 255 - spec.mean[0]) / spec.std[0]
    with torch.no_grad():
        expected = run.model.network(torch.from_numpy(inputs).float())
    chosen = ArrayImages(np.stack([digits.test.images[i] for i in range(5)]), "five")
    torch.testing.assert_close(run.model.logits(chosen), expected, rtol=1e-5, atol=1e-4)


def test_logits_agree_whatever_the_company(run, digits):
    together = run.model.logits(digits.test.images)
    alone = [run.model.logits(ArrayImages(digits.test.images[i][None], "one"))[0] for i in (0, 100, BATCH_SIZE + 3)]
    torch.testing.assert_close(torch.stack(alone), together[[0, 100, BATCH_SIZE + 3]], rtol=1e-5, atol=1e-4)


def test_batches_are_cut_at_fixed_boundaries(run, digits):
    sizes = []
    model = Model(run.model.bundle, batch_size=100)
    with model.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        logits = model.logits(digits.test.images)
    assert sizes == [100, 100, 100, 59]
    torch.testing.assert_close(logits, run.model.logits(digits.test.images), rtol=1e-5, atol=1e-4)


def test_an_empty_batch_is_refused(run):
    with pytest.raises(UsageError, match=r"batch_size \(=0\) must be 1 or more"):
        Model(run.model.bundle, batch_size=0)


def test_a_checkpoint_gives_the_weights_that_validation_judged(run, tmp_path):
    loaded = fovea.load(run.folder / "best.safetensors")
    for name, tensor in run.model.network.state_dict().items():
        assert torch.equal(tensor, loaded.network.state_dict()[name]), name
    assert loaded.bundle.metrics == {}
    tensors, _ = checkpoint.read(run.folder / "best.safetensors")
    averages = {f"average.{name}": torch.ones(t.shape) for name, t in loaded.network.state_dict().items()}
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run/best.safetensors").write_bytes(checkpoint.packed(tensors | averages, "{}"))
    averaged = fovea.load(tmp_path / "run/best.safetensors").network.state_dict()
    assert all(torch.equal(tensor, torch.ones_like(tensor)) for tensor in averaged.values())


def test_a_damaged_checkpoint_is_refused(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run/last.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="changed since it was written"):
        fovea.load(path)


def test_a_batch_of_large_images_has_fewer():
    assert [batch_of(size) for size in (8, 32, 64, 128, 224, 299, 600, 4000)] == [256, 256, 256, 64, 32, 16, 8, 8]


def test_predicting_keeps_the_networks_mode_and_makes_no_gradient(run, digits):
    network = run.model.network.train()
    logits = run.model.logits(digits.test.images)
    assert network.training
    network.eval()
    assert not logits.requires_grad
    assert logits.device.type == "cpu"


def test_dropout_is_off_in_a_model():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(16, 2))
    spec = Preprocessing(image_size=4, resize=4, in_channels=1)
    model = Model(Bundle(network=network, architecture=None, classes=("a", "b"), preprocessing=spec))
    images = ArrayImages(np.full((3, 4, 4), 200, np.uint8), "three")
    assert torch.equal(model.logits(images), model.logits(images))


@pytest.mark.parametrize("device", ["warp", "cuda"])
def test_a_device_that_is_not_there_is_a_machine_error(device, run):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(MachineError, match=rf"device \(={device}\) cannot be used: .*; choose another --device"):
        Model(run.model.bundle, device=device)


def test_a_plain_module_receives_pixels_from_0_to_1():
    images = ArrayImages(np.full((1, 4, 4), 51, np.uint8), "one")
    network = nn.Flatten()
    logits = as_model(network, images, tuple(map(str, range(16)))).logits(images)
    torch.testing.assert_close(logits, torch.full((1, 16), 0.2))


def test_a_plain_module_receives_floating_point_images_as_they_are():
    images = ArrayImages(np.full((1, 4, 4), 51, np.float32), "one")
    logits = as_model(nn.Flatten(), images, tuple(map(str, range(16)))).logits(images)
    torch.testing.assert_close(logits, torch.full((1, 16), 51.0))


def test_a_plain_module_needs_square_images_and_as_many_classes_as_logits():
    with pytest.raises(UsageError, match=r"images of 4×5 pixels must be square"):
        as_model(nn.Flatten(), ArrayImages(np.zeros((1, 4, 5), np.uint8), "one"), ("a",))
    with pytest.raises(ModelError, match="gives 10 logits, but there are 2 classes"):
        as_model(fovea.create("lenet5"), ArrayImages(np.zeros((1, 32, 32), np.uint8), "one"), ("a", "b"))


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_count_every_image_exactly_once_and_agree_to_the_bit(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fovea.runtime.model.BATCH_SIZE", 8)
    pixels = torch.randint(0, 256, (29, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ArrayImages(pixels.numpy(), "x")
    spec = Preprocessing(image_size=8, resize=8, in_channels=1)
    fitted = Fitted(images, torch.zeros(29, dtype=torch.int64), spec, None)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    device = torch.device("cpu")
    whole = network_logits(network, fitted, device)
    shares = [network_logits(network, fitted, device, rank=rank, ranks=ranks) for rank in range(ranks)]
    touched = sum((share != 0).any(dim=1).int() for share in shares)
    assert torch.equal(touched, torch.ones(29, dtype=torch.int32))
    assert torch.equal(sum(share.expand(-1, 3) for share in shares), whole)
