"""Slices by patterns and by a table's column, and the accuracy on each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fovea.errors import DataError, ShapeError
from fovea.evaluation.metrics import wilson_interval
from fovea.evaluation.slices import EMPTY, NOT_LISTED, sliced, slices_by_column, slices_by_pattern

PATHS = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png"]


@pytest.fixture
def table(tmp_path):
    """Writes a table of the lines given."""

    def write(*lines, name="facts.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def members(masks):
    """Of each slice the places of its images."""
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}


class TestByPattern:
    def test_each_pattern_has_its_images(self):
        found = slices_by_pattern(PATHS, ["dog/*", "*/1.png", "cat/[2-9].???"])
        assert members(found) == {"dog/*": [2, 3], "*/1.png": [0, 2], "cat/[2-9].???": [1]}
        assert all(mask.dtype == np.bool_ and len(mask) == 4 for mask in found.values())

    def test_a_star_takes_slashes_too(self):
        assert members(slices_by_pattern(["a/b/c.png", "a/c.jpg"], ["a*.png"])) == {"a*.png": [0]}

    def test_case_counts(self):
        with pytest.raises(DataError, match=r"'CAT/\*'"):
            slices_by_pattern(PATHS, ["CAT/*"])

    def test_a_pattern_without_images_is_refused(self):
        with pytest.raises(DataError, match=r"'eel' .* none of 4, of which the first is cat/1.png"):
            slices_by_pattern(PATHS, ["cat/*", "eel"])

    def test_without_images_nothing_matches(self):
        with pytest.raises(DataError, match="none of 0;"):
            slices_by_pattern([], ["*"])


class TestByColumn:
    def test_one_mask_for_each_value_in_sorted_order(self, table):
        path = table("path,light", "dog/1.png,night", "cat/1.png,day", "dog/3.png,day", "cat/2.png,dusk")
        found = slices_by_column(path, "light", PATHS)
        assert list(found) == ["day", "dusk", "night"]
        assert members(found) == {"day": [0, 3], "dusk": [1], "night": [2]}

    def test_images_without_a_row_come_last(self, table):
        found = slices_by_column(table("path,light", "dog/1.png,night"), "light", PATHS)
        assert list(found) == ["night", NOT_LISTED]
        assert members(found)[NOT_LISTED] == [0, 1, 3]

    def test_an_empty_cell_is_a_value_of_its_own(self, table):
        found = slices_by_column(table("path,light", "dog/1.png,", "dog/3.png,day"), "light", PATHS)
        assert members(found) == {EMPTY: [2], "day": [3], NOT_LISTED: [0, 1]}

    @given(values=st.lists(st.sampled_from(["", "a", "b", "c, d", 'e"f']) | st.none(), min_size=1, max_size=20))
    @settings(max_examples=50, deadline=None)
    def test_slices_are_disjoint_and_complete(self, values, tmp_path_factory):
        import csv

        paths = [f"x/{place}.png" for place in range(len(values))]
        path = tmp_path_factory.mktemp("facts") / "facts.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = [(name, value) for name, value in zip(paths, values, strict=True) if value is not None]
            csv.writer(file).writerows([("path", "light"), *rows, ("other/y.png", "z")])
        if not rows:
            with pytest.raises(DataError, match="lists none"):
                slices_by_column(path, "light", paths)
            return
        found = slices_by_column(path, "light", paths)
        assert (np.stack(list(found.values())).sum(axis=0) == 1).all()
        assert [next(name for name in found if found[name][place]) for place in range(len(paths))] == [
            NOT_LISTED if value is None else value or EMPTY for value in values
        ]

    @pytest.mark.parametrize(
        "lines",
        [
            ("file,light", "dog/1.png,night"),
            ("light,Path", "night,dog/1.png"),
            ("path;light;more, words", "dog/1.png;night;x"),
            ("path\tlight", "dog/1.png\tnight"),
            ("\ufeffpath,light", "dog/1.png,night"),
            ("path , light", "", "dog/1.png , night ", ","),
            ("path,light\r", '"dog/1.png","night"\r'),
            ("path,light", "./dog//1.png,night"),
        ],
    )
    def test_tables_as_programs_write_them(self, table, lines):
        assert members(slices_by_column(table(*lines), "light", PATHS))["night"] == [2]

    def test_a_row_may_have_only_the_end_of_the_path(self, table):
        found = slices_by_column(table("path,light", "3.png,night"), "light", PATHS)
        assert members(found)["night"] == [3]

    def test_an_end_begins_after_a_slash(self, table):
        with pytest.raises(DataError, match="lists none"):
            slices_by_column(table("path,light", "g/3.png,night"), "light", PATHS)

    def test_a_row_may_have_a_longer_path(self, table):
        found = slices_by_column(table("path,light", "/data/test/dog/3.png,night"), "light", PATHS)
        assert members(found)["night"] == [3]

    def test_the_very_path_goes_before_an_ending(self, table):
        path = table("path,light", "1.png,day", "b/1.png,night")
        assert members(slices_by_column(path, "light", ["b/1.png", "1.png"])) == {"day": [1], "night": [0]}
        assert members(slices_by_column(path, "light", ["b/1.png"])) == {"night": [0]}

    def test_rows_of_other_images_are_passed_over(self, table):
        path = table("path,light", "dog/1.png,night", *(f"eel/{place}.png,{place}" for place in range(60)))
        assert members(slices_by_column(path, "light", PATHS)) == {"night": [2], NOT_LISTED: [0, 1, 3]}

    def test_a_row_may_stand_twice(self, table):
        path = table("path,light", "dog/1.png,night", "./dog/1.png,night")
        assert members(slices_by_column(path, "light", PATHS))["night"] == [2]


class TestRefusedTables:
    def refused(self, path, match, column="light", paths=PATHS):
        with pytest.raises(DataError, match=match):
            slices_by_column(path, column, paths)

    def test_an_end_of_several_paths(self, table):
        path = table("path,light", "1.png,night")
        self.refused(path, r"line 2: 1.png ends the paths of 2 images, such as cat/1.png and dog/1.png")

    def test_another_value_of_the_same_path(self, table):
        path = table("path,light", "dog/1.png,night", "cat/1.png,day", "dog/1.png,day")
        self.refused(path, "line 4: dog/1.png is 'day' here and 'night' in line 2")

    def test_another_value_of_the_same_image_by_another_path(self, table):
        path = table("path,light", "a/dog/1.png,night", "b/dog/1.png,day")
        self.refused(path, "line 3: b/dog/1.png is 'day' here, and line 2 says 'night' of the same image dog/1.png")

    def test_another_column(self, table):
        path = table("path,lights,age", "dog/1.png,night,3")
        self.refused(path, "no column 'light'; it has path, lights, age. Did you mean lights")

    def test_no_paths(self, table):
        self.refused(table("name,light", "dog/1.png,night"), "no column of paths; call it path or file")

    def test_a_row_that_is_too_short(self, table):
        self.refused(table("path,light", "dog/1.png"), "line 2: must have a path and a cell for 'light'")

    def test_a_row_without_a_path(self, table):
        self.refused(table("path,light", ",night"), "line 2: must have a path")

    def test_none_of_the_images(self, table):
        self.refused(table("path,light", "eel/1.png,night"), "none of the 4 images .the first is cat/1.png")

    def test_a_missing_table(self, tmp_path):
        self.refused(tmp_path / "none.csv", "none.csv: cannot be read .No such file")

    def test_an_empty_table(self, table):
        self.refused(table(""), "is empty; expected a head such as 'path,light'")

    def test_a_table_that_is_no_utf8(self, tmp_path):
        path = tmp_path / "facts.csv"
        path.write_bytes("path,light\ndog/1.png,dämmrig\n".encode("latin-1"))
        self.refused(path, "line 2: is no UTF-8")

    def test_a_quote_that_does_not_end(self, table):
        self.refused(table("path,light", 'dog/1.png,"night'), "cannot be read as a table")

    def test_a_continuous_column(self, table):
        paths = [f"{place}.png" for place in range(51)]
        rows = [f"{name},{place / 7}" for place, name in enumerate(paths)]
        self.refused(table("path,light", *rows), "51 different values", paths=paths)
        assert len(slices_by_column(table("path,light", *rows[1:]), "light", paths)) == 51  # 50 and those not listed


class TestSliced:
    def test_each_slice_has_its_accuracy_and_interval(self):
        logits = torch.eye(2)[[0, 0, 1, 1, 0]]
        labels = torch.tensor([0, 1, 1, 1, 1])
        masks = {"a": np.array([1, 1, 0, 0, 0], bool), "b": np.array([0, 1, 1, 1, 1], bool)}
        first, second = sliced(logits, labels, masks)
        assert (first.name, first.images, first.top1) == ("a", 2, 0.5)
        assert (second.name, second.images, second.top1) == ("b", 4, 0.5)
        assert first.top1_interval == wilson_interval(1, 2)
        assert second.top1_interval == wilson_interval(2, 4)

    @given(parts=st.lists(st.integers(0, 3), min_size=1, max_size=30), seed=st.integers(0, 1000))
    @settings(max_examples=50, deadline=None)
    def test_the_parts_make_up_the_whole(self, parts, seed):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(len(parts), 3, generator=random)
        labels = torch.randint(3, (len(parts),), generator=random)
        masks = {str(part): np.array(parts) == part for part in set(parts)}
        found = sliced(logits, labels, masks)
        assert sum(each.images for each in found) == len(parts)
        right = sum(each.top1 * each.images for each in found)
        assert right == pytest.approx(int((logits.argmax(1) == labels).sum()))

    def test_it_prints_its_figures(self):
        (found,) = sliced(torch.eye(2), torch.tensor([0, 1]), {"night": np.array([True, True])})
        assert str(found) == "night: top-1 accuracy 100.00% (95 % interval 34.24% to 100.00%), 2 images"

    def test_an_empty_slice_has_no_accuracy(self):
        with pytest.raises(DataError, match="'night' holds no image"):
            sliced(torch.eye(2), torch.tensor([0, 1]), {"night": np.zeros(2, bool)})

    def test_a_mask_of_other_images(self):
        with pytest.raises(ShapeError, match="'night' is a mask of 3 images, and 2 were judged"):
            sliced(torch.eye(2), torch.tensor([0, 1]), {"night": np.ones(3, bool)})
