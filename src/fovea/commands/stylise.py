"""fovea stylise: one picture's content in the style of others; or a network taught a style, which does it at once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fovea.commands.allocator import keep_memory
from fovea.commands.parsing import parse
from fovea.errors import DataError, ModelError, UsageError, require
from fovea.files import BUNDLE_FILE
from fovea.runtime.find import Found, find_model
from fovea.style.options import StyliseOptions
from fovea.style.teaching_options import TeachingOptions

PAPER = "vgg19"  # the network of the paper, and the folder where its weights are looked for
WRITTEN = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Stylise:
    """A picture with the content of one picture and the style of others; or teach a network one style."""

    content: Annotated[str | None, tyro.conf.Positional] = None
    """An image file; or a folder of them, each stylised in its turn."""
    styles: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """One or several image files."""
    out: Path | None = None
    """The picture to be written, stylised.png where none is named, with its history beside it as .csv; of a folder of
    pictures, and with --train, a folder."""
    weights: str = PAPER
    """What sees: a run folder or a bundle; the weights of VGG-19 in the folder vgg19 where none is named."""
    masks: tuple[str, ...] = ()
    """An image file for each style, of the content's size: white where the style is wanted, black where not."""
    start_from: str | None = None
    """An image file to start from, in place of the content or noise; it is brought to the content's shape."""
    frames: bool = False
    """The folder's pictures are frames of a video: each starts from what the last one became."""
    every: int = 0
    """Keep the picture after every so many steps, in a folder beside the result; 0 keeps none."""
    model: str | None = None
    """A network taught a style by --train: it stylises in one pass, and no style is named."""
    train: str | None = None
    """A style to teach a network, from the images of --data."""
    data: str | None = None
    """With --train: a folder of images, or several levels of them."""
    train_steps: int = 2000
    """With --train: updates; the paper's are 40,000."""
    train_size: int = 256
    """With --train: side of the squares that it learns from, in pixels."""
    batch_size: int = 4
    """With --train: images in a step."""
    dry_run: bool = False
    """Tell what it would take, and stop."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the network runs."""
    network: str | None = None
    """For a model of a network of your own: file.py:Class; its code runs, a bundle's never does."""
    json: bool = False
    """The result as an object for machines."""
    stylise: StyliseOptions = field(default_factory=StyliseOptions)


def run(arguments: list[str]) -> int:
    """Stylise, or teach; print what came of it.

    Raises:
        UsageError: no picture, no style, or options that do not go together.
        ModelError: no weights.
    """
    asked = parse(Stylise, "stylise", arguments)
    if asked.train is not None:
        return _teach(asked)
    if asked.content is None:
        raise UsageError("name a picture and a style, for example: fovea stylise photo.jpg painting.jpg -o out.png")
    _refuse({"data": asked.data, **_taught(asked)}, "is for --train; a picture would ignore it")
    folder = Path(asked.content).is_dir()
    _check_files(asked, folder)
    if asked.model is not None:
        _check_model(asked)
        keep_memory()
        from fovea.commands.stylising import apply_model

        return apply_model(asked, _out(asked, folder), folder=folder)
    if not asked.styles:
        raise UsageError(f"name a style beside {asked.content}, or a network that was taught one: --model")
    if not folder and asked.frames:
        raise UsageError(f"--frames is for a folder of frames; {asked.content} is one picture")
    if folder and (asked.masks or asked.start_from or asked.every):
        raise UsageError("--masks, --start-from and --every are for one picture, not for a folder of them")
    require("every", asked.every, asked.every >= 0, "0 or more")
    found = _weights(asked)
    keep_memory()
    from fovea.commands.stylising import stylise_folder, stylise_one

    work = stylise_folder if folder else stylise_one
    return work(asked, found, _out(asked, folder))


