"""fovea list."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from fovea.architectures.cards import card
from fovea.architectures.catalogue import facts, list_architectures
from fovea.architectures.history import history
from fovea.commands.list import short, table


def test_json_has_the_promised_keys_for_every_network(fovea):
    code, out, err = fovea("list", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["name"] for each in found] == list_architectures()
    assert all({"name", "year", "parameters", "macs", "image_size", "source"} <= each.keys() for each in found)
    lenet = next(each for each in found if each["name"] == "lenet5")
    assert (lenet["parameters"], lenet["macs"], lenet["image_size"]) == (61_706, 416_520, 32)


def test_a_pattern_chooses(fovea):
    _, out, _ = fovea("list", "lenet5*", "--json")
    assert [each["name"] for each in json.loads(out)] == list_architectures("lenet5*")


def test_the_table_has_a_line_for_each_network_with_its_facts(fovea):
    code, out, _ = fovea("list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["name", "year", "parameters"]
    assert [line.split()[0] for line in lines[1:]] == list_architectures()
    (line,) = [line for line in lines if line.startswith("lenet5 ")]
    assert f"{facts('lenet5').parameters:,}" in line
    assert "1×32²" in line
    assert all(line == line.rstrip() for line in lines)


def test_a_pattern_without_a_match_is_a_usage_error_with_the_close_name(fovea):
    code, out, err = fovea("list", "lenet55")
    assert (code, out) == (2, "")
    assert err.startswith("fovea: no network matches 'lenet55'. Did you mean ")
    assert "lenet5" in err


# --- columns, order, filters -----------------------------------------------------------------------------------------


def names(out):
    return [line.split()[0] for line in out.splitlines()[1:]]


def test_the_table_shows_the_first_published_error_with_its_protocol_and_the_idea(fovea):
    _, out, _ = fovea("list", "alexnet")
    known = facts("alexnet")
    (line,) = out.splitlines()[1:]
    for told in (str(known.errors[0].top1), str(known.errors[0].top5), known.errors[0].protocol, known.idea):
        assert told in line
    assert line.split()[:4] == ["alexnet", "2012", "60,965,224", "724,406,816"]


@pytest.mark.parametrize("sort", ["year", "name", "parameters", "macs"])
def test_sorted_by_a_fact_every_network_has(fovea, sort):
    _, out, _ = fovea("list", "--sort", sort)
    values = [name if sort == "name" else getattr(facts(name), sort) for name in names(out)]
    assert values == sorted(values)
    assert len(values) == len(list_architectures())


@pytest.mark.parametrize("sort", ["top1", "top5"])
def test_sorted_by_error_the_best_comes_first_and_the_unknown_last(fovea, sort):
    _, out, _ = fovea("list", "--sort", sort)
    errors = [getattr(facts(name).errors[0], sort) if facts(name).errors else None for name in names(out)]
    known = [error for error in errors if error is not None]
    assert errors == sorted(known) + [None] * (len(errors) - len(known))


def test_filters_hold_together(fovea):
    _, out, _ = fovea("list", "--since", "2015", "--max-parameters", "10e6", "--max-macs", "1e9", "--family", "resnet")
    expected = [
        name
        for name in list_architectures()
        if facts(name).family == "resnet" and facts(name).parameters <= 10e6 and facts(name).macs <= 1e9
    ]
    assert names(out) == expected
    assert "resnet50" not in expected
    assert "cifar_resnet20" in expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--family", "resnets"], "no family is called 'resnets'"),
        (["--family", "resnets"], "Did you mean resnet"),
        (["--since", "2030"], "none of the "),
        (["--max-parameters", "10", "--since", "1999"], "passes --since 1999 and --max-parameters 10.0"),
        (["--sort", "beauty"], "beauty"),
        (["--max-macs", "many"], "many"),
        (["--plot", "x.png"], "give --history with it"),
        (["--history", "--plot", "x.jpg"], "ends with .png"),
        (["lenet5", "--history"], "goes without a name"),
        (["--history", "--card", "--since", "2012"], "goes without --since, --card"),
    ],
)
def test_what_does_not_go_is_a_usage_error_in_a_sentence(fovea, arguments, said):
    code, out, err = fovea("list", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


# --- width -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 80, 100, 120, 160, 240])
def test_on_a_terminal_every_line_fits_and_names_stay_whole(width):
    found = [facts(name) for name in list_architectures()]
    lines = table(found, width=width).splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert [line.split()[0] for line in lines[1:]] == list_architectures()


def test_a_terminal_is_asked_for_its_width_and_a_pipe_gets_everything(tmp_path):
    outside, inside = pty.openpty()
    command = [sys.executable, "-m", "fovea", "list", "lenet5*"]
    with subprocess.Popen(command, stdout=inside, cwd=tmp_path, env=os.environ | {"COLUMNS": "70"}) as process:
        assert process.wait(60) == 0
    os.close(inside)
    seen = os.read(outside, 65536).decode().replace("\r\n", "\n").splitlines()
    os.close(outside)
    assert max(map(len, seen)) <= 70
    assert "61.7k" in seen[1]
    piped = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True).stdout
    assert facts("lenet5").idea in piped


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (156, "156"),
        (999, "999"),
        (1000, "1.00k"),
        (61_706, "61.7k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (99_960_000, "100M"),
        (138_357_544, "138M"),
        (999_949_999, "1.00G"),
        (4_089_184_256, "4.09G"),
    ],
)
def test_counts_in_three_digits(count, said):
    assert short(count) == said


# --- cards and history -----------------------------------------------------------------------------------------------


def test_a_card_is_printed_or_given_as_data(fovea):
    _, out, _ = fovea("list", "lenet5_1998", "--card")
    assert out == f"{card('lenet5_1998')}\n"
    _, out, _ = fovea("list", "lenet5*", "--card", "--json")
    found = json.loads(out)
    assert [each["name"] for each in found] == list_architectures("lenet5*")
    assert found[0]["answers"]["loss"].keys() == {"question", "text", "source"}


def test_the_history_is_printed_or_given_as_data(fovea):
    code, out, _ = fovea("list", "--history")
    assert (code, out) == (0, f"{history()}\n")
    _, out, _ = fovea("list", "--history", "--json")
    found = json.loads(out)
    assert [each["year"] for each in found["years"]] == list(range(2010, 2018))
    assert found["years"][2]["error"] == {"value": 15.3, "source": history().years[2].error.source}
    assert found["years"][0]["hardware"] is None


def test_the_history_is_drawn_where_it_is_asked_to(fovea, tmp_path):
    code, out, err = fovea("list", "--history", "--json", "--plot", "history.png")
    assert code == 0
    assert json.loads(out)
    assert err == "drawn into history.png\n"
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


# --- speed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--json"], ["alexnet", "--card"], ["--history"]])
def test_nothing_heavy_is_loaded(arguments):
    code = (
        "import sys; from fovea.commands.main import main\n"
        f"assert main(['list', *{arguments}]) == 0\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'PIL', 'rich', 'typeguard', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_list_takes_a_quarter_of_a_second_at_most():
    code = (
        "import os, sys; from fovea.commands.main import main\n"
        "main(['list']); spent = os.times(); sys.stderr.write(str(spent.user + spent.system))"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True) for _ in range(3)]
    assert min(float(each.stderr) for each in done) < 0.25
