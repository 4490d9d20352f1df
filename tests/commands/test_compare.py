"""fovea compare: networks at the same budget, against what each costs."""

from __future__ import annotations

import csv
import json

import pytest

BUDGET = [
    "--data",
    "digits",
    "--recipe",
    "digits",
    "-b",
    "128",
    "--warmup-epochs",
    "0",
    "--epochs",
    "1",
    "--seeds",
    "1",
]


def test_networks_with_options_are_trained_and_the_front_is_drawn(fovea, tmp_path):
    nets = ["lenet5", "lenet5_book:image_size=20", "cifar_resnet20:depth=8,width=0.25"]
    code, out, err = fovea("compare", *nets[:2], *BUDGET, "--out", tmp_path / "c")
    assert code == 0, err
    code, out, err = fovea("compare", *nets, *BUDGET, "--out", tmp_path / "c")
    assert code == 0, err
    assert err.count(" begins") == 1  # the third network was added
    with (tmp_path / "c/results/runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == nets
    assert {row["epochs"] for row in rows} == {"1"}
    assert {path.name for path in (tmp_path / "c/results").glob("*.png")} == {"curves.png", "pareto.png"}
    best = max(rows, key=lambda row: float(row["test"]))
    assert out.splitlines()[1].startswith(best["network"])
    shown = json.loads(fovea("compare", "--show", tmp_path / "c/results", "--json")[1])
    standing = shown["networks"][0]
    assert standing["label"]["network"] == best["network"]
    assert standing["low"] < float(best["test"]) < standing["high"]
    assert "parameters" in standing["front"] or standing["costs"]["parameters"] > min(
        int(row["parameters"]) for row in rows
    )


def test_depth_and_width_are_chosen_for_an_equal_cost(fovea, tmp_path):
    nets = ["cifar_resnet20:depth=8", "cifar_resnet20:depth=?", "cifar_resnet20:depth=8,width=?"]
    asked = [*nets, "--at-equal-cost", "2", *BUDGET, "--image-size", "8", "--max-steps", "1"]
    code, _, err = fovea("compare", *asked, "--out", tmp_path / "c")
    assert code == 0, err
    with (tmp_path / "c/results/runs.csv").open(newline="") as file:
        costs = {row["network"]: int(row["multiply_adds"]) for row in csv.DictReader(file)}
    small = costs.pop("cifar_resnet20:depth=8")
    assert [name.split("=")[0] for name in costs] == ["cifar_resnet20:depth", "cifar_resnet20:depth"]
    assert all(1.5 < cost / small < 2.5 for cost in costs.values())


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ([], 2, "compare wants networks"),
        (["lenet6"], 2, "no network is called 'lenet6'"),
        (["lenet5:depht=3", "--data", "digits", "--recipe", "digits"], 2, "lenet5 takes no depht"),
        (["lenet5:pool", "--data", "digits"], 2, "module 'lenet5' cannot be imported"),
        (["lenet5", "cifar_resnet20:depth=?"], 2, "--at-equal-cost and an option left open"),
        (["lenet5", "--at-equal-cost", "2"], 2, "--at-equal-cost and an option left open"),
        (["lenet5:x=?", "lenet5", "--at-equal-cost", "2"], 2, "one option of a network can be left open"),
        (
            ["cifar_resnet20", "efficientnet_b0", "--recipe", "paper"],
            2,
            "the recipes give these networks different budgets",
        ),
        (["lenet5", "--data", "nowhere"], 2, "nowhere"),
        (["--show", "nowhere"], 4, "holds no results of an experiment"),
        (["lenet5", "--show", "nowhere"], 2, "--show draws what is there"),
        (
            ["lenet5", "--data", "digits", "--recipe", "digits", "--processes", "0"],
            2,
            "processes (=0) must be 1 or more",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(arguments, code, why, fovea, tmp_path):
    found, out, err = fovea("compare", *arguments)
    assert (found, out) == (code, ""), err
    assert why in err
    assert not (tmp_path / "runs").exists()
