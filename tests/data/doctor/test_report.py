"""The doctor's report: each finding from an index made by hand, its text to the letter, plain values for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fovea.data.doctor.finding import Finding
from fovea.data.doctor.report import Report, examine
from fovea.data.doctor.text import WIDTH, _example
from fovea.data.doctor.wording import columns, in_bytes, in_words, several, share, shortened
from fovea.data.index import CMYK, ODD, SPLITS, SUFFIX, Index


def row(path: str, split: str = "train", label: str = "cat", **other: Any) -> dict[str, Any]:
    """A file of the index: size, digest (a number), width, height, format, mode, odd, look, reason."""
    return {"path": path, "split": split, "label": label} | other


def index_of(*rows: dict[str, Any], **other: Any) -> Index:
    """An index with columns from rows; digests and looks are each row's own where nothing is said."""
    looks = np.random.default_rng(0).integers(1, 2**64, (len(rows), 2), dtype=np.uint64)
    column = {name: [each.get(name, usual) for each in rows] for name, usual in USUAL.items()}
    labels = tuple(sorted({each["label"] for each in rows if each["label"]} | set(other.get("classes", ()))))
    trained = tuple(sorted({each["label"] for each in rows if each["label"] and each["split"] in ("train", "")}))
    formats, modes = (tuple(dict.fromkeys(column[name])) for name in ("format", "mode"))
    digests = [each.get("digest", 1000 + place) for place, each in enumerate(rows)]
    values: dict[str, Any] = {
        "name": "pets",
        "root": "/data/pets",
        "layout": "split folders",
        "source": "/data/pets",
        "declared": SPLITS,
        "classes": trained,
        "label_names": labels,
        "paths": tuple(each["path"] for each in rows),
        "splits": np.array([SPLITS.index(each["split"]) if each["split"] else -1 for each in rows], np.int8),
        "labels": np.array([labels.index(each["label"]) if each["label"] else -1 for each in rows], np.int32),
        "sizes": np.array(column["size"], np.int64),
        "stamps": np.zeros(len(rows), np.int64),
        "digests": np.array([list(digest.to_bytes(32, "big")) for digest in digests], np.uint8).reshape(-1, 32),
        "widths": np.array(column["width"], np.int32),
        "heights": np.array(column["height"], np.int32),
        "formats": np.array([formats.index(name) for name in column["format"]], np.uint8),
        "format_names": formats,
        "modes": np.array([modes.index(name) for name in column["mode"]], np.uint8),
        "mode_names": modes,
        "odd": np.array(column["odd"], np.uint16),
        "looks": np.array([each.get("look", tuple(looks[n])) for n, each in enumerate(rows)], np.uint64).reshape(-1, 2),
        "reasons": {place: each["reason"] for place, each in enumerate(rows) if "reason" in each},
        "sentences": {n: f"/data/pets/{e['path']}: is {e['reason']}" for n, e in enumerate(rows) if "reason" in e},
        "strays": {},
        "members": np.empty((0, 4), np.int64),
    }
    return Index(**(values | other))


USUAL = {"size": 1000, "width": 100, "height": 80, "format": "JPEG", "mode": "RGB", "odd": 0}
Decode = Callable[[int], NDArray[np.uint8]]


def report_of(*rows: dict[str, Any], pixels: Decode | None = None, refusal: str = "", **other: Any) -> Report:
    index = index_of(*rows, **other)
    places = index.splits.copy()
    places[index.bad()] = -1
    return examine(index, places, pixels=pixels, refusal=refusal)


def found(report: Report, kind: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.kind == kind]
    return finding


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


GOOD = [row(f"{split}/{label}/{n}.jpg", split, label) for split in SPLITS for label in ("cat", "dog") for n in range(3)]


def test_a_sound_set_gives_no_finding() -> None:
    report = report_of(*GOOD)
    assert report.findings == ()
    assert report.bad_count == 0
    assert "18 images, none bad; nothing to say against them" in str(report)
    assert report.splits == {"train": 6, "validation": 6, "test": 6}
    assert report.classes["dog"] == {"train": 3, "validation": 3, "test": 3}


def test_the_report_to_the_letter() -> None:
    rows = [
        *GOOD[:11],
        row("validation/dog/2.jpg", "validation", "dog", digest=1000),
        row("train/cat/cut.jpg", reason="truncated", format="", mode="", width=0, height=0),
        row("train/cat/old.png", odd=SUFFIX),
    ]
    assert str(report_of(*rows, strays={"train/notes.txt": "no image by its suffix (.txt)"})) == TEXT