def _teach(asked: Stylise) -> int:
    if asked.content is not None or asked.styles:
        raise UsageError(
            f"--train {asked.train} teaches one style; leave {asked.content} out, and name images with --data"
        )
    if asked.data is None or asked.out is None:
        raise UsageError("name images to learn from and a folder for the network: --data FOLDER --out MODEL")
    kept = {"strength", "variation", "content_layer", "style_layers", "precision", "seed"}
    given = _changed(asked.stylise, kept | {"style_scale"}) | _single(asked)
    _refuse(given, "is for single pictures; --train would ignore it")
    _existing(asked.train or "", "style")
    found = _weights(asked)
    options = TeachingOptions(
        image_size=asked.train_size,
        batch_size=asked.batch_size,
        steps=asked.train_steps,
        style_size=round(asked.train_size * asked.stylise.style_scale),
        **{name: getattr(asked.stylise, name) for name in sorted(kept)},
    )
    keep_memory()
    from fovea.commands.stylising import teach_model

    return teach_model(asked, options, found, asked.out)


def _check_model(asked: Stylise) -> None:
    if asked.styles:
        raise UsageError(f"--model {asked.model} knows one style already; leave {asked.styles[0]} out")
    given = _changed(asked.stylise, {"size"}) | {k: v for k, v in _single(asked).items() if k != "model"}
    given |= {"network": asked.network, "weights": asked.weights != PAPER}
    _refuse(given, "is for the search; --model would ignore it")
    if len(asked.stylise.size) > 1:
        raise UsageError("--model works at one size; name one")


def _taught(asked: Stylise) -> dict[str, object]:
    plain = Stylise()
    names = ("train_steps", "train_size", "batch_size")
    return {name: getattr(asked, name) for name in names if getattr(asked, name) != getattr(plain, name)}


def _single(asked: Stylise) -> dict[str, object]:
    """What is given that one search alone heeds."""
    names = ("masks", "start_from", "frames", "every", "model", "dry_run")
    return {name: getattr(asked, name) for name in names}


def _changed(options: StyliseOptions, but: set[str]) -> dict[str, object]:
    """The options that are not as they come."""
    plain = StyliseOptions()
    return {
        each.name: value
        for each in fields(options)
        if each.name not in but and (value := getattr(options, each.name)) != getattr(plain, each.name)
    }


def _refuse(given: dict[str, object], why: str) -> None:
    for name, value in given.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} {why}")


def _check_files(asked: Stylise, folder: bool) -> None:
    """What is read exists, and what is written is none of it.

    Raises:
        DataError: a file that is not there.
        UsageError: the result would take the place of what it is made from, or is no kind of picture.
    """
    read = [*asked.styles, *asked.masks, *([asked.start_from] if asked.start_from else [])]
    _existing(asked.content or "", "content")
    for given in read:
        _existing(given, "style, mask or start")
    out = _out(asked, folder)
    if folder:
        inside = Path(asked.content or "").resolve()
        if out.is_file() or inside in (out.resolve(), *out.resolve().parents):
            raise UsageError(f"--out {out} must be a folder outside of {asked.content}")
        return
    if out.suffix.lower() not in WRITTEN:
        raise UsageError(f"--out {out} must end in {', '.join(WRITTEN)}")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it")
    if any(Path(each).resolve() == out.resolve() for each in (asked.content or "", *read)):
        raise UsageError(f"--out {out} would take the place of what it is made from; name another file")


def _existing(given: str, what: str) -> None:
    if not Path(given).exists():
        raise DataError(f"{given}: there is no such file; name the {what} by its path")


def _out(asked: Stylise, folder: bool) -> Path:
    return asked.out or Path("stylised" if folder else "stylised.png")


def _weights(asked: Stylise) -> Found:
    """Where the network lies that sees.

    Raises:
        ModelError: VGG-19's weights are not there; the sentence says how to get them.
    """
    if asked.weights == PAPER and not (Path(PAPER) / BUNDLE_FILE).is_file():
        raise ModelError(
            f"there are no weights of VGG-19 in the folder {PAPER}; make them once: fovea import torchvision:vgg19 "
            f"--out {PAPER}, or of a file: fovea import FILE --as vgg19 --partial --preprocessing caffe --out {PAPER} "
            f"(caffe for Caffe's and Keras's numbers, imagenet for torchvision's); or let a model of yours stand in: "
            f"--weights MODEL"
        )
    return find_model(asked.weights)
