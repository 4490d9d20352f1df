"""One resolver: run folder, bundle, name; what is none of these is answered with what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fovea.errors import ModelError, UsageError
from fovea.runtime.find import find_bundle


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a finished run in runs/done, an unfinished one, and a folder of something else."""
    monkeypatch.chdir(tmp_path)
    for name, file in (("runs/done", "bundle/bundle.json"), ("runs/done", "config.json"), ("runs/cut", "config.json")):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs/latest").symlink_to("done")
    return tmp_path


def test_a_run_folder_and_its_bundle_mean_the_bundle(place):
    assert find_bundle("runs/done") == find_bundle(place / "runs/done/bundle").relative_to(place)
    assert str(find_bundle("runs/latest")) == "runs/latest/bundle"


def test_an_unfinished_run_is_answered_with_how_to_finish_it(place):
    with pytest.raises(ModelError, match=r"not finished; go on with: fovea train --resume runs/cut$"):
        find_bundle("runs/cut")
    assert place.is_dir()


@pytest.mark.usefixtures("place")
def test_another_folder_is_no_model():
    with pytest.raises(ModelError, match=r"photos: is neither a run folder nor a bundle \(no bundle\.json in it\)"):
        find_bundle("photos")


@pytest.mark.usefixtures("place")
def test_a_networks_name_has_no_weights_and_says_how_to_get_some():
    with pytest.raises(ModelError, match=r"lenet5: is a network without weights; train it \(fovea train lenet5\)"):
        find_bundle("lenet5")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("typed", "meant"), [("runs/dome", "runs/done"), ("lenet_5", "lenet5")])
def test_a_typing_error_gets_the_close_match_offered(typed, meant):
    with pytest.raises(UsageError, match=rf"'{typed}' is neither .* Did you mean .*\b{meant}\b"):
        find_bundle(typed)


def test_finding_imports_no_torch():
    code = "import sys, fovea.runtime.find; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
