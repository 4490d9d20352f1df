"""Files to batches: fovea against torchvision's ImageFolder with PIL transforms, in one process, in turns, one thread.

    pip install '.[peers]'
    python benchmarks/data_loading.py [--rounds 7] [--photos FOLDER] [--cifar FOLDER]

Both end with a batch of normalised float32 numbers that a network can take. `--photos` is a folder of photographs, of
which 500×375 JPEGs are made (of noise where none is named) in a temporary folder. `--cifar` is a folder of CIFAR-10's
training PNGs, <class>/*.png; noise of the same size stands in for it. The figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")
if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from PIL import Image

from fovea.data.fitted import fit_split, unpacked
from fovea.data.indexing import open_index
from fovea.data.loader import TrainingBatches
from fovea.data.options import Augmentation
from fovea.data.packing import packed
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import FileImages, Split

PHOTOS, BATCH, CIFAR_BATCH = 512, 32, 512
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=Path, help="a folder of photographs, <class>/*.jpg")
    parser.add_argument("--cifar", type=Path, help="a folder of CIFAR-10's training images, <class>/*.png")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FOVEA_CACHE"] = str(Path(folder) / "cache")
        photos = make_photos(Path(folder) / "photos", asked.photos)
        cifar = asked.cifar or make_tiny(Path(folder) / "cifar")
        print(f"torch {torch.__version__}, one thread; images/s, medians of {asked.rounds} rounds\n")
        print("| what | fovea | ImageFolder + PIL | ratio | from | to |")
        print("|---|---:|---:|---:|---:|---:|")
        compared("500×375 JPEG to 224, area crop and flip", photo_batches(photos), peer_photos(photos), asked.rounds)
        compared("the same from the packed cache", photo_batches(photos, cache=256), peer_photos(photos), asked.rounds)
        compared("CIFAR-10, crop and flip", cifar_batches(cifar), peer_cifar(cifar), asked.rounds)
        flat(photos)
        parts(photos)


def make_photos(folder: Path, source: Path | None) -> Path:
    """500×375 JPEGs of quality 90 in ten classes."""
    files = sorted(source.rglob("*.[jJ][pP]*[gG]")) if source else []
    generator = np.random.default_rng(0)
    for number in range(PHOTOS):
        if files:
            image = Image.open(files[number % len(files)]).convert("RGB").resize((500, 375))
        else:
            noise = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        place = folder / f"class{number % 10}" / f"{number:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place, "JPEG", quality=90)
    return folder


def make_tiny(folder: Path) -> Path:
    """5,000 PNGs of 32×32 in ten classes."""
    generator = np.random.default_rng(0)
    for number in range(5000):
        place = folder / f"class{number % 10}" / f"{number:05}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32)).save(place)
    return folder


def whole(folder: Path) -> Split:
    """Every image of a folder as training images."""
    index = open_index(folder)
    labels = index.labels.astype(np.int64)
    return Split("train", FileImages(index, np.arange(len(index))), labels, index.classes)


Epoch = Callable[[int], Iterator[Any]]


def photo_batches(folder: Path, *, cache: int = 0) -> Epoch:
    """Fovea's batches of photographs."""
    split = whole(folder)
    images = packed(split.images, cache) if cache else split.images
    spec = Preprocessing(image_size=224, resize=256, in_channels=3, mean=MEAN, std=STD)
    fitted = unpacked(Split("train", images, split.labels, split.classes), spec)
    batches = TrainingBatches(
        fitted=fitted, batch_size=BATCH, seed=0, augmentation=Augmentation(crop="area", flip=True)
    )
    return batches.epoch


def cifar_batches(folder: Path) -> Epoch:
    """Fovea's batches of CIFAR-10, which lies in memory."""
    split = whole(folder)
    spec = Preprocessing(image_size=32, resize=32, in_channels=3, mean=MEAN, std=STD)
    batches = TrainingBatches(
        fitted=fit_split(split, spec), batch_size=CIFAR_BATCH, seed=0, augmentation=Augmentation(shift=4, flip=True)
    )
    return batches.epoch


