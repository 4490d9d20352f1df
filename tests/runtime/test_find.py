"""One resolver: run folder, bundle, name; what is none of these is answered with what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fovea.errors import ModelError, UsageError
from fovea.runtime.find import Found, find_bundle, find_model, seeds_in


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


def test_a_checkpoint_of_a_finished_run_means_its_bundle_with_other_weights(place):
    for file in ("last.safetensors", "snapshots/epoch_0002.safetensors"):
        path = place / "runs/done" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        assert find_model(path) == Found(place / "runs/done/bundle", path)
    assert find_model("runs/done") == Found(find_bundle("runs/done"))
    (place / "runs/done/bundle/weights.safetensors").write_bytes(b"")
    assert find_model("runs/done/bundle/weights.safetensors") == Found(find_bundle("runs/done/bundle"))


def test_a_file_that_is_no_checkpoint_of_a_run_says_what_one_is(place):
    (place / "photos/cat.safetensors").write_bytes(b"")
    for path in ("photos/cat.safetensors", "runs/done/config.json"):
        with pytest.raises(ModelError, match=r"is no checkpoint of a run \(a \.safetensors file"):
            find_model(path)
    (place / "runs/cut/last.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="the run is not finished"):
        find_model("runs/cut/last.safetensors")


def test_a_folder_of_seeds_means_its_runs(place):
    (place / "runs/seeds.json").write_text('{"seeds": [3, 1]}')
    assert seeds_in("runs") == ["runs/seed_3", "runs/seed_1"]
    assert seeds_in("runs/done") == ["runs/done"]
    with pytest.raises(ModelError, match="holds the runs of several seeds; name one of them, such as runs/seed_3"):
        find_bundle("runs")
    (place / "runs/seeds.json").write_text("{}")
    with pytest.raises(ModelError, match="names no seeds"):
        seeds_in("runs")


def test_finding_imports_no_torch():
    code = "import sys, fovea.runtime.find; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
