"""CIFAR in every layout it is published in; the pickled one is read without running anything."""

import contextlib
import dataclasses
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fovea.data.sources import cifar
from fovea.data.sources.cifar import CIFAR10, CIFAR100, CifarSet, is_there, read
from fovea.errors import DataError, MachineError

TEN, HUNDRED = (dataclasses.replace(known, images=(20, 4)) for known in (CIFAR10, CIFAR100))
SETS = pytest.mark.parametrize("known", [TEN, HUNDRED], ids=["10", "100"])


def names(known: CifarSet) -> list[str]:
    return [f"class{n}" for n in range(known.num_classes)]


def parts(known: CifarSet) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Planes and labels of every file of images: 20 for training, 4 for testing."""
    sizes = {name: 20 // len(known.train) for name in known.train} | {known.test: 4}
    random = np.random.default_rng(1)
    return {
        name: (random.integers(0, 256, (n, 3072), np.uint8), random.integers(0, known.num_classes, n))
        for name, n in sizes.items()
    }


def binary(known: CifarSet) -> dict[str, bytes]:
    files = {known.names: "\n".join(names(known)).encode() + b"\n\n"}
    for name, (planes, labels) in parts(known).items():
        before = [np.full((len(labels), known.label_bytes - 1), 7, np.uint8), labels[:, None].astype(np.uint8)]
        files[name] = np.hstack([*before, planes]).tobytes()
    return files


def store(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def archived(known: CifarSet, root: Path) -> CifarSet:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in binary(known).items():
            info = tarfile.TarInfo(f"{known.folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    (root / known.archive).write_bytes(buffer.getvalue())
    return dataclasses.replace(known, md5=hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest())


def pickled(known: CifarSet, protocol: int = 4) -> dict[str, bytes]:
    _, train, test, names_file, names_key, labels_key = known.python
    made = {names_file: pickle.dumps({names_key: names(known)}, protocol)}
    for name, (planes, labels) in zip((*train, test), parts(known).values(), strict=True):
        made[name] = pickle.dumps({"data": planes, labels_key: labels.tolist(), "batch_label": "x"}, protocol)
    return made


def check(known: CifarSet, root: Path) -> None:
    """What is read is what was written."""
    train, test, classes = read(known, root, download=False)
    assert classes == tuple(names(known))
    made = list(parts(known).values())
    for (images, labels), expected in ((train, made[:-1]), (test, made[-1:])):
        planes = np.concatenate([planes for planes, _ in expected])
        assert images.array.dtype == np.uint8
        np.testing.assert_array_equal(images.array, planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        assert labels.dtype == np.int64
        assert labels.tolist() == np.concatenate([labels for _, labels in expected]).tolist()


def refusal(known: CifarSet, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(known, root, download=False)
    return str(caught.value)


@SETS
def test_the_binary_layout_is_read(tmp_path: Path, known: CifarSet) -> None:
    store(tmp_path / known.folder, binary(known))
    check(known, tmp_path)


@SETS
def test_the_archive_is_read_in_memory(tmp_path: Path, known: CifarSet) -> None:
    known = archived(known, tmp_path)
    check(known, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [known.archive]


@SETS
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_python_layout_is_read(tmp_path: Path, known: CifarSet, protocol: int) -> None:
    store(tmp_path / known.python[0], pickled(known, protocol))
    check(known, tmp_path)


def test_the_published_sizes_and_sums_are_those_of_the_page() -> None:
    assert CIFAR10.images == CIFAR100.images == (50_000, 10_000)
    assert (CIFAR10.md5, CIFAR100.md5) == ("c32a1d4ab5d03f1284b67883e8d87530", "03b5dce01913d631647c71ecec9e9cb8")
    assert CIFAR10.address == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    known = archived(TEN, tmp_path)
    path = tmp_path / known.archive
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(known, tmp_path).startswith(f"{path}: is damaged or another file: its MD5 is ")


def test_what_is_not_there_is_asked_for_and_fetched_only_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_there(TEN, tmp_path)
    assert all(word in refusal(TEN, tmp_path) for word in ("cifar-10-batches-bin", "--data-root", "--download"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    known = dataclasses.replace(TEN, address="http://127.0.0.1:1/cifar-10-binary.tar.gz")
    with pytest.raises(MachineError, match="cannot be downloaded"):
        read(known, tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data_batch_3.bin", b"", "no multiple of the 3,073 of a record"),
        ("data_batch_3.bin", bytes(3072), "no multiple of the 3,073 of a record"),
        ("data_batch_3.bin", bytes(3073), "train has 17 images"),
        ("test_batch.bin", bytes(3 * 3073) + b"\x0a" + bytes(3072), "test has the label 10; there are 10 classes"),
        ("batches.meta.txt", b"a b c", "names 3 classes"),
        ("batches.meta.txt", b"a " * 10, "10 different ones"),
    ],
)
def test_files_that_break_a_rule_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    store(tmp_path / TEN.folder, binary(TEN) | {name: content})
    assert words in refusal(TEN, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    store(tmp_path / TEN.folder, binary(TEN))
    (tmp_path / TEN.folder / "data_batch_4.bin").unlink()
    assert f"{tmp_path / TEN.folder / 'data_batch_4.bin'}: cannot be read" in refusal(TEN, tmp_path)


class Runs:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


@pytest.mark.parametrize("inside", ["top", "list", "value", "key", "labels", "data"])
@pytest.mark.parametrize("function", [open, eval, exec, __import__, getattr, print], ids=lambda f: f.__name__)
def test_a_pickle_that_calls_anything_is_refused_and_nothing_is_run(
    tmp_path: Path, inside: str, function: object, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"eval": ("print('run')",), "exec": ("print('run')",), "open": (str(tmp_path / "pwned"), "w")}
    evil = Runs(function, *arguments.get(function.__name__, ("run",)))  # type: ignore[attr-defined]
    planes = np.zeros((4, 3072), np.uint8)
    held = {
        "top": evil, "list": [[[evil]]], "value": {"data": planes, "labels": [0] * 4, "x": {"y": [evil]}},
        "key": {(1, evil): 2}, "labels": {"data": planes, "labels": [evil] * 4}, "data": {"data": evil, "labels": [0]},
    }[inside]  # fmt: skip
    store(tmp_path / TEN.python[0], pickled(TEN) | {"data_batch_2": pickle.dumps(held, 4)})
    said = refusal(TEN, tmp_path)
    assert f"asks for {function.__module__.lstrip('_')}.{function.__name__}, which is no array" in said  # type: ignore[attr-defined]
    assert said.startswith(f"{tmp_path / TEN.python[0] / 'data_batch_2'}: ")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "pwned").exists()


ASKED = ("os system", "posix system", "subprocess run", "numpy load", "numpy fromfile", "numpy memmap")
ASKED += ("numpy.core.multiarray scalar", "numpy.core.multiarray fromfile", "fovea.files write_durably")


@pytest.mark.parametrize("asked", ASKED)
def test_a_name_beside_the_arrays_is_refused_by_name(tmp_path: Path, asked: str) -> None:
    payload = b"c" + asked.replace(" ", "\n").encode() + b"\n(S'touch pwned'\ntR."
    store(tmp_path / TEN.python[0], pickled(TEN) | {"batches.meta": payload})
    assert f"asks for {asked.replace(' ', '.')}, which is no array" in refusal(TEN, tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"\x80\x04.", b"]."])
def test_what_is_no_pickle_of_a_dictionary_is_refused(tmp_path: Path, content: bytes) -> None:
    store(tmp_path / TEN.python[0], pickled(TEN) | {"test_batch": content})
    assert f"{tmp_path / TEN.python[0] / 'test_batch'}: " in refusal(TEN, tmp_path)


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_a_flipped_bit_in_a_pickle_is_read_or_refused(tmp_path: Path, place: int) -> None:
    content = bytearray(pickled(TEN)["data_batch_1"])
    content[place] ^= 1 << (place % 8)
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert isinstance(cifar._loaded(path), dict)
