"""fovea inspect's pictures and page."""

import json
from xml.etree import ElementTree

import pytest

from fovea.commands.drawing import catalogue_bubbles
from fovea.commands.main import main


def test_a_network_is_drawn_into_a_file(tmp_path, capsys):
    for name in ("net.svg", "net.png"):
        assert main(["inspect", "lenet5", "--picture", str(tmp_path / name)]) == 0
    assert ElementTree.fromstring((tmp_path / "net.svg").read_bytes()).tag.endswith("svg")
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr()
    assert "net.svg" in said.err
    assert "net.svg" not in said.out


def test_the_page_holds_the_picture_the_totals_and_every_row(tmp_path, capsys):
    path = tmp_path / "page.html"
    assert main(["inspect", "lenet5", "resnet18", "--html", str(path), "--depth", "stages"]) == 0
    page = path.read_text()
    for word in ("<svg", "Side by side", "features.conv2_x", "11,689,512", "1,814,073,344", "61,706"):
        assert word in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "").replace(
        "https://www.w3.org", ""
    )
    assert "resnet18" in capsys.readouterr().out


def test_all_networks_with_a_published_accuracy_are_bubbles(tmp_path, capsys):
    path = tmp_path / "all.svg"
    assert main(["inspect", "--all", "--json", "--picture", str(path)]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert len(found) > 50
    assert found["resnet50"]["parameters"] == 25_557_032
    assert found["efficientnet_b0"]["protocol"] == "one view"
    assert found["vgg16"]["protocol"] == "several views"
    drawn = ElementTree.fromstring(path.read_bytes())
    texts = {element.text for element in drawn.iter() if element.tag.endswith("}text")}
    assert set(found) <= texts


def test_a_networks_own_figure_stands_for_it_not_an_ensembles():
    accuracy = {bubble.name: bubble.accuracy for bubble in catalogue_bubbles()}
    assert accuracy["alexnet"] < 62  # five networks: 61.9, seven: 63.3
    assert "lenet5" not in accuracy
    assert "cifar_resnet20" not in accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet5", "--picture", "net.pdf"], "draws an SVG or a PNG"),
        (["lenet5", "vgg16", "--picture", "net.svg"], "draws one network"),
        (["lenet5", "--html", "page.txt"], "ends with .html"),
        (["lenet5", "--all"], "takes no names"),
        (["--all", "--html", "page.html"], "not with --html"),
        (["vgg1*", "--picture", "net.svg"], "draws one network, not"),
        (["lenet5", "--precision", "bf16"], "give --time"),
        (["lenet5", "--sort", "estimate"], "give --time"),
    ],
)
def test_what_cannot_be_drawn_is_a_usage_error(arguments, message, capsys):
    assert main(["inspect", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_the_machines_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["inspect", "lenet5", "--picture", str(tmp_path / "file" / "net.svg")]) == 5
    assert "net.svg" in capsys.readouterr().err
