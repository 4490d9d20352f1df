"""idx files: parsed to the byte, checked against published sums, fetched only on demand and never half."""

import dataclasses
import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fovea.data.opening import open_data
from fovea.data.sources import idx
from fovea.data.sources.idx import FASHION_MNIST, FILES, MNIST, IdxSet, parse
from fovea.errors import DataError, MachineError

NAMES = [name for names in FILES.values() for name in names]


def pack(array: np.ndarray) -> bytes:
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.tobytes()


def contents(train: int = 24, test: int = 6) -> dict[str, bytes]:
    """The four files of a small set of 28×28 images in ten classes."""
    random = np.random.default_rng(0)
    made = {}
    for split, n in (("train", train), ("test", test)):
        images, labels = FILES[split]
        made[images] = pack(random.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        made[labels] = pack((np.arange(n) % 3).astype(np.uint8))
    return made


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def small_set(files: dict[str, bytes], address: str = "http://127.0.0.1:1/") -> IdxSet:
    return IdxSet(
        folder="MNIST",
        address=address,
        classes=("a", "b", "c"),
        packed_sums={name: md5(gzip.compress(content, mtime=0)) for name, content in files.items()},
        unpacked_sums={name: md5(content) for name, content in files.items()},
    )


def store(root: Path, files: dict[str, bytes], *, packed: bool = False) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(content, mtime=0) if packed else content
        )
    return folder


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_what_is_packed_is_parsed_again(array: np.ndarray) -> None:
    found = parse(pack(array), "file")
    assert found.dtype == np.uint8
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08\x02\xff" + tail))
def test_any_other_bytes_are_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^file: (is no idx file of bytes|its header promises)"):
        parse(content, "file")


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"", "none"),
        (b"\0\0\x08", "000008"),
        (b"\x1f\x8b\x08\x00more", "1f8b0800"),
        (b"\0\0\x0d\x01\0\0\0\0", "00000d01"),
        (b"\0\0\x08\x00", "00000800"),
        (b"\0\0\x08\x05" + b"\0" * 20, "00000805"),
        (b"\0\0\x08\x03\0\0\0\x01", "00000803"),
    ],
    ids=["empty", "three bytes", "gzip", "floats", "no dimension", "five dimensions", "cut header"],
)
def test_a_wrong_header_is_refused_with_its_first_bytes(content: bytes, first: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(content, "train-images")
    assert str(caught.value) == f"train-images: is no idx file of bytes; its first bytes are {first}"


@pytest.mark.parametrize("change", [-1, 1, -12])
def test_a_wrong_length_is_refused_with_both_numbers(change: int) -> None:
    whole = pack(np.zeros((3, 2, 2), np.uint8))
    content = whole[:change] if change < 0 else whole + b"x" * change
    with pytest.raises(DataError) as caught:
        parse(content, "f")
    assert str(caught.value) == f"f: its header promises 12 bytes, but {12 + change} follow"


def test_a_header_that_promises_the_moon_costs_nothing() -> None:
    with pytest.raises(DataError, match=r"promises 340282\d+ bytes, but 0 follow"):
        parse(b"\0\0\x08\x04" + b"\xff" * 16, "f")


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_labels_are_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    files = contents()
    store(tmp_path, files, packed=packed)
    images, labels = idx.read(small_set(files), "test", tmp_path, download=False)
    assert len(images) == 6
    assert images.name(5) == "MNIST/test/5"
    np.testing.assert_array_equal(images[5], parse(files["t10k-images-idx3-ubyte"], "")[5])
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert labels.dtype == np.int64


@pytest.mark.parametrize("packed", [False, True])
def test_another_sum_than_the_published_one_is_refused(tmp_path: Path, packed: bool) -> None:
    files = contents()
    folder = store(tmp_path, files, packed=packed)
    name = "train-labels-idx1-ubyte"
    path = folder / (f"{name}.gz" if packed else name)
    content = path.read_bytes()
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        idx.read(small_set(files), "train", tmp_path, download=True)
    assert str(caught.value) == (
        f"{path}: is damaged or another file: its MD5 is {md5(damaged)}, the published one {md5(content)}; "
        "remove it and run again with --download"
    )


def test_a_gz_file_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    files = contents()
    folder = store(tmp_path, files, packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    known = small_set(files)
    known.packed_sums["train-images-idx3-ubyte"] = md5(path.read_bytes())
    with pytest.raises(DataError, match=r"\.gz: cannot be unpacked \(.+\); remove it and run again with --download"):
        idx.read(known, "train", tmp_path, download=False)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    files = contents()
    folder = store(tmp_path, files)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    (folder / "t10k-labels-idx1-ubyte").mkdir()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: cannot be read \(Is a directory\)"):
        idx.read(small_set(files), "test", tmp_path, download=False)


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("train-labels-idx1-ubyte", np.zeros(23, np.uint8), "which do not agree"),
        ("train-labels-idx1-ubyte", np.zeros((24, 1), np.uint8), "which do not agree"),
        ("train-images-idx3-ubyte", np.zeros((24, 784), np.uint8), "which do not agree"),
        ("train-labels-idx1-ubyte", np.full(24, 3, np.uint8), "train has label 3, but there are 3 classes"),
    ],
)
def test_files_that_do_not_fit_their_partner_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, sentence: str
) -> None:
    files = contents() | {name: pack(array)}
    store(tmp_path, files)
    with pytest.raises(DataError, match=sentence):
        idx.read(small_set(files), "train", tmp_path, download=False)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as caught:
        open_data("mnist", data_root=tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{tmp_path / 'MNIST' / 'raw' / 'train-images-idx3-ubyte'}: is missing; ")
    assert all(word in sentence for word in ("--data-root", "FOVEA_DATA", "--download", "MNIST/raw"))
    monkeypatch.setenv("FOVEA_DATA", str(tmp_path / "environment"))
    with pytest.raises(DataError, match="environment/FashionMNIST/raw/train-images-idx3-ubyte: is missing"):
        open_data("fashion_mnist")
    monkeypatch.delenv("FOVEA_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match=r"home/\.cache/fovea/data/MNIST/raw/train-images-idx3-ubyte: is missing"):
        open_data("mnist")
    assert list(tmp_path.iterdir()) == []


def test_a_named_set_keeps_its_test_images_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = contents()
    store(tmp_path, files)
    monkeypatch.setattr(idx, "MNIST", small_set(files))
    data = open_data("mnist", data_root=tmp_path)
    assert data.train is not None
    assert data.validation is not None
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (22, 2, 6)
    assert (data.channels, data.image_size, data.padded_below) == (1, 28, 32)
    assert data.source is not None
    again = open_data(**data.source)
    assert again.fingerprint() == data.fingerprint()
    assert data.source["data_root"] == str(tmp_path)
    halves = open_data("mnist", data_root=tmp_path, split="0.4/0.4/0.2")
    assert halves.train is not None
    assert (len(halves.train), len(halves.split("validation")), len(halves.split("test"))) == (12, 12, 6)


def test_the_tables_are_whole() -> None:
    for known in (MNIST, FASHION_MNIST):
        assert sorted(known.packed_sums) == sorted(NAMES)
        assert len(known.classes) == len(set(known.classes)) == 10
        sums = [*known.packed_sums.values(), *known.unpacked_sums.values()]
        assert all(len(s) == 32 for s in sums)
        assert len(set(sums)) == len(sums)
        assert known.address.endswith("/")


class Server(ThreadingHTTPServer):
    files: dict[str, bytes]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if "garbage" in self.path:
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        content = self.server.files.get(self.path.rsplit("/", 1)[1])
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"") + (1000 if "short" in self.path else 0)))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents().items()}
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def address(server: Server, path: str = "mnist") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{path}/"


