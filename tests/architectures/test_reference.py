"""A network of the user's own goes wherever a network's name goes; a bundle never runs code by itself."""

import json

import pytest
import torch

import fovea
from fovea.architectures.catalogue import architecture_of, build
from fovea.architectures.reference import accepted, builder_of, is_reference
from fovea.commands.main import main
from fovea.errors import ModelError, UsageError

OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, num_classes)
        )

    def forward(self, images):
        return self.body(images)

def number(num_classes):
    return 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_reference_has_a_colon():
    assert is_reference("own.py:Net")
    assert is_reference("package.module:function")
    assert not is_reference("lenet5")


@pytest.mark.usefixtures("own")
def test_a_class_of_a_file_is_built_with_the_sizes_it_takes():
    network = build("own.py:Net", num_classes=3, in_channels=2, image_size=16, seed=1)
    assert network(torch.zeros(1, 2, 16, 16)).shape == (1, 3)
    assert architecture_of(network).name == "own.py:Net"
    again = build("own.py:Net", num_classes=3, in_channels=2, image_size=16, seed=1)
    assert all(map(torch.equal, network.state_dict().values(), again.state_dict().values()))


def test_a_function_of_a_module_is_called():
    network = build("torch.nn:Identity")
    assert type(network).__name__ == "Identity"
    assert accepted(builder_of("torch.nn:Linear"), {"in_features": 3, "num_classes": 2}) == {"in_features": 3}


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("own.py:Nat", r"own\.py has no class or function called 'Nat'\. Did you mean Net"),
        ("other.py:Net", r"other\.py: there is no such file; a network of your own is file\.py:Class"),
        ("no.such.package:Net", r"module 'no\.such\.package' cannot be imported"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_cannot_be_found_is_a_usage_error(reference, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(reference)


def test_code_that_fails_and_things_that_are_no_network_are_named(own):
    (own / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ModelError, match=r"broken\.py: fails when it is run: ModuleNotFoundError"):
        build("broken.py:Net")
    with pytest.raises(ModelError, match=r"own\.py:number: gives int, no torch\.nn\.Module"):
        build("own.py:number")


@pytest.mark.usefixtures("own")
def test_it_is_trained_judged_and_used_like_any_other_but_runs_only_when_it_is_named(capsys):
    assert main(["train", "own.py:Net", "digits", "--epochs", "1", "--image-size", "8", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 4
    assert "a bundle never runs code; give the network: --network own.py:Net" in capsys.readouterr().err
    assert main(["evaluate", "run", "--network", "own.py:Net", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 359
    assert main(["predict", "run", "run/held_out", "--network", "own.py:Net", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    with pytest.raises(ModelError, match="never runs code"):
        fovea.load("run")


def test_a_builder_that_passes_its_arguments_on_is_called_without_those_refused_there(tmp_path):
    path = tmp_path / "passing.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__(4, num_classes)\n"
        "def net(**sizes):\n"
        "    return Net(**sizes)\n"
        "def broken():\n"
        "    return nn.Linear()\n"
    )
    assert build(f"{path}:net", num_classes=3).out_features == 3
    with pytest.raises(ModelError, match=r"broken: cannot be built .* missing 2 required positional arguments"):
        build(f"{path}:broken")
