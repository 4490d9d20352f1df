"""fovea inspect: what a user types, and what comes back."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest
import torch

import fovea as package
from fovea.architectures.catalogue import facts, list_architectures
from fovea.commands.inspect import size_in_bytes
from fovea.commands.main import main
from fovea.cost.comparison import side_by_side, totals_as_csv
from fovea.cost.memory import machine_memory
from fovea.errors import UsageError
from fovea.files import BUNDLE_FILE, BUNDLE_FOLDER

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.stem, self.output = nn.Conv2d(in_channels, 4, 3), nn.Linear(4, num_classes)

    def forward(self, images):
        return self.output(self.stem(images).mean((2, 3)))

class ReadsNumbers(Net):
    def __init__(self):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]

class NeedsNumbers(Net):
    def forward(self, images):
        return super().forward(images) * images.max().item()

def network():
    return Net()

def number():
    return 3
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path / "own.py"


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def reported(name, *, batch_size=32, **sizes):
    """What the command reports of a network of the catalogue, from the public function."""
    with torch.device("meta"):
        network = package.create(name)
    return package.inspect(network, batch_size=batch_size, training=True, **sizes)


# --- networks --------------------------------------------------------------------------------------------------------


def test_a_network_of_the_catalogue_prints_its_report(fovea):
    assert fovea("inspect", "lenet5") == (0, f"{reported('lenet5')}\n", "")


def test_several_stand_side_by_side(fovea):
    code, out, err = fovea("inspect", "lenet5", "alexnet", "lenet5")
    assert (code, err) == (0, "")
    assert out == f"{side_by_side([reported('lenet5'), reported('alexnet')])}\n"
    lines = out.splitlines()
    assert lines[0].split() == ["lenet5", "alexnet"]
    [parameters] = [line for line in lines if line.startswith("parameters ")]
    assert parameters.split() == ["parameters", "61,706", "60,965,224"]


def test_a_pattern_means_all_that_match(fovea):
    _, out, _ = fovea("inspect", "lenet5*", "--json")
    assert [each["name"] for each in json.loads(out)] == list_architectures("lenet5*")
    _, out, _ = fovea("inspect", "lenet5_19*", "--json")
    assert json.loads(out)["name"] == "lenet5_1998"


def test_a_file_of_ones_own(fovea, own):
    asked = ["--image-size", "9x12", "--in-channels", "4", "--num-classes", "3", "--json"]
    code, out, _ = fovea("inspect", "own.py:Net", *asked)
    found = json.loads(out)
    assert code == 0
    assert (found["name"], found["in_channels"], found["image_size"]) == ("own.py:Net", 4, [9, 12])
    assert found["macs"] == 4 * 4 * 9 * 7 * 10 + 4 * 3
    assert found["parameters"] == 4 * 36 + 4 + 4 * 3 + 3
    assert fovea("inspect", "own.py:network")[0] == 0
    assert fovea("inspect", f"{own}:Net")[1].startswith(f"{own}:Net: images of 3×224×224")


def test_a_function_of_a_package(fovea):
    found = json.loads(fovea("inspect", "fovea.architectures.lenet:lenet5", "--image-size", "32", "--json")[1])
    assert found["rows"][0]["path"] == "features.conv1.0"


@pytest.mark.usefixtures("own")
def test_a_network_that_reads_numbers_while_it_is_built_is_built_with_memory(fovea):
    code, out, _ = fovea("inspect", "own.py:ReadsNumbers", "--image-size", "8", "--json")
    assert code == 0
    assert json.loads(out)["parameters"] == 162


def test_a_run_folder_and_its_bundle_are_inspected_as_they_were_trained(fovea, digits_run):
    _, out, _ = fovea("inspect", digits_run, "--json")
    found = json.loads(out)
    bundle = digits_run / BUNDLE_FOLDER
    told = json.loads((bundle / BUNDLE_FILE).read_text())["architecture"]
    assert (found["in_channels"], found["image_size"]) == (told["in_channels"], [told["image_size"]] * 2)
    rows = [row for row in found["rows"] if row["kind"] == "Linear"]
    assert rows[-1]["shape"] == [told["num_classes"]] == [10]
    other = json.loads(fovea("inspect", bundle, "--json")[1])
    assert (found.pop("name"), other.pop("name")) == (str(digits_run), str(bundle))
    assert other == found


# --- options ---------------------------------------------------------------------------------------------------------


def test_a_side_makes_the_network_for_it_and_two_only_the_images(fovea):
    found = json.loads(fovea("inspect", "lenet5", "--image-size", "28", "--json")[1])
    assert (found["parameters"], found["macs"], found["image_size"]) == (44_426, 281_640, [28, 28])
    for written in ("64x96", "64×96", "64,96"):
        found = json.loads(fovea("inspect", "resnet18", "--image-size", written, "--json")[1])
        assert found["image_size"] == [64, 96]
        assert found["parameters"] == facts("resnet18").parameters


def test_channels_and_classes(fovea):
    found = json.loads(fovea("inspect", "lenet5", "--in-channels", "3", "--num-classes", "7", "--json")[1])
    assert found["parameters"] == 61_706 + 2 * 150 - 3 * 85
    assert found["in_channels"] == 3


@pytest.mark.parametrize("depth", ["stages", "blocks", "layers"])
def test_depth(fovea, depth):
    assert fovea("inspect", "lenet5", "--depth", depth)[1] == f"{reported('lenet5').at_depth(depth)}\n"


def test_sort(fovea):
    found = json.loads(fovea("inspect", "lenet5", "--sort", "parameters", "--json")[1])
    parameters = [row["parameters"] for row in found["rows"]]
    assert parameters == sorted(parameters, reverse=True)
    assert parameters[0] == 48_120
    one = fovea("inspect", "lenet5", "--depth", "stages", "--sort", "macs")[1]
    assert one == f"{reported('lenet5').at_depth('stages').sorted('macs')}\n"


def test_the_batch_is_that_of_memory(fovea):
    found = [json.loads(fovea("inspect", "lenet5", "-b", batch, "--json")[1]) for batch in ("1", "64")]
    assert [each["batch_size"] for each in found] == [1, 64]
    assert found[0]["macs"] == found[1]["macs"]
    assert found[0]["inference_bytes"] < found[1]["inference_bytes"]
    assert found[0]["arithmetic_intensity"] < found[1]["arithmetic_intensity"]


def test_json_is_the_reports(fovea):
    expected = [json.loads(json.dumps(reported(name).as_json())) for name in ("lenet5", "alexnet")]
    assert json.loads(fovea("inspect", "lenet5", "--json")[1]) == expected[0]
    assert json.loads(fovea("inspect", "lenet5", "alexnet", "--json")[1]) == expected


def test_csv_is_the_rows_of_one_and_the_totals_of_several(fovea):
    _, out, _ = fovea("inspect", "lenet5", "--csv")
    assert out == reported("lenet5").as_csv()
    assert sum(int(row["macs"]) for row in csv.DictReader(io.StringIO(out))) == 416_520
    _, out, _ = fovea("inspect", "lenet5", "alexnet", "--csv")
    assert out == totals_as_csv([reported("lenet5"), reported("alexnet")])
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["name"], int(row["parameters"])) for row in rows] == [("lenet5", 61_706), ("alexnet", 60_965_224)]
    assert all(int(row["training_bytes_sgd"]) < int(row["training_bytes_adam"]) for row in rows)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_shows_every_way_and_the_largest_batch_within(fovea):
    code, out, _ = fovea("inspect", "lenet5", "--memory", "--within", "8GiB", "-b", "4")
    assert code == 0
    title, heads, *ways = out.splitlines()[-18:]
    assert title.startswith("training lenet5, 4 images at once: ")
    assert title.endswith("the largest batch within 8.0 GiB")
    assert heads.split()[-2:] == ["largest", "batch"]
    assert [way.split()[0] for way in ways] == ["sgd", "adam"] * 8
    assert [way.split()[1] for way in ways] == ["float32"] * 8 + ["bf16"] * 8
    found = json.loads(fovea("inspect", "lenet5", "--memory", "--within", "8GiB", "-b", "4", "--json")[1])
    assert found["limit_bytes"] == 8 << 30
    batches = [each["largest_batch"] for each in found["training"]]
    assert [way.split()[-1] for way in ways] == [f"{batch:,}" for batch in batches]


def test_without_within_it_is_this_machines_memory(fovea):
    found = json.loads(fovea("inspect", "lenet5", "--memory", "-b", "4", "--json")[1])
    assert found["limit_bytes"] == machine_memory()
    assert len(found["training"]) == 16


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("8GiB", 8 << 30),
        ("8gi", 8 << 30),
        ("1.5 KiB", 1536),
        ("2k", 2000),
        ("0.5G", 500_000_000),
    ],
)
def test_sizes_are_read(written, size):
    assert size_in_bytes(written) == size


@pytest.mark.parametrize("written", ["", "much", "8XB", "-1", "8 Gi B", "GiB", "1e9", "8GiBs"])
def test_what_is_no_size_is_a_usage_error(written):
    with pytest.raises(UsageError, match="is no size: give a number with a unit, such as 8GiB or 500MB"):
        size_in_bytes(written)


# --- what does not go ------------------------------------------------------------------------------------------------

WRONG = [
    ([], "name a network: fovea inspect resnet50"),
    (["lenet5", "--all"], "--all is the whole catalogue and takes no names"),
    (["resnet5"], "'resnet5' is neither a network, nor a run folder or bundle, nor file.py:Class. Did you mean resnet"),
    (["nothing_like_it*"], "'nothing_like_it*' is neither a network, nor a run folder or bundle, nor file.py:Class."),
    (["nowhere.py:Net"], "nowhere.py: there is no such file"),
    (["no_such_package:Net"], "module 'no_such_package' cannot be imported"),
    (["lenet5", "--json", "--csv"], "--json and --csv are two forms of one output: choose one"),
    (["lenet5", "--within", "8GiB"], "--within is the memory that --memory plans for: give both"),
    (["lenet5", "--memory", "--within", "8XB"], "--within (='8XB') is no size"),
    (["lenet5", "--image-size", "abc"], "--image-size (='abc') is a number of pixels from 1 to 100,000"),
    (["lenet5", "--image-size", "0"], "--image-size (='0') is a number of pixels"),
    (["lenet5", "--image-size", "224x0"], "--image-size (='224x0') is a number of pixels"),
    (["lenet5", "--image-size", "224x224x3"], "--image-size (='224x224x3') is a number of pixels"),
    (["lenet5", "--image-size", "99999999999"], "--image-size (='99999999999') is a number of pixels"),
    (["lenet5", "-b", "0"], "--batch-size (=0) must be a whole number from 1 to 10,000,000"),
    (["lenet5", "--in-channels", "-1"], "--in-channels (=-1) must be a whole number from 1"),
    (["lenet5", "--num-classes", "99999999999999999"], "--num-classes (=99999999999999999) must be a whole number"),
    (["lenet5", "--depth", "layer"], "invalid choice 'layer' for argument '--depth'"),
    (["lenet5", "--sort", "beauty"], "beauty"),
    (["lenet5", "--sort", "bound"], "--sort bound orders by time: give --time, or --measure, with it"),
    (["lenet5", "--imagesize", "9"], "Did you mean --image-size?"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_what_does_not_go_is_a_usage_error_in_a_sentence(fovea, arguments, said):
    code, out, err = fovea("inspect", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["own.py:Nett"], 2, "own.py has no class or function called 'Nett'. Did you mean Net"),
        (["own.py:number"], 4, "own.py:number: gives int, no torch.nn.Module"),
        (["own.py:NeedsNumbers", "--image-size", "8"], 4, "NeedsNumbers cannot run without numbers: Tensor.item()"),
        (["own.py:Net", "--image-size", "2"], 4, "would give floor((2 + 2·0 − 3)/1) + 1 = 0 pixels; it runs with "),
        (["lenet5", "--image-size", "64x32"], 4, "1040 = 16·13·5 units came in, 400 = 16·5·5 are expected; it runs"),
        (["lenet5", "--image-size", "8"], 4, "image_size (=8) is too small"),
        (["."], 4, "is neither a run folder nor a bundle"),
    ],
)
def test_networks_that_do_not_go_are_told_in_a_sentence(fovea, arguments, code, said):
    found, out, err = fovea("inspect", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


# --- as a process ----------------------------------------------------------------------------------------------------


def test_help_and_usage_errors_answer_without_torch():
    asked = [(arguments, 2) for arguments, _ in WRONG if "no_such_package:Net" not in arguments]
    asked = [(arguments, code) for arguments, code in asked if ".py:" not in "".join(arguments)]
    asked.append((["--help"], 0))
    code = (
        "import sys\nfrom fovea.commands.main import main\n"
        f"for arguments, expected in {asked!r}:\n"
        "    try:\n        found = main(['inspect', *arguments])\n"
        "    except SystemExit as stop:\n        found = stop.code or 0\n"
        "    assert found == expected, (arguments, found)\n"
        "    heavy = {'torch', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (arguments, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminal_gets_what_fits_and_a_pipe_everything(tmp_path):
    outside, inside = pty.openpty()
    command = [sys.executable, "-m", "fovea", "inspect", "lenet5"]
    with subprocess.Popen(command, stdout=inside, cwd=tmp_path, env=os.environ | {"COLUMNS": "80"}) as process:
        assert process.wait(60) == 0
    os.close(inside)
    seen = os.read(outside, 65536).decode().replace("\r\n", "\n").splitlines()
    os.close(outside)
    assert max(map(len, seen)) <= 80
    assert any(line.startswith("left out for this terminal: ") for line in seen)
    assert any("416,520" in line for line in seen)


def test_calibrating_is_announced_and_times_are_printed(tmp_path, monkeypatch, capsys):
    from fovea.cost import calibration as calibrations

    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path))
    short = calibrations.calibrated(precision="float32", channels_last=False, budget=1.0)
    monkeypatch.setattr(calibrations, "calibrated", lambda **_: short)
    for announced in (True, False):
        assert main(["inspect", "lenet5", "--time", "--measure", "--batch-size", "4", "--sort", "measured"]) == 0
        said = capsys.readouterr()
        assert ("calibrating" in said.err) == announced
        assert "bound ms" in said.out
        assert "measured" in said.out
