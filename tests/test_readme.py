"""The README is run: what it shows works, and the house it draws is the one that stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_commands_run_one_after_another(tmp_path):
    lines = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    assert [line.split()[:2] for line in lines] == [["fovea", "train"], ["fovea", "evaluate"], ["fovea", "predict"]]
    outputs = []
    for line in lines:
        command = [sys.executable, "-m", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    test_accuracy = float(re.search(r"test: top-1 accuracy ([\d.]+)%", outputs[0])[1])
    assert test_accuracy > 97
    assert f"test: top-1 accuracy {test_accuracy:.2f}%" in outputs[1]
    right = [f"_{line.split()[1]}.png" in line.split()[0] for line in outputs[2].splitlines()]
    assert len(right) == 10
    assert sum(right) >= 9


def test_make_demo_runs_the_same_commands():
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1]
    shown = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    assert [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()] == shown


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "test: top-1 accuracy" in said
    assert len(re.findall(r"held_out/test_\d\d_\d\.png \d [01]\.\d+", said)) == 10


def test_the_house_is_drawn_as_it_stands():
    (drawing,) = [block for block in blocks("") if block.startswith("src/fovea/")]
    drawn = [line.split()[0].rstrip("/") for line in drawing.splitlines()[1:]]
    places = [p for p in (ROOT / "src/fovea").iterdir() if not p.name.startswith("__")]
    assert sorted(drawn) == sorted(p.name for p in places)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()
