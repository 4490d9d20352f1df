"""One way of a file's pixels: into training, out of a resumed run, through a saved bundle, always the same numbers."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image

import fovea
from fovea.data.augmentation.presets import PRESETS
from fovea.data.batch import Batch
from fovea.data.loader import TrainingBatches
from fovea.data.options import Augmentation
from fovea.data.pixels import read_image
from fovea.data.preparing import Wanted, components, geometry, prepare
from fovea.errors import DataError, Stopped
from fovea.files import RUN_FILE, read_json
from fovea.training import loop
from fovea.training.inputs import prepared, training_batches
from fovea.training.options import TrainingOptions, from_json
from fovea.training.options import options as flat_options
from fovea.training.ranks import Ranks

pytestmark = pytest.mark.usefixtures("no_pictures")
EVERYTHING = Augmentation(
    crop="area",
    flip=True,
    shift=2,
    border="reflect",
    policy="randaugment",
    photometric=0.4,
    pca_noise=0.1,
    cutout=6,
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of JPEGs of many sizes."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(3)
    for number in range(60):
        label = number % 2
        height, width = draw.integers(40, 90, 2)
        pixels = draw.integers(0, 120, (6, 6, 3), dtype=np.uint8) + np.uint8(100 * label)
        place = root / ("dark", "light")[label] / f"{number:02}.jpg"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((int(width), int(height)), Image.Resampling.BICUBIC).save(place, quality=95)
    return root


def batches(photos: Path, augmentation: Augmentation, *, workers: int, cache: int = 0) -> TrainingBatches:
    data = fovea.open_data(photos)
    spec = geometry(data, image_size=32, in_channels=3, resize=36)
    fitted = prepare(data, spec, Wanted(augmentation=augmentation, workers=workers, cache=cache))
    return TrainingBatches(
        fitted=fitted["train"],
        batch_size=8,
        seed=5,
        augmentation=augmentation,
        components=components(fitted["train"], augmentation),
        workers=workers,
    )


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_everything_at_once_is_the_same_for_any_number_of_workers_and_from_any_step(photos: Path, workers: int) -> None:
    alone, helped = (batches(photos, EVERYTHING, workers=n) for n in (0, workers))
    for epoch in (0, 3):
        whole = list(alone.epoch(epoch))
        assert equal(whole, list(helped.epoch(epoch)))
        assert equal(whole[2:], list(helped.epoch(epoch, start=2)))
    assert not equal(list(alone.epoch(0)), list(alone.epoch(1)))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_gives_finite_batches(photos: Path, name: str) -> None:
    preset = PRESETS[name]()
    made = list(batches(photos, preset, workers=2).epoch(0))
    assert len(made) == 6
    for batch in made:
        assert batch.images.shape == (8, 3, 32, 32)
        assert batch.images.isfinite().all()
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert (batch.shares is not None) == bool(preset.mixup or preset.cutmix)
        targets = batch.targets(2)
        assert targets.ndim == 1 or torch.allclose(targets.sum(1), torch.ones(8))


def test_the_cache_changes_no_pixel_of_validation_and_serves_training(photos: Path) -> None:
    data = fovea.open_data(photos)
    spec = geometry(data, image_size=32, in_channels=3, resize=36)
    wanted = Wanted(augmentation=Augmentation(crop="area"), workers=1)
    plain = prepare(data, spec, wanted)
    cached = prepare(data, spec, wanted._replace(cache=36))
    for name in ("validation", "test"):
        indices = np.arange(len(plain[name]))
        assert torch.equal(plain[name].gather(indices), cached[name].gather(indices))
    assert plain["train"].preprocessing == cached["train"].preprocessing
    first = batches(photos, EVERYTHING, workers=0, cache=36)
    assert equal(list(first.epoch(1)), list(batches(photos, EVERYTHING, workers=2, cache=36).epoch(1)))


def options(**more: object) -> TrainingOptions:
    base = flat_options(epochs=2, batch_size=16, lr=0.01, warmup_epochs=0.0, resize=36, augmentation=EVERYTHING)
    return base.but(precision="float32", **more)


def network(seed: int = 1) -> torch.nn.Module:
    return fovea.create("cifar_resnet20", num_classes=2, seed=seed)


def test_a_resumed_run_on_files_equals_one_never_stopped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fovea.train(network(), photos, options(), out=tmp_path / "whole", quiet=True)
    real = loop.learning_rate

    def stopping(step: int, *rest: object) -> float:
        if step == 1:
            signal.raise_signal(signal.SIGTERM)
        return real(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(Stopped):
            fovea.train(network(), photos, options(workers=2), out=tmp_path / "cut", quiet=True)
    done = fovea.train(network(), photos, options(workers=4), out=tmp_path / "cut", resume=True, quiet=True)
    for name in ("weights.safetensors", "bundle.json"):
        assert (done.folder / "bundle" / name).read_bytes() == (whole.folder / "bundle" / name).read_bytes()


@pytest.mark.parametrize("mean_image", [False, True])
def test_training_prediction_and_a_saved_bundle_see_the_same_numbers(
    photos: Path, tmp_path: Path, mean_image: bool
) -> None:
    data = fovea.open_data(photos)
    told = options(epochs=1, augmentation=Augmentation(), interpolation="bicubic", mean_image=mean_image)
    run = fovea.train(network(), data, told, out=tmp_path / "run", quiet=True)
    spec = run.model.bundle.preprocessing
    loaded = fovea.load(run.folder).bundle.preprocessing
    assert loaded == spec
    assert len(spec.mean) == (3 * 32 * 32 if mean_image else 3)
    wanted = Wanted(mean_image=mean_image)
    geometric = geometry(data, image_size=32, in_channels=3, resize=36, interpolation="bicubic")
    split = prepare(data, geometric, wanted)["train"]
    training = TrainingBatches(fitted=split, batch_size=1, seed=0, augmentation=Augmentation())
    train = data.split("train")
    for place in range(5):
        indices = np.array([place])
        seen = training.batch(indices, 0).images
        path = Path(train.images.name(place))
        served = loaded.normalise(torch.from_numpy(np.ascontiguousarray(loaded.fit(read_image(path))))[None])
        assert torch.equal(seen, served)
        assert torch.equal(spec.normalise(split.gather(indices)), served)
    by_file = fovea.predict(run.folder, photos / "light")
    assert by_file == fovea.predict(run.model, photos / "light")


def test_the_configuration_holds_the_augmentation_and_reads_it_back(photos: Path, tmp_path: Path) -> None:
    run = fovea.train(network(), photos, options(epochs=1), out=tmp_path / "run", quiet=True)
    assert from_json(read_json(run.folder / RUN_FILE)["training"]) == options(epochs=1)


def test_a_file_that_vanishes_while_training_ends_it_with_its_name(photos: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    data = fovea.open_data(copy)
    train = data.split("train")
    for place in range(len(train)):
        Path(train.images.name(place)).unlink()
    with pytest.raises(DataError, match=r"copy/.*\.jpg: does not exist"):
        fovea.train(network(), data, options(), out=tmp_path / "run", quiet=True)


def test_a_cache_of_another_side_changes_no_pixel_of_images_that_are_only_fitted(photos: Path) -> None:
    data = fovea.open_data(photos)
    spec = geometry(data, image_size=32, in_channels=3, resize=36)
    plain, cached = (prepare(data, spec, Wanted(cache=side))["train"] for side in (0, 40))
    indices = np.arange(len(plain))
    assert torch.equal(plain.gather(indices), cached.gather(indices))


@pytest.mark.parametrize(("augmentation", "threads"), [(Augmentation(crop="area"), True), (Augmentation(), False)])
def test_images_are_read_ahead_without_being_asked_for(photos: Path, augmentation: Augmentation, threads: bool) -> None:
    told = options(augmentation=augmentation)
    data = fovea.open_data(photos)
    ranks = Ranks(Fabric(accelerator="cpu", devices=1))
    made = training_batches(prepared(network(), data, told)["train"], told, ranks, torch.device("cpu"))
    assert (made.workers > 0) == threads
