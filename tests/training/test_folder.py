"""Run folders: nothing is overwritten, one process writes, and the link points to the newest run."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fovea.errors import MachineError, ModelError, RunInUse, UsageError
from fovea.training import folder
from fovea.training.options import options

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom fovea.training import folder\n"
    "with folder.locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture
def held(tmp_path):
    """A run folder that another process holds, and that process."""
    place = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield place, process
        process.kill()


def test_a_folder_that_is_new_empty_or_only_locked_is_free(tmp_path):
    folder.check_free(tmp_path / "new")
    folder.check_free(tmp_path)
    (tmp_path / "run.lock").write_text("process 1 on elsewhere")
    folder.check_free(tmp_path)
    assert os.listdir(tmp_path) == ["run.lock"]


def test_a_folder_with_a_run_is_refused_with_the_way_to_go_on(tmp_path):
    folder.create(tmp_path, {"a": 1})
    with pytest.raises(UsageError, match=rf"holds a run already; .* fovea train --resume {tmp_path}$"):
        folder.create(tmp_path, {"a": 2})
    assert folder.configuration(tmp_path) == {"a": 1}


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(UsageError, match="exists and holds other things; choose another --out"):
        folder.create(tmp_path, {})
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match="exists and holds other things"):
        folder.check_free(tmp_path / "run")


def test_a_folder_without_configuration_is_no_run(tmp_path):
    with pytest.raises(ModelError, match=r"is no run folder \(no config\.json in it\)"):
        folder.configuration(tmp_path)


def test_a_second_process_is_refused_and_told_who_holds_the_run(held):
    place, process = held
    with pytest.raises(RunInUse, match=rf"written by process {process.pid} on {socket.gethostname()}") as refused:
        folder.locked(place).__enter__()
    assert refused.value.exit_code == 7


def test_a_second_start_in_a_folder_being_written_hears_of_the_holder_not_of_resuming(held):
    place, process = held
    (place / "config.json").write_text("{}")
    with pytest.raises(RunInUse, match=f"process {process.pid} "):
        folder.check_free(place)


def test_the_lock_of_a_killed_process_is_taken_over(held):
    place, process = held
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert str(process.pid) in (place / "run.lock").read_text()
    with folder.locked(place):
        assert (place / "run.lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_the_lock_is_let_go_after_an_error(tmp_path):
    with pytest.raises(KeyError), folder.locked(tmp_path):
        raise KeyError
    with folder.locked(tmp_path):
        pass


def test_a_folder_below_a_file_is_a_machine_error_with_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file/run: cannot be written"):
        folder.locked(tmp_path / "file/run").__enter__()


def test_a_read_only_disk_is_a_machine_error_with_a_way_out(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MachineError, match=r"cannot be written \(Read-only file system\); choose another folder"):
        folder.locked(tmp_path / "run").__enter__()


def test_latest_points_to_the_newest_run_by_a_relative_link(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        folder.point_latest(tmp_path / name)
    assert str((tmp_path / "latest").readlink()) == "second"
    assert sorted(os.listdir(tmp_path)) == ["first", "latest", "second"]


def test_something_of_the_users_called_latest_stays(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "run").mkdir()
    folder.point_latest(tmp_path / "run")
    assert not (tmp_path / "latest").is_symlink()


def test_new_names_differ_and_tell_network_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        names.append(folder.new_name("lenet5", "digits"))
        names[-1].mkdir(parents=True)
    assert len(set(names)) == 3
    assert all("_lenet5_digits" in name.name and name.parent == Path("runs") for name in names)


def test_the_history_is_csv_with_a_row_for_each_epoch(tmp_path):
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-17}]
    folder.write_history(tmp_path, rows)
    with open(tmp_path / "history.csv", newline="") as file:
        read = [{"epoch": int(row["epoch"]), "loss": float(row["loss"])} for row in csv.DictReader(file)]
    assert read == rows


def test_a_run_that_is_older_than_an_option_goes_on_as_with_its_usual_value(tmp_path):
    described = {
        "network": {},
        "data": {},
        "training": dataclasses.asdict(options(lr=0.1)),
        "teacher": None,
        "machine": {},
    }
    older = described | {"training": {name: value for name, value in described["training"].items() if name != "rate"}}
    folder.create(tmp_path / "run", older)
    assert folder.open_run(tmp_path / "run", described, resume=True) == []
    another = described | {"training": dataclasses.asdict(options(lr=0.1, warmup="constant"))}
    with pytest.raises(ModelError, match=r"training rate.warmup was 'linear' and is 'constant' now"):
        folder.open_run(tmp_path / "run", another, resume=True)
