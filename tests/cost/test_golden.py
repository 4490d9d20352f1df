"""Printed reports, byte for byte, and their columns added up again.

After a change that is meant, renew the files and read what has changed in them:

    FOVEA_RENEW_GOLDEN=1 .venv/bin/python -m pytest tests/cost/test_golden.py && git diff tests/cost/golden
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

import fovea
from fovea.architectures.catalogue import facts

FOLDER = Path(__file__).parent / "golden"
RENEWED = os.environ.get("FOVEA_RENEW_GOLDEN") == "1"

# File: the network, the side of its images, what a row is.
TABLES = {
    "lenet5": ("lenet5", 32, "layers"),
    "alexnet_one_tower_227": ("alexnet_one_tower", 227, "layers"),
    "vgg16": ("vgg16", 224, "blocks"),
    "googlenet": ("googlenet", 224, "blocks"),
    "resnet50": ("resnet50", 224, "blocks"),
}
COUNTS = ("numbers", "weights", "biases", "multiply-adds", "FLOPs")


class Table:
    """The columns of a printed table, read back from its text."""

    def __init__(self, text: str) -> None:
        title, _, head, _, *lines = text.splitlines()
        end = next(i for i, line in enumerate(lines) if line.startswith("─"))
        spans = [match.span() for match in re.finditer(r"\S+(?: \S+)*", head)]
        self.title, self.heads = title, [head[slice(*span)] for span in spans]
        # "output" and all columns after it end where their heads end
        first = self.heads.index("output")
        self.edges = {self.heads[i]: (spans[i - 1][1], spans[i][1]) for i in range(first + 1, len(spans))}
        self.rows, self.total = lines[:end], lines[end + 1]

    def column(self, head: str) -> list[str]:
        """The entries above the total; empty where a row has none."""
        return [self._entry(line, head) for line in self.rows]

    def sum(self, head: str) -> str:
        """The entry of the total."""
        return self._entry(self.total, head)

    def _entry(self, line: str, head: str) -> str:
        return line[slice(*self.edges[head])].strip()


def number(entry: str) -> int:
    return int(entry.replace(",", "") or 0)


def decimal(entry: str) -> float:
    return float(entry.replace(",", "") or 0)


def golden(file: str) -> str:
    return (FOLDER / f"{file}.txt").read_text(encoding="utf-8")


def known(file: str) -> tuple[int, int]:
    """The catalogue's parameters and multiply-adds at that size of images."""
    name, size, _ = TABLES[file]
    published = facts(name)
    others = {other["image_size"]: (other["parameters"], other["macs"]) for other in published.at_other_sizes}
    return (published.parameters, published.macs) if size == published.image_size else others[size]


@pytest.mark.parametrize("file", TABLES)
def test_the_printed_report_is_the_golden_one(file):
    name, size, depth = TABLES[file]
    with torch.device("meta"):
        network = fovea.create(name, image_size=size)
    text = f"{fovea.inspect(network, image_size=size).at_depth(depth)}\n"
    if RENEWED:
        (FOLDER / f"{file}.txt").write_text(text, encoding="utf-8")
        pytest.skip(f"{file}.txt is renewed: read its git diff")
    assert text == golden(file)


def test_there_are_no_golden_files_that_nobody_compares():
    assert {path.name for path in FOLDER.iterdir()} == {f"{file}.txt" for file in TABLES}


@pytest.mark.parametrize("head", COUNTS)
@pytest.mark.parametrize("file", TABLES)
def test_the_printed_columns_add_up_to_the_printed_totals(file, head):
    table = Table(golden(file))
    entries = table.column(head)
    assert sum(map(number, entries)) == number(table.sum(head)) > 0
    assert all(entry in ("", f"{number(entry):,}") for entry in entries)


@pytest.mark.parametrize("file", TABLES)
def test_kibibytes_are_four_for_each_number_and_add_up_as_far_as_they_are_rounded(file):
    table = Table(golden(file))
    for count, size in zip(table.column("numbers"), table.column("KiB"), strict=True):
        assert size == (f"{4 * number(count) / 1024:,.1f}" if count else "")
    assert table.sum("KiB") == f"{4 * number(table.sum('numbers')) / 1024:,.1f}"
    assert sum(map(decimal, table.column("KiB"))) == pytest.approx(
        decimal(table.sum("KiB")), abs=0.05 * len(table.rows)
    )


@pytest.mark.parametrize("file", TABLES)
def test_flops_are_twice_the_multiply_adds_in_every_row(file):
    table = Table(golden(file))
    pairs = zip(table.column("multiply-adds"), table.column("FLOPs"), strict=True)
    assert all(2 * number(macs) == number(flops) for macs, flops in pairs)


@pytest.mark.parametrize(("head", "parts"), [("% par", ("weights", "biases")), ("% macs", ("multiply-adds",))])
@pytest.mark.parametrize("file", TABLES)
def test_shares_are_of_the_total_and_add_up_to_a_hundred(file, head, parts):
    table = Table(golden(file))
    counts = [sum(map(number, entries)) for entries in zip(*map(table.column, parts), strict=True)]
    shares = table.column(head)
    assert shares == [f"{100 * count / sum(counts):.1f}" if count else "" for count in counts]
    assert sum(map(decimal, shares)) == pytest.approx(100, abs=0.05 * len(shares))


@pytest.mark.parametrize("file", TABLES)
def test_the_printed_totals_are_the_published_ones_of_the_catalogue(file):
    table, (parameters, macs) = Table(golden(file)), known(file)
    assert number(table.sum("weights")) + number(table.sum("biases")) == parameters
    assert (number(table.sum("multiply-adds")), number(table.sum("FLOPs"))) == (macs, 2 * macs)
    for line in (f"parameters            {parameters:,} (", f"multiply-adds         {macs:,} = {2 * macs:,} FLOPs: "):
        assert f"\n{line}" in golden(file)


def test_the_lectures_alexnet_has_its_parameters_in_the_head_and_its_arithmetic_in_the_convolutions():
    text = golden("alexnet_one_tower_227")
    assert "\nparameters            61,100,840 (233.1 MiB): convolution 4.0 %, fully connected 96.0 %\n" in text
    assert (
        "\nmultiply-adds         716,767,232 = 1,433,534,464 FLOPs: convolution 91.8 %, fully connected 8.2 %\n" in text
    )
    table = Table(text)
    convolved = [".conv" in line.split()[0] for line in table.rows]
    for head, expected in (("weights", 0.040), ("multiply-adds", 0.918)):
        counts = [number(entry) for entry in table.column(head)]
        share = sum(count for count, inside in zip(counts, convolved, strict=True) if inside) / sum(counts)
        assert share == pytest.approx(expected, abs=0.0005)
    first = table.rows[0].split()
    assert first[0] == "features.conv1.0"
    assert {"64×56×56", "200,704", "784.0", "23,232", "64", "72,855,552"} <= set(first)