TEXT = """\
pets: 13 usable images in 2 classes, 13.7 KiB
split folders in /data/pets
train 7, validation 6; JPEG 13; RGB 13
all 100 × 80 pixels

14 images, 1 bad; 3 warnings, 1 note

Bad: these files make the check fail
  1 file that cannot be decoded: 1 truncated
      train/cat/cut.jpg: truncated
    → restore or remove them; train leaves them out with --allow-bad 1

Warnings: worth mending before training
  1 group of identical images across splits; training holds 1 of 6 validation images (17 %)
      train/cat/0.jpg (train) = validation/dog/2.jpg (validation)
    → scores flatter: remove the copies from training
  1 group of identical images under two labels
      train/cat/0.jpg (cat) = validation/dog/2.jpg (dog)
    → look at them: one label at most is right; keep each image under that one
  1 thing beside the images, passed over
      train/notes.txt: no image by its suffix (.txt)
    → nothing, if they are no images; convert images of other formats to JPEG or PNG

Notes: good to know
  1 image: suffix names another format
      train/cat/old.png
    → they are read by their content; rename them, so that other programs read them too

Class             train  validation
cat                   4           3
dog                   3           3
all classes           7           6"""


def test_bad_files_alone_are_bad_and_all_are_listed() -> None:
    cut = [row(f"train/cat/cut{n:04}.jpg", reason="truncated") for n in range(1200)]
    report = report_of(*GOOD, *cut, row("train/loose.jpg", label=""), row("train/none.jpg", label="", reason="empty"))
    assert report.bad_count == 1202
    finding = found(report, "cannot be decoded")
    assert len(finding.examples) == finding.count == 1201
    assert "1,200 truncated and 1 empty" in finding.title
    assert found(report, "no label").examples == (("train/loose.jpg",),)
    assert {finding.kind for finding in report.of("bad")} == {"cannot be decoded", "no label"}
    assert len(report.as_json()["bad"]) == 1202
    assert "      and 1,191 more\n" in str(report)
    reasons = {file.path: file.reason for file in report.bad}
    assert reasons["train/loose.jpg"] == "no label"
    assert reasons["train/none.jpg"] == "empty"


@pytest.mark.parametrize("bit", range(len(ODD)))
def test_each_odd_bit_is_a_finding(bit: int) -> None:
    report = report_of(*GOOD, row("train/cat/odd.jpg", odd=1 << bit))
    finding = found(report, ODD[bit])
    assert finding.title == f"1 image: {ODD[bit]}"
    assert finding.examples == (("train/cat/odd.jpg",),)
    assert finding.groups == ((len(GOOD),),)


def test_odd_bits_of_bad_rows_do_not_count() -> None:
    assert ODD[4] not in kinds(report_of(*GOOD, row("x.jpg", odd=CMYK, reason="damaged")))


def test_copies_across_splits_count_what_training_has_seen() -> None:
    extra = [row("test/cat/a.jpg", "test", digest=1), row("validation/cat/a.jpg", "validation", digest=1)]
    finding = found(report_of(*GOOD, row("train/cat/a.jpg", digest=1), *extra), "identical, across splits")
    known = "1 of 7 validation images (14 %) and 1 of 7 test images (14 %)"
    assert finding.title == f"1 group of identical images across splits; training holds {known}"
    without = found(report_of(*GOOD, *extra), "identical, across splits")
    assert without.title == "1 group of identical images across splits"


def test_copies_within_a_split_and_in_none() -> None:
    report = report_of(*GOOD, row("train/cat/a.jpg", digest=1), row("train/cat/b.jpg", digest=1))
    assert found(report, "identical, within a split").examples == (("train/cat/a.jpg", "train/cat/b.jpg"),)
    left_out = report_of(*GOOD, row("a.jpg", "", digest=1), row("train/b.jpg", digest=1))
    assert kinds(left_out) == {"identical, within a split"}


def test_unread_files_and_bad_ones_are_no_copies() -> None:
    rows = [row(f"train/cat/{name}.jpg", digest=0) for name in "ab"]
    rows += [row(f"train/cat/{name}.jpg", digest=5, reason="no image") for name in "cd"]
    assert kinds(report_of(*GOOD, *rows)) == {"cannot be decoded"}


def test_near_copies_are_no_more_than_a_note_within_one_split_and_label() -> None:
    one = {"look": (77, 0xF0F0F0F0)}
    other = {"look": (76, 0xF0F0F0F1)}
    within = report_of(*GOOD, row("train/cat/a.jpg", **one), row("train/cat/b.jpg", **other))
    assert found(within, "near, within a split").severity == "note"
    across = report_of(*GOOD, row("train/cat/a.jpg", **one), row("test/dog/b.jpg", "test", "dog", **other))
    assert found(across, "near, across splits").severity == "warning"
    assert found(across, "near, under two labels").examples == (("train/cat/a.jpg (cat)", "test/dog/b.jpg (dog)"),)


def test_identical_images_are_not_called_near_copies_too() -> None:
    twin = {"look": (77, 78), "digest": 1}
    assert kinds(report_of(*GOOD, row("train/cat/a.jpg", **twin), row("train/cat/b.jpg", **twin))) == {
        "identical, within a split"
    }


