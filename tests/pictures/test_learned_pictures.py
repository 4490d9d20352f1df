"""Feature maps, patches of units, maps of feature space and matrices of likeness, drawn."""

import numpy as np
import pytest

from fovea.errors import DataError, NumbersError, ShapeError
from fovea.pictures import feature_maps, feature_space, similarity, unit_patches
from fovea.pictures.unit_patches import BETWEEN, GAP, PADDED, SIDE, Patches, block

PNG = b"\x89PNG"


def texts(axes):
    return [text.get_text() for text in axes.texts]


def maps(count=70, low=0.0):
    found = np.random.default_rng(0).uniform(low, 1, (count, 4, 6)).astype(np.float32)
    found[min(3, count - 1)] *= 5
    return found


def test_the_strongest_maps_stand_first_under_their_channels_and_what_is_left_out_is_told():
    figure = feature_maps.draw(maps(), title="conv1: cat")
    axes = figure.axes[0]
    order = np.argsort(-maps().mean((1, 2)), kind="stable")[:64]
    assert texts(axes) == [str(channel) for channel in order]
    assert texts(axes)[0] == "3"
    assert figure.get_suptitle() == "conv1: cat (64 of 70 maps, the strongest)"
    assert feature_maps.draw(maps(5), title="t").get_suptitle() == "t"


def test_one_scale_holds_for_all_maps_and_signs_have_their_own_colours():
    plain = feature_maps.draw(maps(9), title="t").axes[0].images
    assert len(plain) == 1
    assert plain[0].get_cmap().name == "viridis"
    assert plain[0].get_clim()[0] == 0
    signed = feature_maps.draw(maps(9, low=-1.0), title="t").axes[0].images[0]
    low, high = signed.get_clim()
    assert low == -high
    assert signed.get_cmap().name == "RdBu_r"
    assert feature_maps.draw(np.zeros((2, 3, 3)), title="t").axes[0].images[0].get_clim() == (0, 1)


def test_feature_maps_are_a_png_the_same_each_time_and_no_numbers_are_refused():
    drawn = feature_maps.feature_maps(maps(3), title="t")
    assert drawn.startswith(PNG)
    assert drawn == feature_maps.feature_maps(maps(3), title="t")
    with pytest.raises(ShapeError, match=r"maps \(shape \(3, 4\)\) must be \(channels, height, width\)"):
        feature_maps.feature_maps(np.zeros((3, 4)), title="t")
    with pytest.raises(NumbersError, match="feature maps with NaN or infinite values cannot be drawn"):
        feature_maps.feature_maps(np.full((1, 2, 2), np.nan), title="t")


