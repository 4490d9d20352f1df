"""One finished run on the digits, which the tests here only read, and ways to run the command."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: threads that spin slow a busy machine down
QUICK = ["--epochs", "1", "--image-size", "16", "-b", "128", "--warmup-epochs", "0"]


@pytest.fixture(scope="session")
def quick():
    """Arguments of `fovea train` that end it within a second."""
    return QUICK


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The folder of a finished run, with its pictures."""
    from fovea.commands.main import main

    out = tmp_path_factory.mktemp("commands") / "digits"
    assert main(["train", "lenet5", "digits", *QUICK, "--lr", "0.05", "--out", str(out)]) == 0
    return out


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs without the pictures at their end, which take longer than all the rest."""
    from fovea.training import train

    monkeypatch.setattr(train, "draw", lambda *_: None)


@pytest.fixture
def fovea(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own, in this process: gives exit code, stdout, stderr."""
    from fovea.commands.main import main

    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        return code, said.out, said.err

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a line of shell in which $FOVEA is the command, in a process of its own, its output buffered as usual."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment["FOVEA"] = f"{sys.executable} -m fovea"

    def run(line, **more):
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment | more, capture_output=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes, ten small photographs each, told apart by their brightness."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(random.normal(level, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{i}.png")
    return tmp_path / "photos"
