"""Images in a plane."""

import numpy as np
import pytest

from fovea.errors import ShapeError
from fovea.pictures.feature_space import ACROSS, draw, feature_space

DRAW = np.random.default_rng(0)


def plane(count, classes):
    places, labels = DRAW.normal(size=(count, 2)), np.arange(count) % classes
    return places, labels, [f"class {n}" for n in range(classes)], [np.full((4, 4), 9, np.uint8)] * count


def test_each_class_has_a_colour_or_shape_of_its_own():
    figure = draw(*plane(300, 28), title="t", axes_words=("", ""))
    dots = figure.axes[0].collections
    looks = {(tuple(each.get_facecolor()[0][:3]), each.get_paths()[0].vertices.tobytes()) for each in dots}
    assert len(looks) == 28
    assert len(figure.legends[0].get_texts()) == 28


def test_classes_beyond_those_that_can_be_told_apart_are_grey_and_counted():
    figure = draw(*plane(300, 40), title="t", axes_words=("", ""))
    assert figure.legends[0].get_texts()[0].get_text() == "12 more"


def test_each_square_has_at_most_one_thumbnail_and_axes_have_their_words():
    figure = draw(*plane(2000, 10), title="t", axes_words=("one", "two"))
    thumbnails = figure.axes[1].images
    assert 30 < len(thumbnails) <= ACROSS**2
    assert len({tuple(image.get_extent()) for image in thumbnails}) == len(thumbnails)
    assert figure.axes[0].get_xlabel() == "one"
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_images_at_one_place_are_drawn_too():
    places, labels, classes, images = plane(5, 2)
    drawn = feature_space(np.zeros_like(places), labels, classes, images, title="t")
    assert drawn.startswith(b"\x89PNG")


def test_another_number_of_places_than_images_is_refused():
    places, labels, classes, images = plane(5, 2)
    with pytest.raises(ShapeError, match=r"places \(shape \(4, 2\)\) must be \(n, 2\), with n labels \(not 5\)"):
        feature_space(places[:4], labels, classes, images, title="t")
