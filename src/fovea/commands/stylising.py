"""Stylising, as `fovea stylise` asks for it."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fovea.commands.loading import load_model
from fovea.commands.progress import counting
from fovea.commands.stylise import Stylise
from fovea.data.pixels import read_image
from fovea.errors import Stopped, UsageError
from fovea.files import make_folder, write_durably
from fovea.runtime.find import Found
from fovea.runtime.predict import find_images
from fovea.style.frames import stylise_each
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.planning import GIB, Plan
from fovea.style.sizing import Picture, fitted
from fovea.style.styler import apply
from fovea.style.styler_file import load_styler
from fovea.style.stylist import Moment, Stylised, Stylist
from fovea.style.teaching import Teacher, TeachingStep
from fovea.style.teaching_options import TeachingOptions
from fovea.training.stopping import StopFlag, stop_on_signals

QUALITY = 95  # of JPEG


def stylise_one(asked: Stylise, found: Found, out: Path) -> int:
    """One picture, with its history."""
    pictures = Pictures.read(asked.content, asked.styles, asked.masks, asked.start_from, asked.stylise)
    stylist = _stylist(asked, found)
    plans = stylist.plans(pictures)
    print("\n".join(_told(stylist, plans)), file=sys.stdout if asked.dry_run else sys.stderr)
    if asked.dry_run:
        return 0
    make_folder(out.parent)
    with stop_on_signals() as flag, counting("stylising") as progress:
        result = stylist.stylise(pictures, watch=_watch(asked, progress, out), stop=lambda: _asked_to_stop(flag))
    _write(out, result.picture, asked.stylise)
    write_durably(out.with_suffix(".csv"), result.history_csv().encode())
    _print(asked, [(out, result)])
    if not result.finished:
        raise _stopped(flag, f"the best picture so far is {out}")
    return 0


def stylise_folder(asked: Stylise, found: Found, out: Path) -> int:
    """A folder's pictures, or the frames of a video, each written as soon as it is done."""
    contents = find_images([asked.content or ""])
    places = _places(asked, contents, out)
    stylist = _stylist(asked, found)
    first = stylist.plans(Pictures.read(contents[0], asked.styles, (), None, asked.stylise))
    lines = [f"{len(contents):,} pictures; the first:", *_told(stylist, first)]
    print("\n".join(lines), file=sys.stdout if asked.dry_run else sys.stderr)
    if asked.dry_run:
        return 0
    make_folder(out)
    written: list[tuple[Path, Stylised]] = []
    with stop_on_signals() as flag, counting("stylising") as progress:
        steps = asked.stylise.steps * len(asked.stylise.size)

        def watch(moment: Moment) -> None:
            progress(len(written) * steps + _done(moment, asked.stylise), len(contents) * steps)

        each = stylise_each(
            stylist, contents, asked.styles, frames=asked.frames, watch=watch, stop=lambda: _asked_to_stop(flag)
        )
        for content, result in each:
            if result.finished:
                written.append((places[content], result))
                _write(written[-1][0], result.picture, asked.stylise)
                write_durably(written[-1][0].with_suffix(".csv"), result.history_csv().encode())
    _print(asked, written)
    if len(written) < len(contents):
        raise _stopped(flag, f"{len(written):,} of {len(contents):,} pictures are in {out}")
    return 0


def apply_model(asked: Stylise, out: Path, *, folder: bool) -> int:
    """One picture or a folder's, in one pass each."""
    styler = load_styler(Path(asked.model or ""), device=asked.device)
    contents = find_images([asked.content or ""])
    places = _places(asked, contents, out) if folder else dict.fromkeys(contents, out)
    written = []
    with counting("stylising") as progress:
        for n, content in enumerate(contents, start=1):
            place = places[content]
            make_folder(place.parent)
            _write(place, apply(styler, fitted(read_image(content), asked.stylise.size[0])), None)
            written.append(str(place))
            progress(n, len(contents))
    print(json.dumps({"pictures": written}) if asked.json else "\n".join(written))
    return 0


