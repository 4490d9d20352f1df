"""The reliability diagram."""

from __future__ import annotations

import pytest

from fovea import pictures
from fovea.errors import ShapeError
from fovea.pictures.reliability import draw

EDGES, IMAGES = [0.0, 0.5, 1.0], [0, 8]


def test_only_bins_with_images_have_bars() -> None:
    above, below = draw(EDGES, IMAGES, [float("nan"), 0.9], [float("nan"), 0.75], title="t").axes
    assert [bar.get_height() for bar in above.patches] == [0.75]
    assert [bar.get_height() for bar in below.patches] == [0, 1]


def test_equal_arguments_give_equal_bytes() -> None:
    once, twice = (pictures.reliability_diagram(EDGES, IMAGES, [0, 0.9], [0, 0.7], title="t") for _ in range(2))
    assert once == twice
    assert once.startswith(b"\x89PNG")


def test_one_edge_too_few_is_refused() -> None:
    with pytest.raises(ShapeError, match="2 bins want 3 edges"):
        draw(EDGES[1:], IMAGES, [0, 0.9], [0, 0.7], title="t")
