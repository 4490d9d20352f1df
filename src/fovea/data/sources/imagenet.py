"""ImageNet as the challenge has it: training images in folders named by synset, validation in folders or flat.

Source: Russakovsky et al. 2015, arXiv:1409.0575.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from importlib.resources import files
from pathlib import Path

from fovea.data.listing import Listing
from fovea.data.sources.arranging import ORDER
from fovea.data.sources.folder import list_folder, split_folders
from fovea.errors import DataError

SYNSET_FOLDER = re.compile(r"n\d{8}")
VALIDATION_FILE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
KAGGLE = (Path("ILSVRC/Data/CLS-LOC"), Path("Data/CLS-LOC"))  # below what was unpacked, or below its ILSVRC
SOLUTION = "LOC_val_solution.csv"
DEVKIT = Path("ILSVRC2012_devkit_t12/data")
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")


def is_imagenet(root: Path) -> bool:
    """Whether a folder has Kaggle's layout, or training folders that are all named by synsets."""
    if _images(root) != root:
        return True
    train = root / "train"
    if not train.is_dir():
        return False
    names = [entry.name for entry in train.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return bool(names) and all(SYNSET_FOLDER.fullmatch(name) for name in names)


def list_imagenet(root: Path) -> Listing:
    """Every image, labelled by its synset; flat validation images by the challenge's ground truth.

    The test images, of which nobody has published labels, are left out.

    Raises:
        DataError: flat validation images without a ground truth (and which files hold one), or one that does not fit.
    """
    images = _images(root)
    listing = list_folder(images)
    strays = dict(listing.strays)
    files = []
    truth: dict[str, str] = {}
    for file in listing.files:
        name = file.path.rpartition("/")[2]
        if file.split == "validation" and not file.label and VALIDATION_FILE.fullmatch(name):
            truth = truth or _truth(root, images)
            file = file._replace(label=_label(truth, name, root))
        if file.split == "test" and not file.label:
            strays[file.path] = "a test image of the challenge, of which no label is published"
            continue
        files.append(file)
    ordered = tuple(sorted(files, key=lambda file: (ORDER[file.split], file.label, file.path)))
    labelled = {file.split for file in files}
    splits = tuple(split for split in listing.splits if split != "test" or split in labelled)
    return dataclasses.replace(listing, layout="ILSVRC", files=ordered, splits=splits, strays=strays)


@functools.cache
def challenge_classes() -> dict[str, str]:
    """The 1,000 synsets of the challenge in the order of published weights, each with WordNet's first word for it."""
    text = files("fovea.data.sources").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return {synset: word for synset, _, word in (line.partition(" ") for line in text.splitlines())}


def synset_words(root: Path) -> dict[str, str]:
    """What each synset means, where a file of the challenge says it: "n01440764" is "tench, Tinca tinca"."""
    for folder in (root, root.parent):
        for name in WORDS:
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
                return {synset: words for synset, _, words in (line.partition(" ") for line in lines) if words}
    return {}


def _images(root: Path) -> Path:
    return next((root / place for place in KAGGLE if (root / place).is_dir()), root)


def _label(truth: dict[str, str], name: str, root: Path) -> str:
    if name not in truth:
        raise DataError(f"{root}: the ground truth says nothing of {name}; it belongs to other images")
    return truth[name]


def _truth(root: Path, images: Path) -> dict[str, str]:
    """The synset of every validation image, by its file name."""
    places = dict.fromkeys((root, root / "ILSVRC", images, images.parent, root.parent))
    for place in places:
        if (place / SOLUTION).is_file():
            return _solution(place / SOLUTION)
        if (place / DEVKIT / TRUTH).is_file():
            return _devkit(place / DEVKIT)
    validation = split_folders(images)["validation"]
    raise DataError(
        f"{validation}: its images lie flat, and no ground truth lies in {root}; put {SOLUTION} (Kaggle) or "
        f"{DEVKIT / TRUTH} with {META} there, or sort the images into folders by synset"
    )


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's table: the image's name, then its synset and boxes."""
    found = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines[1:], start=2):
        name, _, rest = line.partition(",")
        synset = rest.partition(" ")[0]
        if not SYNSET_FOLDER.fullmatch(synset):
            raise DataError(f"{path}, line {number}: {line[:60]!r} does not begin with an image and its synset")
        found[f"{name}.JPEG"] = synset
    return found


def _devkit(folder: Path) -> dict[str, str]:
    """The development kit: a number for each image, and what the numbers mean."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        rows = loadmat(folder / META, squeeze_me=True)["synsets"]
        synsets = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
        numbers = [int(line) for line in (folder / TRUTH).read_text(encoding="ascii").split()]
        names = [synsets[number] for number in numbers]
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataError(f"{folder}: {TRUTH} and {META} cannot be read together ({error}); get the kit again") from error
    return {f"ILSVRC2012_val_{place:08}.JPEG": name for place, name in enumerate(names, start=1)}
