"""Maps laid over an image."""

import numpy as np
import pytest

from fovea.errors import NumbersError, ShapeError
from fovea.pictures.heat_maps import Heat, draw, heat_maps, overlaid, scales, shares

IMAGE = np.full((8, 12, 3), 128, np.uint8)


def ramp(low=0.0):
    return np.linspace(low, 1, 96).reshape(8, 12)


def test_a_map_is_shown_as_a_share_of_its_largest_value_whatever_its_unit():
    np.testing.assert_allclose(shares(ramp()), shares(1000 * ramp()))
    assert shares(ramp()).max() == 1
    assert (shares(np.zeros((3, 3))) == 0).all()
    lonely = np.zeros((100, 100))
    lonely[0, 0] = 5.0
    assert shares(lonely)[0, 0] == 1


def test_where_nothing_is_the_image_stays_and_signs_have_their_own_colours():
    still = overlaid(IMAGE, Heat("a", np.zeros((8, 12))))
    assert np.ptp(still) < 1e-9
    signed = overlaid(IMAGE, Heat("a", ramp(-1.0), signed=True))
    red, _, blue = signed[-1, -1]
    assert red > blue
    red, _, blue = signed[0, 0]
    assert blue > red
    unsigned = overlaid(IMAGE, Heat("a", ramp(-1.0)))
    np.testing.assert_allclose(unsigned[0, 0], still[0, 0])  # what is below 0 is nothing


def test_a_map_of_colours_is_a_picture_itself_around_mid_grey():
    colours = np.zeros((8, 12, 3))
    colours[2, 3] = [1, -1, 0]
    found = overlaid(IMAGE, Heat("a", colours))
    np.testing.assert_allclose(found[2, 3], [1, 0, 0.5])
    np.testing.assert_allclose(found[0, 0], 0.5)
    assert overlaid(IMAGE, Heat("a", colours[:, :, :1])).shape == (8, 12, 3)


def test_each_scale_in_use_has_one_legend():
    assert scales([Heat("a", ramp()), Heat("b", ramp(), signed=True), Heat("c", np.zeros((8, 12, 3)))]) == [False, True]
    figure = draw(IMAGE, [Heat("a", ramp()), Heat("b", ramp(), signed=True)], title="t", words="w")
    labels = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes]
    assert labels.count(["did nothing", "did most"]) == 1
    assert labels.count(["speaks against", "speaks for"]) == 1


def test_it_is_a_png_the_same_each_time_and_many_maps_go_on_in_the_next_line():
    heats = [Heat(f"method {number}", ramp()) for number in range(8)]
    drawn = heat_maps(IMAGE, heats, title="cat, 50 %")
    assert drawn.startswith(b"\x89PNG")
    assert drawn == heat_maps(IMAGE, heats, title="cat, 50 %")
    figure = draw(IMAGE[:, :, 0], heats, title="t", words="w")
    assert sum(bool(axes.images) for axes in figure.axes) == 9


def test_what_does_not_fit_or_is_no_number_is_refused():
    with pytest.raises(ShapeError, match=r"the map of a \(shape \(8, 8\)\) must be of the image's \(8, 12\)"):
        heat_maps(IMAGE, [Heat("a", np.zeros((8, 8)))], title="t")
    with pytest.raises(NumbersError, match="the map of a has values that are NaN or infinite"):
        heat_maps(IMAGE, [Heat("a", np.full((8, 12), np.nan))], title="t")
