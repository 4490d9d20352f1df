"""Tables of paths and labels, as spreadsheets and scripts write them; whatever is wrong is named by its line."""

from pathlib import Path

import pytest

from fovea.data.sources.table import list_csv
from fovea.errors import DataError


def table(root: Path, content: str | bytes, name: str = "set.csv") -> Path:
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root / name


def rows(path: Path) -> list[tuple[str, str, str]]:
    return [(file.path, file.label, file.split) for file in list_csv(path).files]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list_csv(path)
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("beginning", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_marks_and_line_ends_are_taken(tmp_path: Path, separator: str, beginning: bytes, end: str) -> None:
    lines = [("Label", "PATH"), ("cät", "a/1.png"), ("dog", "a b.png"), ("", "c.png")]
    text = "".join(separator.join(line) + end for line in lines)
    found = list_csv(table(tmp_path, beginning + text.encode()))
    assert {(f.path, f.label) for f in found.files} == {("a/1.png", "cät"), ("a b.png", "dog"), ("c.png", "")}
    assert (found.root, found.layout, found.classes) == (tmp_path, "CSV", ("cät", "dog"))


@pytest.mark.parametrize("path", ["path", "file", "Filename", "IMAGE"])
@pytest.mark.parametrize("label", ["label", "Class", "target"])
@pytest.mark.parametrize("split", ["split", "set", "Subset"])
def test_columns_are_known_by_their_heads(tmp_path: Path, path: str, label: str, split: str) -> None:
    found = rows(table(tmp_path, f"{split},x,{label},{path}\nvalid,,cat,1.png\ntraining,,cat,2.png\nTEST,,dog,3.png\n"))
    assert found == [("2.png", "cat", "train"), ("1.png", "cat", "validation"), ("3.png", "dog", "test")]


def test_without_heads_the_first_two_columns_count(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "1.png,cat\n\n2.png,dog\n")) == [("1.png", "cat", ""), ("2.png", "dog", "")]


def test_sizes_links_and_missing_files_are_listed(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"12345")
    (tmp_path / "2.png").symlink_to("1.png")
    one, two, gone = list_csv(table(tmp_path, "1.png,a\n2.png,b\ngone.png,a\n")).files
    assert (one.size, one.link) == (two.size, False) == (5, False)
    assert two.link
    assert one.stamp == (tmp_path / "1.png").stat().st_mtime_ns
    assert (gone.size, gone.stamp) == (0, 0)


def test_a_path_named_twice_counts_once_or_is_refused(tmp_path: Path) -> None:
    found = list_csv(table(tmp_path, "path,label\n1.png,a\n2.png,b\n./1.png,a\n"))
    assert [file.path for file in found.files] == ["1.png", "2.png"]
    assert list(found.strays.values()) == ["names 1.png again"]
    said = refusal(table(tmp_path, "path,label\n1.png,a\n2.png,b\n1.png,b\n"))
    assert "line 4" in said
    assert "in line 2" in said
    assert "keep one" in refusal(table(tmp_path, "path,label,split\n1.png,a,train\n1.png,a,test\n"))


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"path,label\n1.png\n", 2, "has 1 columns"),
        (b"path,label\n1.png,a\ncaf\xe9.png,b\n", 3, "is no UTF-8"),
        (b"path,label\n/etc/x.png,a\n", 2, "must lead to a file below"),
        (b"path,label\n1.png,a\n../x.png,a\n", 3, "must lead to a file below"),
        (b"path,label\na/../../x.png,a\n", 2, "must lead to a file below"),
        (b"path,label\n,a\n", 2, "must lead to a file below"),
        (b"path,label,split\n1.png,a,dev\n", 2, "the split 'dev' is none of train, training, val"),
        (b"path,label\n" + b"x" * 200_000 + b",a\n", 2, "field larger than field limit"),
        (b'path,label\n"1.png,a\n', 2, "cannot be read as a table"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, content: bytes, line: int, words: str) -> None:
    said = refusal(table(tmp_path, content))
    assert said.startswith(f"{tmp_path / 'set.csv'}, line {line}: ")
    assert words in said


def test_splits_for_some_rows_only_are_refused(tmp_path: Path) -> None:
    assert "some rows name a split" in refusal(table(tmp_path, "path,label,split\n1.png,a,train\n2.png,a,\n"))
    assert "no image for train" in refusal(table(tmp_path, "path,label,split\n1.png,a,val\n"))


@pytest.mark.parametrize("content", ["", "\n\n", "path,label\n"])
def test_a_table_of_nothing_is_refused(tmp_path: Path, content: str) -> None:
    assert "names no image" in refusal(table(tmp_path, content))