def test_a_large_group_names_one_of_each_split_first() -> None:
    rows = [row(f"train/cat/a{n}.jpg", digest=1) for n in range(9)] + [row("test/cat/z.jpg", "test", digest=1)]
    (parts,) = found(report_of(*GOOD, *rows), "identical, across splits").examples
    assert parts == ("train/cat/a0.jpg (train)", "train/cat/a1.jpg (train)", "test/cat/z.jpg (test)", "7 more")


def test_images_that_are_alike_by_nature_are_a_note() -> None:
    rng = np.random.default_rng(0)
    masks = [sum(1 << int(bit) for bit in rng.choice(64, 6, replace=False)) for _ in range(300)]
    report = report_of(*GOOD, *[row(f"train/cat/d{n}.png", look=(mask, 1 << 40)) for n, mask in enumerate(masks)])
    assert found(report, "alike by nature").severity == "note"
    assert not {kind for kind in kinds(report) if kind.startswith("near")}


def test_classes_that_differ_between_splits() -> None:
    report = report_of(*GOOD, row("validation/Cat/a.jpg", "validation", "Cat"), row("train/cow/a.jpg", label="cow"))
    assert found(report, "only in validation").examples == (("Cat", "1 image"),)
    assert found(report, "missing in validation").examples == (("cow",),)
    assert found(report, "missing in test").examples == (("cow",),)
    assert found(report, "spelled twice").examples == (("'Cat'", "'cat'"),)
    assert found(report, "too few images").examples == (("cow", "1 image"),)
    assert list(report.classes) == ["cat", "cow", "dog", "Cat"]


def test_names_that_look_the_same_are_shown_by_their_code_points() -> None:
    names = ("caf\u00e9", "cafe\u0301")
    report = report_of(*GOOD, *[row(f"train/{n}/{i}.jpg", label=n) for n in names for i in range(3)])
    assert found(report, "spelled twice").examples == ((r"'cafe\u0301'", r"'caf\xe9'"),)


def test_empty_classes() -> None:
    report = report_of(*GOOD, classes=("ape", "cat", "dog"))
    assert found(report, "empty classes").examples == (("ape",),)
    assert report.classes["ape"] == {"train": 0, "validation": 0, "test": 0}


@pytest.mark.parametrize(("most", "warned"), [(29, False), (30, True)])
def test_imbalance_is_warned_of_from_ten_to_one(most: int, warned: bool) -> None:
    rows = [row(f"train/cat/{n}.jpg") for n in range(most)]
    rows += [row(f"train/dog/{n}.jpg", label="dog") for n in range(3)]
    report = report_of(*rows)
    assert ("imbalance" in kinds(report)) is warned
    if warned:
        assert found(report, "imbalance").title.startswith("The largest class has 10 times as many")


def test_sizes_and_shapes() -> None:
    rows = [row("train/cat/long.jpg", width=1100, height=100), row("train/cat/small.jpg", width=31, height=64)]
    rows += [row("train/cat/ten.jpg", width=1000, height=100)]
    report = report_of(*GOOD, *rows)
    assert found(report, "extreme shape").examples == (("train/cat/long.jpg",),)
    assert found(report, "small").examples == (("train/cat/small.jpg",),)
    assert report.sizes is not None
    assert report.sizes.width == (31, 100, 1100)
    assert report.sizes.height == (64, 80, 100)
    assert report.sizes.common[0] == (100, 80, 18)
    assert "widths 31 to 1,100 (median 100), heights 64 to 100 (80), most often 100 × 80 (86 %)" in str(report)


def test_small_images_throughout_are_not_listed_one_by_one() -> None:
    report = report_of(*[{**each, "width": 28, "height": 28} for each in GOOD])
    assert found(report, "small").examples == ()
    assert "18 images (100 %) with a side below 32 pixels" in str(report)
    assert "more\n" not in str(report)


def test_images_of_one_tone_are_those_whose_pixels_say_so() -> None:
    def pixels(place: int) -> NDArray[np.uint8]:
        if place == len(GOOD) + 2:
            raise OSError("gone")
        tone = 0 if place == len(GOOD) else np.arange(64).reshape(8, 8, 1)  # one falls evenly: its hash is 0 too
        return np.broadcast_to(np.asarray(200 - tone), (8, 8, 3)).astype(np.uint8)

    rows = [row(f"train/cat/{name}.jpg", look=(0, 0)) for name in ("flat", "falling", "gone")]
    assert found(report_of(*GOOD, *rows, pixels=pixels), "one tone").examples == (("train/cat/flat.jpg",),)
    assert "one tone" not in kinds(report_of(*GOOD, *rows))