def test_patches_of_a_block_are_enlarged_alike_and_what_the_edge_cuts_off_is_grey():
    white, cut = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 4), np.uint8)
    found = block([white, cut, white])
    assert found.shape == (2 * SIDE + GAP, 2 * SIDE + GAP, 3)
    assert (found[:SIDE, :SIDE] == 255).all()
    second = found[:SIDE, SIDE + GAP :, 0]
    assert ((second == 0).sum(1) == SIDE // 2).all()
    assert ((second == PADDED).sum(1) == SIDE // 2).all()
    assert (found[:SIDE, SIDE : SIDE + GAP] == BETWEEN).all()
    assert (found[SIDE + GAP :, SIDE:] == 255).all()  # there is no fourth
    assert block([white]).shape == (SIDE, SIDE, 3)


def test_each_unit_has_its_block_its_words_and_what_excites_it_beside():
    patch = np.zeros((5, 5, 3), np.uint8)
    units = [Patches(f"unit {number}", [patch] * 9, f"{number} to 0") for number in range(6)]
    figure = unit_patches.draw(units, title="t")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"unit {number}" for number in range(6)]
    assert [texts(axes) for axes in figure.axes] == [[f"{number} to 0"] for number in range(6)]
    assert {axes.get_subplotspec().colspan.start for axes in figure.axes} == {0, 1, 2}
    pairs = unit_patches.draw([Patches("u", [patch] * 4, beside=[patch + 9] * 4), Patches("v", [patch] * 4)], title="t")
    first, second = (np.asarray(axes.images[0].get_array()) for axes in pairs.axes)
    side = 2 * SIDE + GAP
    assert first.shape == second.shape == (side, 2 * side + 4 * GAP, 3)
    assert (first[:SIDE, side + 4 * GAP : side + 4 * GAP + SIDE] == 9).all()
    assert (second[:, side:] == 255).all()
    assert unit_patches.unit_patches(units, title="t").startswith(PNG)


def test_units_without_patches_or_with_too_few_beside_them_are_refused():
    with pytest.raises(DataError, match="there is no patch to draw"):
        unit_patches.unit_patches([], title="t")
    with pytest.raises(DataError, match="there is no patch to draw"):
        unit_patches.unit_patches([Patches("u", [])], title="t")
    patch = np.zeros((5, 5), np.uint8)
    with pytest.raises(ShapeError, match="beside a unit's patches must stand as many pictures, or none"):
        unit_patches.unit_patches([Patches("u", [patch] * 2, beside=[patch])], title="t")


def plane(count=60, classes=3):
    generator = np.random.default_rng(0)
    labels = np.arange(count) % classes
    images = [np.full((4, 4, 3), label, np.uint8) for label in labels]
    return generator.normal(size=(count, 2)), labels, [f"_class {label}" for label in range(classes)], images


def drawn(count=60, classes=3, **words):
    return feature_space.draw(*plane(count, classes), title="t", **{"axes_words": ("", "")} | words)


def test_each_class_has_a_colour_and_shape_of_its_own_and_few_have_their_names_among_the_dots():
    figure = drawn(classes=10)
    looks = {
        (tuple(each.get_facecolor()[0]), each.get_paths()[0].vertices.shape) for each in figure.axes[0].collections
    }
    assert len(looks) == 10
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [f"_class {label}" for label in range(10)]
    assert texts(figure.axes[0]) == names
    assert texts(drawn(classes=13).axes[0]) == []


def test_of_many_classes_those_with_most_images_have_colours_and_the_others_are_counted():
    places, labels, classes, images = plane(count=90, classes=40)
    figure = feature_space.draw(places, labels, [*classes, "without image"], images, title="t", axes_words=("", ""))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 29
    assert names[-1] == "12 more"
    assert names[:10] == classes[:10]  # these have three images, the others two
    dots = sum(len(each.get_offsets()) for each in figure.axes[0].collections)
    assert dots == 90


def test_thumbnails_stand_at_their_places_without_covering_each_other():
    figure = drawn(count=200)
    boxes = [image.get_extent() for image in figure.axes[1].images]
    assert 20 < len(boxes) < 200
    for number, (left, right, low, high) in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[1] <= left or high <= other[2] or other[3] <= low
    places, labels, classes, _ = plane(4)
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    images = [np.full((4, 4, 3), 10 * number, np.uint8) for number in range(4)]
    axes = feature_space.draw(places, labels, classes, images, title="t", axes_words=("", "")).axes[1]
    for image in axes.images:
        left, right, low, high = image.get_extent()
        nearest = ((places - [(left + right) / 2, (low + high) / 2]) ** 2).sum(1).argmin()
        assert np.asarray(image.get_array()).max() == 10 * nearest
    assert axes.get_xlim() == axes.figure.axes[0].get_xlim()


def test_axes_have_no_ticks_but_words_where_they_mean_something():
    figure = drawn(axes_words=("component 1", "component 2"))
    for axes in figure.axes:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("component 1", "component 2")
        assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0


def test_maps_of_feature_space_are_a_png_even_of_equal_places_and_lengths_must_fit():
    places, labels, classes, images = plane()
    assert feature_space.feature_space(0 * places, labels, classes, images, title="t").startswith(PNG)
    with pytest.raises(ShapeError, match=r"with n labels \(not 60\) and n images \(not 59\)"):
        feature_space.feature_space(places, labels, classes, images[1:], title="t")


def test_cells_have_numbers_where_they_are_few_and_the_scale_is_from_0_to_1():
    matrix = np.array([[1.0, 0.25], [0.25, 1.0], [0.0, -0.02]])
    figure = similarity.draw(matrix, ["a", "b", "c"], ["a", "b"], title="t", words=("one", "other"))
    axes = figure.axes[0]
    assert texts(axes) == ["1.00", "0.25", "0.25", "1.00", "0.00", "-0.02"]
    assert axes.images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("one", "other")
    names = [str(number) for number in range(13)]
    assert texts(similarity.draw(np.eye(13), names, names, title="t", words=("", "")).axes[0]) == []


def test_a_matrix_is_a_png_and_names_must_fit():
    assert similarity.similarity(np.eye(2), ["a", "b"], ["c", "d"], title="t").startswith(PNG)
    with pytest.raises(ShapeError, match=r"matrix \(shape \(2, 2\)\) must be of 3 rows and 2 columns"):
        similarity.similarity(np.eye(2), ["a", "b", "c"], ["c", "d"], title="t")
