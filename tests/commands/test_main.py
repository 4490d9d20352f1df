"""The command as a whole: help without torch, one sentence and an exit code for every error, quiet pipes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fovea as package
from fovea import errors
from fovea.commands import main as module
from fovea.commands.main import VERBS, help_text, main

WITHOUT_TORCH = {
    "--help": (["--help"], 0),
    "--version": (["--version"], 0),
    "nothing": ([], 0),
    "list --json": (["list", "--json"], 0),
    "train --help": (["train", "--help"], 0),
    "evaluate --help": (["evaluate", "--help"], 0),
    "predict --help": (["predict", "--help"], 0),
    "shape --help": (["shape", "--help"], 0),
    "inspect --help": (["inspect", "--help"], 0),
    "unknown verb": (["trian"], 2),
    "unknown network": (["train", "lenet6", "digits"], 2),
    "unknown data": (["train", "lenet5", "minst"], 2),
    "unknown flag": (["train", "--learning-rate", "1"], 2),
    "unknown model": (["evaluate", "runs/nowhere"], 2),
    "unknown recipe": (["train", "--recipe", "nothing"], 2),
    "value of the wrong kind": (["train", "--epochs", "many"], 2),
    "value out of range": (["train", "--epochs", "0"], 2),
    "no image named": (["predict", "lenet5"], 2),
    "a shape without a size": (["shape", "conv3-6"], 2),
    "a shape that cannot be read": (["shape", "--size", "9", "cnov3-6"], 2),
    "a shape that does not fit": (["shape", "--size", "5", "conv11-6"], 4),
    "nothing to inspect": (["inspect"], 2),
    "stylise --help": (["stylise", "--help"], 0),
    "nothing to stylise": (["stylise"], 2),
    "a colour that there is not": (["stylise", "a.png", "b.png", "--colour", "red"], 2),
    "transfer --help": (["transfer", "--help"], 0),
    "nothing to transfer": (["transfer"], 2),
    "unknown way": (["transfer", "digits", "--from", "x", "--ways", "prob"], 2),
    "unknown data to transfer to": (["transfer", "nowhere", "--from", "x"], 2),
    "check --help": (["check", "--help"], 0),
    "nothing to check": (["check"], 2),
    "unknown data to check": (["check", "nowhere"], 2),
    "an unknown augmentation": (["check", "digits", "--augment", "vgg17"], 2),
    "a set checked": (["check", "digits"], 0),
    "an unknown network to inspect": (["inspect", "lenet6"], 2),
    "no size of images": (["inspect", "lenet5", "--image-size", "abc"], 2),
    "recipes": (["recipes"], 0),
    "a recipe": (["recipes", "modern"], 0),
    "an unknown recipe to show": (["recipes", "alexnot"], 2),
    "no recipe of a paper": (["train", "vgg16_bn", "digits", "--recipe", "paper"], 2),
    "an option beside a recipe that fits itself": (["train", "--recipe", "modern", "--epochs", "0"], 2),
    "runs --help": (["runs", "--help"], 0),
    "import --help": (["import", "--help"], 0),
    "explain --help": (["explain", "--help"], 0),
    "explain": (["explain"], 2),
    "explain a method that is none": (["explain", "runs", "photo.jpg", "--method", "gradcm"], 2),
    "nothing to import": (["import"], 2),
    "an unknown network to import for": (["import", "x.pth", "--as", "resnet19"], 2),
    "runs": (["runs"], 0),
    "an unknown run": (["runs", "runs/nowhere"], 2),
    "a name without weights": (["predict", "lenet5", "a.png"], 4),
}


def test_help_and_usage_errors_answer_without_torch():
    code = (
        "import sys\nfrom fovea.commands.main import main\n"
        f"for name, (arguments, expected) in {WITHOUT_TORCH!r}.items():\n"
        "    try:\n        found = main(arguments)\n"
        "    except SystemExit as stop:\n        found = stop.code or 0\n"
        "    assert found == expected, (name, found)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_package_imports_no_torch():
    code = "import sys, fovea; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False False\n"


def test_help_names_every_verb_and_goes_to_stdout(fovea):
    code, out, err = fovea("--help")
    assert (code, err) == (0, "")
    assert out == help_text() + "\n"
    assert all(f"  {verb} " in out for verbs in VERBS.values() for verb in verbs)
    assert fovea() == fovea("-h") == (0, out, "")


def test_version(fovea):
    assert fovea("--version") == (0, f"fovea {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian", "train or transfer"), ("evalute", "evaluate or ablate"), ("predcit", "predict or recipes")],
)
def test_an_unknown_verb_gets_the_close_one_offered(typed, meant, fovea):
    code, out, err = fovea(typed)
    assert (code, out) == (2, "")
    assert err.startswith(f"fovea: no verb is called '{typed}'; there are ")
    assert f"Did you mean {meant}?" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.DataError("x"), 3),
        (errors.UnreadableImage("x"), 3),
        (errors.ModelError("x"), 4),
        (errors.ShapeError("x"), 4),
        (errors.MachineError("x"), 5),
        (errors.NumbersError("x"), 6),
        (errors.RunInUse("x"), 7),
        (errors.FinishedWithFailures("x"), 8),
        (errors.Stopped("x", 2), 130),
        (errors.Stopped("x", 15), 143),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_sentence_and_its_code(error, code, fovea, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr(module, "_dispatch", fail)
    assert fovea("list") == (code, "", "fovea: x\n")


@pytest.mark.parametrize("error", [ValueError("odd"), errors.FoveaError("odd"), OSError("odd")])
def test_what_nobody_foresaw_is_a_bug_with_its_traceback(error, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr(module, "_dispatch", fail)
    assert main(["list"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "odd" in said


def test_ctrl_c_before_training_is_130_without_traceback(fovea, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_dispatch", interrupt)
    assert fovea("list") == (130, "", "fovea: stopped\n")


def test_memory_that_runs_out_is_5_with_a_way_out(fovea, monkeypatch):
    def burst(_):
        raise MemoryError

    monkeypatch.setattr(module, "_dispatch", burst)
    code, _, err = fovea("train")
    assert code == 5
    assert "--batch-size" in err


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_leaves_early_is_no_error(reader, shell):
    done = shell(f"{{ $FOVEA list --json; echo $? >&2; }} | {reader}")
    assert done.stderr == b"0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["list", "list --json", "--help"])
def test_a_full_disk_behind_the_output_is_said_so(command, shell):
    done = shell(f"$FOVEA {command} > /dev/full")
    assert done.returncode == 5
    assert done.stderr.startswith(b"fovea: what was to be printed: cannot be written: No space left")
    assert done.stderr.count(b"\n") == 1


def test_the_module_runs_as_the_command(shell):
    done = shell("$FOVEA --version")
    assert (done.returncode, done.stdout.decode()) == (0, f"fovea {package.__version__}\n")
