"""fovea check: forty kinds of bad file, each found by its name and its reason; what only warns; the pictures."""

import io
import json
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fovea.commands.main import main

PIXELS = np.clip(np.random.default_rng(0).normal(0, 20, (40, 50, 3)).cumsum(1) + 128, 0, 255).astype(np.uint8)


def encoded(kind: str, mode: str = "RGB", pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind, **options)
    return content.getvalue()


def image(number: int) -> np.ndarray:
    """Photographs that look nothing like each other."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)


END = (b"IEND", b"")
DATA = (b"IDAT", zlib.compress(bytes(2)))
BOMB = (b"zTXt", b"x\0\0" + zlib.compress(bytes(3 << 20)))
SMALL_BOMB = (b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000)))


def patched(content: bytes, place: int, patch: bytes) -> bytes:
    return content[:place] + patch + content[place + len(patch) :]


def scans(count: int) -> bytes:
    content = encoded("JPEG", progressive=True)
    start = content.index(b"\xff\xda")
    end = content.index(b"\xff\xda", start + 2)
    return content[:start] + content[start:end] * count + content[start:]


def floats() -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS[:, :, 0].astype(np.float32) / 255).save(content, "TIFF")
    return content.getvalue()


def integers() -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS[:, :, 0].astype(np.int32) * 100_000).save(content, "TIFF")
    return content.getvalue()


def huge_jpeg() -> bytes:
    content = encoded("JPEG")
    place = content.index(b"\xff\xc0") + 5
    return patched(content, place, struct.pack(">HH", 9500, 9500))


def zeroed(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2 - 2) + b"\xff\xd9"


JPEG, PNG = encoded("JPEG"), encoded("PNG")
CONTENTS: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "empty"),
    "text": (b"this is no image\n" * 9, "no image"),
    "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "no image"),
    "zip": (b"PK\x03\x04" + bytes(60), "no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
    "pdf": (b"%PDF-1.7\n", "no image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    "heic": (bytes(4) + b"ftypheic" + bytes(40), "no image"),
    "avif": (bytes(4) + b"ftypavif" + bytes(40), "no image"),
    "jpeg 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "no image"),
    "ico": (b"\x00\x00\x01\x00\x01\x00" + bytes(40), "no image"),
    "psd": (b"8BPS\x00\x01" + bytes(40), "no image"),
    "random": (np.random.default_rng(5).bytes(500), "no image"),
    "pickle": (b"\x80\x04\x95\x00\x00", "no image"),
    "jpeg 10 per cent": (JPEG[: len(JPEG) // 10], "truncated"),
    "jpeg half": (JPEG[: len(JPEG) // 2], "truncated"),
    "jpeg 90 per cent": (JPEG[: len(JPEG) * 9 // 10], "truncated"),
    "jpeg 99 per cent": (JPEG[: len(JPEG) * 99 // 100], "truncated"),
    "png 10 per cent": (PNG[: len(PNG) // 10], "truncated"),
    "png half": (PNG[: len(PNG) // 2], "truncated"),
    "png 90 per cent": (PNG[: len(PNG) * 9 // 10], "truncated"),
    "png 99 per cent": (PNG[: len(PNG) * 99 // 100], "truncated"),
    "png without end": (PNG[:-12], "truncated"),
    "gif half": (encoded("GIF")[:-700], "truncated"),
    "webp half": (encoded("WEBP")[:-200], "truncated"),
    "tiff half": (encoded("TIFF")[:3000], "truncated"),
    "bmp half": (encoded("BMP")[:3000], "truncated"),
    "png of no width": (png(header(0, 5), DATA, END), "damaged"),
    "bmp of no height": (patched(encoded("BMP"), 22, bytes(4)), "damaged"),
    "png checksum": (patched(PNG, len(PNG) - 30, b"\x00\xff\x00"), "damaged"),
    "tiff of nonsense": (b"II*\0" + bytes(30), "damaged"),
    "ninety megapixels": (png(header(9500, 9500), DATA, END), "too large"),
    "ninety megapixels jpeg": (huge_jpeg(), "too large"),
    "two to the 31": (png(header(2**31 - 1, 2**31 - 1), DATA, END), "too large"),
    "long side": (png(header(70_000, 10), DATA, END), "too large"),
    "many text bombs": (png(header(2, 2), *[SMALL_BOMB] * 25, DATA, END), "too large"),
    "text bomb": (png(header(2, 2), BOMB, DATA, END), "damaged"),
    "progressive bomb": (scans(300), "too large"),
    "floating point": (floats(), "floating point"),
    "32 bits": (integers(), "32 bits"),
}


def dangling(place: Path) -> None:
    place.symlink_to(place.parent / "nowhere.jpg")


def to_itself(place: Path) -> None:
    place.symlink_to(place)


def sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(400_000_001)


def listening(place: Path) -> None:
    before = Path.cwd()
    os.chdir(place.parent)  # a socket's name has room for a hundred bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(place.name)
    os.chdir(before)


MADE: dict[str, tuple[Callable[[Path], None], str]] = {
    "dangling link": (dangling, "a dangling link"),
    "link to itself": (to_itself, "a link to itself"),
    "pipe": (lambda place: os.mkfifo(place), "a pipe"),
    "socket": (listening, "a socket"),
    "sparse": (sparse, "too large"),
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Two classes of good images, and every bad one among them."""
    root = tmp_path / "planted"
    for number in range(20):
        place = root / ("cat", "dog")[number % 2] / f"good {number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded("PNG", pixels=image(number)))
    for name, (content, _) in CONTENTS.items():
        (root / "cat" / f"{name}.jpg").write_bytes(content)
    for name, (make, _) in MADE.items():
        make(root / "dog" / f"{name}.jpg")
    (root / "no label.png").write_bytes(encoded("PNG", pixels=image(99)))
    return root


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["check", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_at_least_forty_kinds_are_planted() -> None:
    assert len(CONTENTS) + len(MADE) + 1 >= 40


def test_each_bad_file_is_found_by_its_name_and_its_reason(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, str(planted))
    assert code == 3
    expected = {f"cat/{name}.jpg": reason for name, (_, reason) in CONTENTS.items()}
    expected |= {f"dog/{name}.jpg": reason for name, (_, reason) in MADE.items()} | {"no label.png": "no label"}
    assert {bad["path"]: bad["reason"] for bad in found["bad"]} == expected
    for bad in found["bad"]:
        assert bad["path"] in bad["sentence"]


@pytest.mark.usefixtures("no_pictures")
def test_training_refuses_what_check_finds_and_goes_on_without_it_when_told(
    planted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = len(CONTENTS) + len(MADE) + 1
    arguments = ["train", "lenet5", str(planted), "--epochs", "1", "-b", "4", "--out", str(tmp_path / "run")]
    assert main(arguments) == 3
    sentence = capsys.readouterr().err
    assert f"{bad} of {bad + 20} files" in sentence
    assert f"--allow-bad {bad}" in sentence
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--allow-bad", str(bad)]) == 0


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for number in range(40):
        place = root / ("cat", "dog")[number % 2] / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded("PNG", pixels=image(number)))
    return root


def test_a_set_without_faults_is_praised_and_the_second_time_too(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(pets)]) == 0
    first = capsys.readouterr()
    assert "40 images, none bad; nothing to say against them" in first.out
    assert "train 32, validation 4, test 4" in first.out
    assert first.err == ""
    assert main(["check", str(pets)]) == 0
    assert capsys.readouterr().out == first.out


