"""Contact sheets: a legible PNG, every image in its cell, captions that fit, refusals with their numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fovea.errors import DataError, ShapeError
from fovea.pictures import contact_sheet
from fovea.pictures.contact_sheet import CELL, GAP, POINTS, beside, draw
from fovea.pictures.figure import width


def some(*shapes: tuple[int, ...]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


MIXED = [(8, 8, 3), (200, 300, 3), (300, 20, 3), (28, 28), (28, 28, 1), (1, 1, 3), (5, 400, 3)]


def test_images_of_any_size_give_one_png_and_equal_arguments_equal_bytes() -> None:
    content = contact_sheet(some(*MIXED), [f"image {n}" for n in range(7)], title="mixed", columns=3)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 300
    assert content == contact_sheet(some(*MIXED), [f"image {n}" for n in range(7)], title="mixed", columns=3)


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(7, 3, (3, 3)), (7, None, (3, 3)), (2, 5, (1, 5)), (1, 1, (1, 1))]
)
def test_cells_stand_in_rows_and_empty_ones_are_left_out(
    count: int, columns: int | None, shape: tuple[int, int]
) -> None:
    axes = draw(some(*MIXED[:1] * count), [""] * count, title="t", columns=columns).axes
    assert len(axes) == count
    assert all(each.images for each in axes)
    spec = axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().get_geometry() == shape


def test_each_line_of_a_caption_fits_its_cell() -> None:
    path = "train/" + "a very long name of a class and of its file " * 5 + ".png"
    (axes,) = draw(some((8, 8, 3)), [f"{path}\n= {path}"], title="t").axes
    lines = axes.get_title().split("\n")
    assert len(lines) == 2
    assert all("…" in line and width(line, POINTS) <= CELL - GAP for line in lines)
    assert lines[1].startswith("= train")


@pytest.mark.parametrize("caption", ["$x_1$", "语言", "tab\tnew", "", "🐈"])
def test_any_caption_is_drawn_without_a_warning(caption: str, recwarn: pytest.WarningsRecorder) -> None:
    contact_sheet(some((8, 8, 3)), [caption], title=caption)
    assert not recwarn.list


def test_no_images_give_a_page_that_says_so() -> None:
    assert [text.get_text() for text in draw([], [], title="t").texts][-1] == "Nothing to show."
    assert contact_sheet([], [], title="t").startswith(b"\x89PNG")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"images \(2\) and captions \(1\)"):
        contact_sheet(some((8, 8, 3), (8, 8, 3)), ["one"], title="t")
    with pytest.raises(ShapeError, match=r"image 0 \(shape \(3, 8, 8\)\) must be \(H, W, 3\)"):
        contact_sheet(some((3, 8, 8)), ["one"], title="t")
    with pytest.raises(DataError, match=r"image 0 \(float64\) must be 8-bit"):
        draw([np.zeros((8, 8, 3))], ["one"], title="t")  # type: ignore[list-item]


def test_images_beside_each_other_have_one_height_and_keep_their_shapes() -> None:
    black, wide = np.zeros((10, 10, 3), np.uint8), np.zeros((10, 40, 3), np.uint8)
    pair = beside([black, wide], side=40, gap=4)
    assert pair.shape == (40, 84, 3)
    assert not pair[:, :40].any()
    assert (pair[:, 40:44] == 255).all()
    assert (pair[:15, 44:] == 255).all()
    assert not pair[15:25, 44:].any()
    assert beside([wide, wide], side=40).shape[0] == 10
