"""The doctor's page: what the words say, with pictures of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.commands.check_page import sections
from fovea.data.checking import check
from fovea.data.doctor.report import Report
from fovea.pictures.page import Picture, Section, Table, Text, page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two classes, a copy across splits, two black images, a file cut short."""
    root: Path = tmp_path_factory.mktemp("pets")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("cat", "dog <b>"):
            (root / split / label).mkdir(parents=True)
            for n in range(3):
                image = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
                image.save(root / split / label / f"{n}.png")
    content = (root / "train/cat/0.png").read_bytes()
    (root / "val/dog <b>/copy.png").write_bytes(content)
    (root / "train/cat/cut.png").write_bytes(content[: len(content) // 2])
    for n in range(2):
        Image.new("RGB", (50, 50 + n)).save(root / f"train/cat/black{n}.png")
    return check(root)


def of(kind: type[Section], found: list[Section]) -> dict[str, Section]:
    return {each.caption: each for each in found if isinstance(each, kind) and not isinstance(each, Text)}


def test_tables_and_pictures_of_every_finding(report: Report) -> None:
    found = sections(report)
    tables, pictures = of(Table, found), of(Picture, found)
    assert list(tables)[:3] == ["The set", "Findings, the worst first", "Files that cannot be used"]
    assert "2 classes" in tables
    bad = tables["Files that cannot be used"]
    assert isinstance(bad, Table)
    assert bad.rows[0][:2] == ("train/cat/cut.png", "truncated")
    assert bad.rows[0][2].startswith("is truncated")
    assert any("identical images across splits" in caption for caption in pictures)
    assert "2 images of one tone, without any content" in pictures
    assert "Images of each class" in pictures


def test_the_page_is_one_file_that_shows_names_as_they_are(report: Report) -> None:
    text = page("pets", sections=sections(report))
    assert "dog &lt;b&gt;" in text
    assert "dog <b>" not in text
    assert text.count("data:image/png") >= 4


def test_without_pixels_there_are_words_only(report: Report) -> None:
    found = sections(report, lambda _: None)
    assert not of(Picture, found)
    assert page("pets", sections=found)