def test_what_only_warns_leaves_the_exit_code_0(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pets / "dog/copy.png").write_bytes((pets / "cat/00.png").read_bytes())
    (pets / "cat/Thumbs.db").write_bytes(b"x")
    (pets / "cat/cmyk.jpg").write_bytes(encoded("JPEG", "CMYK", pixels=image(77)))
    code, found = report(capsys, str(pets))
    assert code == 0
    assert found["bad"] == []
    said = json.dumps(found["findings"])
    for words in ("copy.png", "Thumbs.db", "cmyk.jpg"):
        assert words in said


def test_a_class_set_that_differs_warns_in_check_and_is_refused_in_training(
    pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = tmp_path / "split"
    root.mkdir()
    pets.rename(root / "train")
    (root / "val/Cat").mkdir(parents=True)
    (root / "val/Cat/1.png").write_bytes(encoded("PNG", pixels=image(200)))
    code, found = report(capsys, str(root))
    assert code == 0
    assert "Cat" in json.dumps(found["findings"])
    assert main(["train", "lenet5", str(root)]) == 3
    assert "the class 'Cat' of validation is no class of the training images" in capsys.readouterr().err


def test_the_page_stands_alone(pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (pets / "cat/<b>.png").write_bytes(b"")
    assert main(["check", str(pets), "--html", str(tmp_path / "report.html")]) == 3
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert f"wrote {tmp_path / 'report.html'}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--augment", "inception"], ["--flip", "--cutmix", "1.0", "--image-size", "24"]])
def test_what_a_network_will_see_is_drawn(pets: Path, tmp_path: Path, arguments: list[str]) -> None:
    target = tmp_path / "seen.png"
    assert main(["check", str(pets), *arguments, "--show-augmented", str(target)]) == 0
    first = target.read_bytes()
    assert np.asarray(Image.open(io.BytesIO(first))).ndim == 3
    assert main(["check", str(pets), *arguments, "--show-augmented", str(target)]) == 0
    assert target.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "name a folder of images"),
        (["nowhere"], 2, "is neither a folder nor a known data set"),
        (["digits", "--augment", "vgg17"], 2, "Did you mean vgg"),
        (["digits", "--policy-magnitude", "31"], 2, "policy_magnitude (=31) must be from 0 to 30"),
        (["digits", "--fold", "6/5"], 2, "fold (=6/5) must be"),
        (["mnist", "--data-root", "/nowhere"], 3, "MNIST/raw"),
        (["cifar10", "--data-root", "/nowhere"], 3, "cifar-10-batches-bin"),
        (["imagenet", "--data-root", "/nowhere"], 3, "holds no ImageNet"),
        ([__file__], 3, "is no folder of images"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_report_a_page_and_a_sheet_can_be_asked_for_at_once(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [tmp_path / "report.html", tmp_path / "seen.png"]
    assert main(["check", str(pets), "--html", str(made[0]), "--show-augmented", str(made[1])]) == 0
    assert "40 images, none bad" in capsys.readouterr().out
    assert all(path.stat().st_size > 0 for path in made)


def test_a_fold_and_a_fraction_of_a_named_set_are_checked_as_they_would_be_trained_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, whole = report(capsys, "digits")
    _, some = report(capsys, "digits", "--fold", "1/4", "--fraction", "0.5")
    assert whole["splits"] == {"train": 1079, "validation": 359, "test": 359}
    assert some["splits"]["test"] == 359
    assert some["splits"]["validation"] in (359, 360)
    assert some["splits"]["train"] < 545


@pytest.mark.usefixtures("no_pictures")
def test_evaluate_takes_the_way_out_that_its_own_message_names(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", "lenet5", str(pets), "--epochs", "1", "-b", "8", "--out", run]) == 0
    (pets / "cat/broken.png").write_bytes(b"")
    assert main(["evaluate", run, "--data", str(pets)]) == 3
    assert "--allow-bad 1" in capsys.readouterr().err
    assert main(["evaluate", run, "--data", str(pets), "--allow-bad", "1"]) == 0
    assert main(["evaluate", run, "--data", str(pets), "--allow-bad", "-1"]) == 2
