"""The one durable write, and what happens when the disk refuses at each of its steps."""

import builtins
import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fovea import files
from fovea.errors import MachineError, ModelError
from fovea.files import make_folder, read_json, sha256, write_durably, write_json

OLD, NEW = b"the old content", b"the new content, which is longer"


def refusing(number: int) -> Callable[..., object]:
    def refuse(*_arguments: object, **_options: object) -> object:
        raise OSError(number, os.strerror(number))

    return refuse


def break_step(monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    if step == "open":
        real = builtins.open

        def no_writing(path: object, mode: str = "r", *more: object, **options: object) -> object:
            return refusing(number)() if "w" in mode else real(path, mode, *more, **options)

        monkeypatch.setattr(builtins, "open", no_writing)
    elif step == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refusing(number))
    else:
        monkeypatch.setattr(os, step, refusing(number))


def test_content_arrives_whole_with_its_hash_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "weights.bin"
    assert write_durably(path, NEW) == hashlib.sha256(NEW).hexdigest() == sha256(path)
    assert path.read_bytes() == NEW
    assert [p.name for p in path.parent.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("content", [b"", b"\0\r\n\xff" * 50_000])
def test_any_bytes_may_be_written_over_old_ones(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    assert write_durably(path, content) == hashlib.sha256(content).hexdigest()
    assert path.read_bytes() == content


@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_refusal_at_any_step_leaves_the_old_content_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as broken:
        break_step(broken, step, number)
        with pytest.raises(MachineError) as caught:
            write_durably(path, NEW)
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_bytes_needed_and_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1234})())
    break_step(monkeypatch, "fsync", number)
    with pytest.raises(MachineError) as caught:
        write_durably(tmp_path / "file", b"x" * 5_000_000)
    assert str(caught.value) == (
        f"{tmp_path / 'file'}: the disk is full: 5,000,000 bytes needed, 1,234 available; "
        "make room, then run the same command"
    )


def test_a_full_disk_is_told_even_where_the_folder_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_step(monkeypatch, "mkdir", errno.ENOSPC)
    with pytest.raises(MachineError, match=r"the disk is full: 3 bytes needed, [0-9,]+ available"):
        write_durably(tmp_path / "not" / "there" / "file", b"abc")
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_disk_says_to_choose_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_step(monkeypatch, "open", errno.EROFS)
    with pytest.raises(MachineError, match=r"cannot be written \(Read-only file system\); choose another folder"):
        write_durably(tmp_path / "file", NEW)


def test_a_file_or_folder_in_the_way_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "folder").mkdir()
    with pytest.raises(MachineError, match="file/below: cannot be written"):
        write_durably(tmp_path / "file" / "below", NEW)
    with pytest.raises(MachineError, match="folder: cannot be written"):
        write_durably(tmp_path / "folder", NEW)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_disk_that_gives_back_other_bytes_is_refused_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    monkeypatch.setattr(files, "sha256", lambda _: "0" * 64)
    with pytest.raises(MachineError, match="other bytes than were written; check the disk") as caught:
        write_durably(path, NEW)
    assert caught.value.exit_code == 5
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_file_and_folder_are_synced_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append("folder" if Path(f"/dev/fd/{descriptor}").is_dir() else "file")
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_durably(tmp_path / "file", NEW)
    assert steps == ["file", "rename", "folder"]


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([n]) * (1 + 70_000 * n) for n in range(4)]
    write_durably(path, contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(40):
        write_durably(path, contents[n % 4])
    done.set()
    reader.join(10)
    assert not reader.is_alive()
    assert seen
    assert set(seen) <= set(contents)


def test_equal_values_give_equal_bytes_with_keys_in_the_order_given(tmp_path: Path) -> None:
    value = {"b": [1, 0.1, None, True], "a": {"name": "Größe 🐱"}}
    first, second = write_json(tmp_path / "1.json", value), write_json(tmp_path / "2.json", dict(value))
    assert first == second
    assert (tmp_path / "1.json").read_bytes() == (
        b'{\n  "b": [\n    1,\n    0.1,\n    null,\n    true\n  ],\n  "a": {\n    "name": "'
        + "Größe 🐱".encode()
        + b'"\n  }\n}\n'
    )
    assert read_json(tmp_path / "1.json") == value
    assert list(read_json(tmp_path / "1.json")) == ["b", "a"]


def test_file_names_that_are_no_utf8_survive_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"cat\xff \xe9\n")
    write_json(tmp_path / "classes.json", {"classes": [name, "dog"], name: 1})
    assert read_json(tmp_path / "classes.json") == {"classes": [name, "dog"], name: 1}
    json.loads((tmp_path / "classes.json").read_bytes().decode("utf-8"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_json_is_written_that_other_readers_refuse(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is damaged, not valid JSON"),
        (b'{"a": 1', "is damaged, not valid JSON"),
        (b"\xff\xfe\x00", "is damaged, not valid JSON"),
        (b"[" * 200_000, "is damaged, not valid JSON"),
        (b"[1, 2]", "must hold a JSON object, not list"),
        (b"null", "must hold a JSON object, not NoneType"),
    ],
    ids=["empty", "cut", "no UTF-8", "too deep", "list", "null"],
)
def test_what_is_no_json_object_is_a_model_error(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_json_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone.json: cannot be read \(No such file or directory\)"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(ModelError, match=r"cannot be read \(Is a directory\)"):
        read_json(tmp_path)


def test_a_folder_is_made_with_its_parents_and_may_exist(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_where_a_folder_belongs_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(MachineError, match="file: cannot be written") as caught:
        make_folder(tmp_path / "file")
    assert caught.value.exit_code == 5