def teach_model(asked: Stylise, options: TeachingOptions, found: Found, out: Path) -> int:
    """A network taught a style."""
    style = read_image(Path(asked.train or ""))
    images = find_images([asked.data or ""])
    model = load_model(found, device=asked.device, network=asked.network)
    with stop_on_signals() as flag, counting("learning") as progress:

        def watch(step: TeachingStep) -> None:
            progress(step.step, options.steps, f"content {step.content:.4g}, style {step.style:.4g}")

        taught = Teacher(style, model, options).teach(images, out, watch=watch, stop=lambda: _asked_to_stop(flag))
    print(json.dumps({"model": str(out), "steps": taught.steps}) if asked.json else f"model: {out}\n{taught}")
    if not taught.finished:
        raise _stopped(flag, f"{out} holds what was learned in {taught.steps:,} steps; the same command goes on")
    return 0


def _stylist(asked: Stylise, found: Found) -> Stylist:
    return Stylist(load_model(found, device=asked.device, network=asked.network), asked.stylise)


def _told(stylist: Stylist, plans: list[Plan]) -> list[str]:
    """What will be done, and what it takes."""
    seen, options = stylist.perception, stylist.options
    style = ", ".join(seen.layers.style)
    lines = [f"{seen.name} in {seen.precision}, content at {seen.layers.content}, style at {style}"]
    for plan in plans:
        height, width = plan.size
        pieces = "in one piece" if len(plan.tiles) == 1 else f"in {len(plan.tiles)} tiles"
        lines.append(f"{width}×{height} pixels {pieces}, {options.steps:,} steps, {plan.bytes / GIB:.2f} GiB of memory")
    return lines


def _watch(asked: Stylise, progress: Callable[..., None], out: Path) -> Callable[[Moment], None]:
    options = asked.stylise

    def watch(moment: Moment) -> None:
        step = moment.step
        more = f"loss {step.total:.4g} (content {step.content:.4g}, style {step.style:.4g})"
        progress(_done(moment, options), len(options.size) * options.steps, more)
        if asked.every and step.step and step.step % asked.every == 0:
            place = out.with_name(f"{out.stem}_steps") / f"{step.size:04}_{step.step:05}{out.suffix}"
            _write(place, moment.picture(), asked.stylise)

    return watch


def _done(moment: Moment, options: StyliseOptions) -> int:
    """Steps taken, of all sizes."""
    return options.size.index(moment.step.size) * options.steps + moment.step.step


def _write(path: Path, picture: Picture, options: StyliseOptions | None) -> None:
    """A picture by the one durable write; a PNG says how it was made."""
    content = io.BytesIO()
    image = Image.fromarray(picture)
    if path.suffix.lower() == ".png":
        about = PngInfo()
        if options is not None:
            about.add_text("fovea stylise", json.dumps(asdict(options)))
        image.save(content, "PNG", pnginfo=about)
    else:
        image.save(content, "JPEG", quality=QUALITY, subsampling=0)
    write_durably(path, content.getvalue())


def _places(asked: Stylise, contents: list[Path], out: Path) -> dict[Path, Path]:
    """Where a folder's pictures go: the same way below the other folder, as PNG.

    Raises:
        UsageError: two would go to the same place.
    """
    places = {content: (out / content.relative_to(asked.content or "")).with_suffix(".png") for content in contents}
    taken: dict[Path, Path] = {}
    for content, place in places.items():
        if place in taken:
            raise UsageError(f"{taken[place]} and {content} would both become {place}; rename one of them")
        taken[place] = content
    return places


def _print(asked: Stylise, written: list[tuple[Path, Stylised]]) -> None:
    if asked.json:
        told = [
            {"picture": str(path), "finished": each.finished, **each.history[-1]._asdict()} for path, each in written
        ]
        print(json.dumps({"pictures": told}))
        return
    for path, each in written:
        print(f"{path}: {each}")


def _asked_to_stop(flag: StopFlag) -> bool:
    return flag.signal_number is not None


def _stopped(flag: StopFlag, what: str) -> Stopped:
    return Stopped(f"stopped; {what}", flag.signal_number or signal.SIGINT)