def peer_photos(folder: Path) -> Epoch:
    """ImageFolder with the transforms of the ImageNet examples."""
    from torchvision import transforms

    return _peer(folder, [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()], BATCH)


def peer_cifar(folder: Path) -> Epoch:
    """ImageFolder with the transforms of the CIFAR examples."""
    from torchvision import transforms

    return _peer(folder, [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()], CIFAR_BATCH)


def _peer(folder: Path, steps: list[Any], batch_size: int) -> Epoch:
    from torchvision import datasets, transforms

    made = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder), made), batch_size=batch_size, shuffle=True, drop_last=True
    )
    return lambda _: iter(loader)


def rate(epoch: Epoch, number: int, seconds: float = 2.0) -> float:
    """Images per second of as many batches as fit into the time."""
    images, started = 0, time.process_time()
    for batch in epoch(number):
        images += len(batch[0])
        if time.process_time() - started > seconds:
            break
    return images / (time.process_time() - started)


def compared(what: str, ours: Epoch, theirs: Epoch, rounds: int) -> None:
    """Both in turn; the ratio round by round."""
    pairs = [(rate(ours, number), rate(theirs, number)) for number in range(rounds + 1)][1:]
    ratios = [mine / other for mine, other in pairs]
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"| {what} | {mine:,.0f} | {other:,.0f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} "
        f"| {max(ratios):.2f} |",
        flush=True,
    )


def flat(folder: Path) -> None:
    """Memory of the process over 20 epochs of photographs, two threads ahead."""
    split = whole(folder)
    spec = Preprocessing(image_size=224, resize=256, in_channels=3, mean=MEAN, std=STD)
    options = Augmentation(crop="area", flip=True)
    batches = TrainingBatches(fitted=unpacked(split, spec), batch_size=BATCH, seed=0, augmentation=options, workers=2)
    peaks = []
    for epoch in range(20):
        for _ in batches.epoch(epoch):
            pass
        peaks.append(resident())
    print(f"\nresident memory after epochs 2, 10 and 20: {peaks[1]:.0f}, {peaks[9]:.0f}, {peaks[19]:.0f} MiB")


def parts(folder: Path) -> None:
    """Where the time of a photograph goes, in both."""
    import io

    from torchvision.io import decode_jpeg
    from torchvision.transforms import functional as their

    from fovea.data.augmentation.crops import resized_crop

    images = whole(folder).images
    files = [images.content(place) for place in range(100)]
    tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in files]
    picture = Image.open(io.BytesIO(files[0])).convert("RGB")
    pixels, box = np.array(picture), (50.0, 50.0, 400.0, 350.0)
    batch = torch.from_numpy(np.stack([pixels[:224, :224]] * BATCH)).permute(0, 3, 1, 2)
    spec = Preprocessing(image_size=224, resize=256, in_channels=3, mean=MEAN, std=STD)
    small = picture.crop((0, 0, 224, 224))
    work: dict[str, tuple[Callable[[], object], int]] = {
        "decoding, Pillow": (lambda: each(lambda content: Image.open(io.BytesIO(content)).load(), files), 100),
        "decoding, torchvision": (lambda: each(decode_jpeg, tensors), 100),
        "350×300 to 224, Pillow": (lambda: picture.resize((224, 224), Image.Resampling.BILINEAR, box=box), 1),
        "350×300 to 224, torch": (lambda: resized_crop(pixels, box, 224), 1),
        "to normalised floats, ToTensor and Normalize": (lambda: their.normalize(their.to_tensor(small), MEAN, STD), 1),
        "to normalised floats, a batch": (lambda: spec.normalise(batch), BATCH),
    }
    print()
    for name, (do, count) in work.items():
        print(f"{name}: {min(_seconds(do) for _ in range(5)) / count * 1e6:,.0f} µs an image")


def each(do: Callable[[Any], object], items: list[Any]) -> None:
    """One after the other, each result let go before the next is made, as a loader does."""
    for item in items:
        do(item)


def _seconds(do: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(10):
        do()
    return (time.process_time() - started) / 10


def resident() -> float:
    """MiB of the process."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