def test_grey_among_colours() -> None:
    assert found(report_of(*GOOD, row("train/cat/g.jpg", mode="L")), "grey among colours").count == 1
    assert kinds(report_of(*[{**each, "mode": "L"} for each in GOOD])) == set()


def test_a_refusal_is_the_first_warning() -> None:
    report = report_of(*GOOD, refusal="/data/pets: too few images\n  more", strays={"a.txt": "no image"})
    assert report.of("warning")[0].examples == (("/data/pets: too few images",),)


def test_a_set_that_is_not_split() -> None:
    report = report_of(*[{**each, "split": ""} for each in GOOD])
    assert report.splits == {"not split": 18}
    assert report.classes == {"cat": {"not split": 9}, "dog": {"not split": 9}}
    assert kinds(report) == set()


def test_copies_in_a_set_that_is_cut_by_seed_are_not_to_be_removed_from_training() -> None:
    index = index_of(*[{**each, "split": ""} for each in GOOD], row("a.jpg", "", digest=1), row("b.jpg", "", digest=1))
    places = np.array([0, 1, 2] * 6 + [0, 2], np.int8)
    assert "put them into splits by hand" in found(examine(index, places), "identical, across splits").advice


def test_no_usable_image_at_all() -> None:
    report = report_of(row("train/cat/a.jpg", reason="empty"))
    assert report.sizes is None
    assert report.bad_count == 1
    assert "1 image, 1 bad" in str(report)
    assert report_of().files == 0
    assert str(report_of())


def test_a_long_table_shows_both_ends() -> None:
    rows = [row(f"train/c{n:02}/{i}.jpg", label=f"c{n:02}") for n in range(30) for i in range(40 - n)]
    lines = str(report_of(*rows)).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("Class"))
    names = [line.split()[0] for line in lines[start + 1 :]]
    assert names == ["c00", "c01", "c02", "c03", "c04", "and", "c25", "c26", "c27", "c28", "c29", "all"]
    assert "and 20 classes between" in lines[start + 6]


NASTY = ("a\nb", "\udce9", "\x1b[31mred", "语言" * 40, "🐈" * 60, "x" * 255, " = ", "e\u0301" * 70)


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
def test_any_name_is_printable_and_no_line_is_overlong(name: str) -> None:
    rows = [row(f"train/{name}/{n}.jpg", label=name, digest=7) for n in range(3)]
    rows += [row(f"test/{name}.jpg", "test", name, digest=7), row(f"{name}.jpg", label=name, reason="empty")]
    report = report_of(*GOOD, *rows, name=name, root=f"/{name}", strays={name: name})
    for line in str(report).splitlines():
        assert line.isprintable()
        assert columns(line) <= WIDTH, line
    str(report).encode()
    assert json.loads(json.dumps(report.as_json(), ensure_ascii=False).encode())["bad_count"] == 1


def test_json_says_the_same() -> None:
    told = json.loads(json.dumps(report_of(*GOOD, row("train/cat/a.jpg", digest=1000)).as_json()))
    assert told["files"] == told["usable"] == 19
    assert told["classes"]["cat"] == {"train": 4, "validation": 3, "test": 3}
    assert told["sizes"]["width"] == [100, 100, 100]
    assert told["findings"][0]["kind"] == "identical, within a split"
    assert told["findings"][0]["examples"] == [["train/cat/0.jpg", "train/cat/a.jpg"]]


# --- words -----------------------------------------------------------------------------------------------------------


def test_numbers_in_words() -> None:
    assert [several(n, "copy", "copies") for n in (0, 1, 1200)] == ["0 copies", "1 copy", "1,200 copies"]
    assert [share(n, 1000) for n in (0, 9, 123, 995, 1000)] == ["0 %", "0.9 %", "12 %", "99.5 %", "100 %"]
    assert share(1, 100_000) == "< 0.1 %"
    assert share(99_999, 100_000) == "> 99.9 %"
    assert share(0, 0) == "0 %"
    assert [in_bytes(n) for n in (1, 1023, 1024, 2**20 * 45, 2**30 * 140)] == [
        "1 byte",
        "1,023 bytes",
        "1.0 KiB",
        "45.0 MiB",
        "140 GiB",
    ]
    assert [in_words(list(parts)) for parts in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_names_are_cut_in_their_middle_by_what_they_take_on_the_screen() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("0123456789", 6) == "01…789"
    assert columns(shortened("语言" * 40, 21)) <= 21
    assert columns("e\u0301") == 1


def test_parts_of_an_example_share_the_room() -> None:
    assert _example(("a" * 50, "b"), ": ", 20) == shortened("a" * 50, 17) + ": b"
    assert columns(_example(("a" * 90, "b" * 90, "c" * 5), " = ", 60)) <= 60
    assert _example(("a" * 90, "b" * 90, "c" * 5), " = ", 60).endswith(" = ccccc")