def test_a_download_fetches_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(idx, "MNIST", small_set(contents(), address(server)))
    first = open_data("mnist", data_root=tmp_path, download=True)
    assert sorted(server.asked) == sorted(f"/mnist/{name}.gz" for name in NAMES)
    folder = tmp_path / "MNIST" / "raw"
    assert sorted(os.listdir(folder)) == sorted(server.files)
    assert all((folder / name).read_bytes() == content for name, content in server.files.items())
    again = open_data("mnist", data_root=tmp_path)
    assert again.fingerprint() == first.fingerprint()
    assert len(server.asked) == 4


def test_nothing_is_fetched_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(idx, "MNIST", small_set(contents(), address(server)))
    with pytest.raises(DataError, match="is missing"):
        open_data("mnist", data_root=tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("path", ["mnist", "short"])
def test_a_download_with_a_bad_sum_is_refused_and_nothing_is_left(tmp_path: Path, server: Server, path: str) -> None:
    name = "t10k-images-idx3-ubyte.gz"
    server.files[name] = server.files[name][:-1]
    known = small_set(contents(), address(server, path))
    with pytest.raises(DataError) as caught:
        idx.read(known, "test", tmp_path, download=True)
    where = tmp_path / "MNIST" / "raw" / name
    assert str(caught.value) == (
        f"{known.address}{name}: is damaged or another file: its MD5 is {md5(server.files[name])}, "
        f"the published one {known.packed_sums[name[:-3]]}; try again, or put the file at {where} by hand"
    )
    assert list(tmp_path.rglob("*.*")) == []


def test_a_download_larger_than_the_limit_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(idx, "LARGEST_FILE", 50)
    with pytest.raises(DataError, match=md5(server.files["t10k-images-idx3-ubyte.gz"][:51])):
        idx.read(small_set(contents(), address(server)), "test", tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["gone", "garbage"])
def test_a_server_that_does_not_have_it_is_a_machine_error(tmp_path: Path, server: Server, path: str) -> None:
    server.files.clear()
    with pytest.raises(MachineError, match=r"/t10k-images-idx3-ubyte\.gz: cannot be downloaded \(") as caught:
        idx.read(small_set(contents(), address(server, path)), "test", tmp_path, download=True)
    assert caught.value.exit_code == 5
    assert f"put the file at {tmp_path / 'MNIST/raw/t10k-images-idx3-ubyte.gz'} by hand" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_machine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(MachineError, match="cannot be downloaded"):
        idx.read(small_set(contents()), "train", tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_the_sums_of_a_set_cannot_be_swapped_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MNIST.address = "http://example.invalid/"  # type: ignore[misc]


PLACES = [Path(p) for p in (os.environ.get("FOVEA_DATA"), Path.home() / ".cache/fovea/data") if p]
ROOT = next((p for p in PLACES if (p / "MNIST" / "raw").is_dir()), None)


@pytest.mark.shared
@pytest.mark.skipif(ROOT is None, reason="neither FOVEA_DATA nor ~/.cache/fovea/data holds MNIST/raw")
def test_mnist_has_the_published_counts() -> None:
    data = open_data("mnist", data_root=ROOT)
    train, validation, test = (data.split(name) for name in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (55_000, 5_000, 10_000)
    assert len(data.classes) == 10
    assert test.images[0].shape == (28, 28)
    both = np.bincount(train.labels, minlength=10) + np.bincount(validation.labels, minlength=10)
    assert both.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
