"""A network drawn as its stages: everything inside the canvas, texts where they can be read, to scale."""

import itertools
from xml.etree import ElementTree

import pytest

from fovea.errors import UsageError
from fovea.pictures.blocks import Block, Box, Stage
from fovea.pictures.network import draw, network

CONV, POOL = Box("conv", "3×3, 64", "convolution", (64, 56, 56)), Box("pool", "max 2×2 /2", "pooling", (64, 28, 28))
TOWERS = Box("conv2", "5×5, 128", "convolution", (256, 27, 27), 2)
INCEPTION = Block(((CONV,), (CONV, CONV), (POOL, CONV), ()), "concat")
RESIDUAL = Block(((), (CONV, CONV)), "add", 6)
STAGES = (
    Stage("conv1", (64, 112, 112), (Block(((CONV, POOL),)),)),
    Stage("conv2", (256, 27, 27), (Block(((TOWERS,),)),)),
    Stage("inception_3a", (256, 28, 28), (INCEPTION,)),
    Stage("conv4_x", (1024, 14, 14), (RESIDUAL, RESIDUAL)),
    Stage("output", (1000,), (Block(((Box("fc", "1000", "linear", (1000,)),),)),)),
)


def picture(stages=STAGES, form="svg", **given):
    return network(
        stages, **{"title": "a network", "input_shape": (3, 224, 224), "subtitle": "its size"} | given, form=form
    )


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_names_shapes_and_layers_stand_in_the_picture_as_text():
    said = texts(picture())
    for word in ("a network", "its size", "image", "3×224×224", "inception_3a", "256×28×28", "3×3, 64", "concatenate"):
        assert word in said
    assert said.count("×6") == 2
    assert said.count("5×5, 128") == 2  # one for each tower


def test_both_forms_are_what_they_say_and_repeat_to_the_byte():
    assert picture(form="png").startswith(b"\x89PNG")
    for form in ("png", "svg"):
        assert picture(form=form) == picture(form=form)


def test_the_legend_names_the_kinds_that_occur_and_no_others():
    said = texts(picture())
    assert {"convolution", "pooling", "linear"} <= set(said)
    assert not {"depthwise", "attention", "normalisation"} & set(said)


@pytest.mark.parametrize("stages", [STAGES, STAGES * 6, STAGES[:1], (Stage("x" * 80, (3, 5, 5), ()),)])
def test_nothing_leaves_the_canvas_and_no_text_covers_another(stages):
    figure = draw(stages, title="a network", input_shape=(3, 224, 224), subtitle="its size")
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    wide, tall = figure.bbox.width, figure.bbox.height
    for box in boxes:
        assert box.x0 >= -1
        assert box.x1 <= wide + 1
        assert box.y0 >= -12  # the note at the foot is centred on the edge; the page grows around it
        assert box.y1 <= tall + 1
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 1 or down <= 1


def test_many_stages_wrap_into_rows_of_about_the_same_length():
    few, many = (draw(stages, title="t", input_shape=(3, 9, 9)).get_size_inches() for stages in (STAGES, STAGES * 6))
    assert many[0] < 19
    assert many[1] > 2 * few[1]


def test_a_network_without_stages_is_refused():
    with pytest.raises(UsageError, match="no stage to draw"):
        picture(())


def test_markup_in_a_name_stays_text():
    stage = Stage("<script>$x_1$", (3, 5, 5), ())
    assert "<script>$x_1$" in texts(picture([stage]))
