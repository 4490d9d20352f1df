"""The page: one valid file, everything escaped, tables that sort, pictures inlined, nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from fovea.errors import UsageError
from fovea.pictures.page import PNG, Picture, Table, Text, number, page

EVIL = """<script>alert("'&")</script>"""
SVG = b"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" width="10pt"><metadata><a href="http://purl.org"/></metadata>
<g id="axes" clip-path="url(#clip)"><text>the text, id="axes"</text></g></svg>
"""
TABLE = Table(("layer", "multiply-adds"), [("conv1", "1,234.5"), (EVIL, "–")], "a caption")
SECTIONS = [Text("two\n  lines"), TABLE, Picture(SVG, "drawn"), Picture(SVG, EVIL), Picture(PNG + b"...", "dots")]
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Checks that every element is closed in its turn; keeps elements and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return page(f"title {EVIL}", sections=SECTIONS)


@pytest.fixture(scope="module")
def read(html) -> Reader:
    return Reader(html)


def test_equal_sections_give_an_equal_page(html):
    assert html == page(f"title {EVIL}", sections=SECTIONS)
    assert html.startswith("<!DOCTYPE html>\n")


def test_every_element_is_closed_and_every_section_has_its_place(read):
    assert [len(read.all(tag)) for tag in ("html", "head", "body", "title", "h1")] == [1] * 5
    assert len(read.all("section")) == len(SECTIONS)
    assert ("pre", "two\n  lines") in read.texts
    assert ("figcaption", "a caption") in read.texts


def test_names_are_escaped_wherever_they_stand(html, read):
    assert EVIL not in html
    assert len(read.all("script")) == 1
    for tag in ("td", "h1", "title", "figcaption"):
        assert any(name == tag and EVIL in text for name, text in read.texts)
    assert read.all("svg")[1]["aria-label"] == EVIL


def test_a_table_has_heads_to_click_and_values_to_sort_by(read):
    assert [head.get("class") for head in read.all("th")] == [None, "number"]
    assert len(read.all("button")) == 2
    assert [cell.get("data-value") for cell in read.all("td")] == [None, "1234.5", None, None]
    assert [cell.get("class") for cell in read.all("td")] == [None, "number"] * 2


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,234.5", 1234.5),
        ("3.2 MiB", 3.2 * 2**20),
        ("12.3%", 12.3),
        ("−7", -7.0),
        ("1.5 G", 1.5e9),
        ("2e-3", 0.002),
        (" 4 ms ", 0.004),
        ("0", 0.0),
        ("–", None),
        ("", None),
        ("3×224×224", None),
        ("conv1", None),
        ("nan", None),
        ("3 kib", None),
    ],
)
def test_numbers_are_read_with_their_units(cell, value):
    assert number(cell) == (None if value is None else pytest.approx(value))


def test_a_column_of_blanks_or_of_words_is_no_column_of_numbers():
    read = Reader(page("t", sections=[Table(("a", "b", "c"), [("", "x", "1"), ("–", "1", "2"), ("", "y", "x")])]))
    assert [head.get("class") for head in read.all("th")] == [None, None, "number"]


def test_svgs_stand_in_the_page_with_names_of_their_own(html, read):
    assert "<?xml" not in html
    assert html.count("<!DOCTYPE") == 1
    assert [group["id"] for group in read.all("g")] == ["picture2-axes", "picture3-axes"]
    assert read.all("g")[0]["clip-path"] == "url(#picture2-clip)"
    assert ("text", 'the text, id="axes"') in read.texts


def test_a_png_is_text_in_the_page(read):
    (image,) = read.all("img")
    assert image["alt"] == "dots"
    assert image["src"] == "data:image/png;base64," + base64.b64encode(PNG + b"...").decode()


def test_the_browser_is_told_to_load_nothing_and_to_run_our_script_alone(html, read):
    policy = next(each["content"] for each in read.all("meta") if each.get("http-equiv"))
    script = next(text for tag, text in read.texts if tag == "script")
    ours = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{ours}'" in policy
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert set(re.findall(r"https?://[^\"\s]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_it_suits_a_phone_a_dark_room_and_paper(html, read):
    assert any(each.get("name") == "viewport" for each in read.all("meta"))
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ([], "there is nothing to put on the page"),
        ([Table(("a", "b"), [("1",)], "short")], "a row of 'short' has 1 cells; it must have 2"),
        ([Picture(b"GIF89a", "moving")], "the picture 'moving' must be an SVG or a PNG"),
    ],
)
def test_what_makes_no_page_is_refused(sections, said):
    with pytest.raises(UsageError, match=said):
        page("t", sections=sections)
