"""Networks as their stages: everything on the sheet, no text over another, maps to scale, much left out, errors."""

from __future__ import annotations

import io
import time
from itertools import combinations
from xml.etree import ElementTree

import pytest
from PIL import Image

from fovea.errors import UsageError
from fovea.pictures.blocks import FEWER, MOST, readable
from fovea.pictures.network import Block, Box, Stage, draw, network
from fovea.pictures.network_layout import COLOURS, rows_of, scale_of

LONG = "a name so long that no picture of any network could ever print it in full " * 3
IMAGE = (3, 224, 224)


def conv(text, **options):
    return Box("conv", text, "convolution", (64, 56, 56), **options)


def chain(*boxes):
    return Block((boxes,))


POOL = Box("pool", "max 3×3 /2", "pooling", (64, 56, 56))
BOTTLENECK = (conv("1×1, 64"), conv("3×3, 64"), conv("1×1, 256"))
EVERY_KIND = tuple(Box(kind, f"{kind} box", kind, (8, 9, 9)) for kind in COLOURS)
NETWORKS = {
    "resnet": [
        Stage("conv1", (64, 112, 112), (chain(conv("7×7, 64 /2")),)),
        Stage("conv2_x", (256, 56, 56), (chain(POOL), Block(((), BOTTLENECK), "add", 3))),
        Stage("head", (1000,), (chain(Box("fc", "1000", "linear", (1000,))),)),
    ],
    "inception": [
        Stage(
            f"inception_{n}",
            (480, 14, 14),
            (Block(((conv("1×1, 64"),), BOTTLENECK[:2], (conv("5×5, 32"),), (POOL, conv("1×1"))), "concat"),) * 3,
        )
        for n in (3, 4, 5)
    ],
    "alexnet": [Stage("conv1", (96, 27, 27), (chain(conv("11×11, 48 /4", towers=2), POOL),))],
    "cell": [Stage("cell", (9, 7, 7), (Block((*((box,) for box in EVERY_KIND), ()), "concat", 12),))] * 5,
    "every join": [
        Stage("s", (9, 7, 7), tuple(Block(((POOL,), BOTTLENECK), join) for join in ("", "add", "multiply")))
    ],
    "long names": [Stage(LONG, IMAGE, (chain(conv(LONG)), Block(((), (conv(LONG, towers=2),)), "add", 10**9)))] * 3,
    "long names alone": [Stage(f"{name}{n}", (1,)) for n in range(6) for name in ("a stage's own name ", "W" * 40)],
    "every kind on a narrow sheet": [Stage("s", (1,), (chain(*EVERY_KIND),))],
    "no blocks": [Stage("alone", (1,))],
    "only identities": [Stage("s", (9, 7, 7), (Block(((),)), Block(((), ()), "add"), Block(((),), "", 2)))],
    "odd texts": [Stage("$x_1$", (1,), (chain(conv("<script>&amp;"), conv(""), conv("two\nlines"), conv("中文")),))],
    "extreme shapes": [Stage("s", shape) for shape in ((1, 1, 1), (10**6, 1, 4096), (197, 768), (10**7,))],
    "a long chain": [Stage("features", (512, 7, 7), (chain(*[conv(f"3×3, {n}") for n in range(3000)]),))],
    "many": [Stage(f"s{n}", IMAGE, (chain(*[conv(f"{n} {k}") for k in range(20)]),)) for n in range(50)],
    "far too many": [Stage(f"s{n}", IMAGE, (Block((BOTTLENECK,) * 30, "add"),) * 30) for n in range(300)],
}


def drawn(name):
    return draw(NETWORKS[name], title=name, subtitle="25,557,032 parameters", input_shape=IMAGE)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("name", NETWORKS)
def test_both_forms_are_whole_and_equal_for_equal_arguments(name):
    about = {"title": name, "input_shape": IMAGE}
    first, vector = network(NETWORKS[name], **about), network(NETWORKS[name], form="svg", **about)
    with Image.open(io.BytesIO(first)) as image:
        image.load()
        assert image.format == "PNG"
        assert max(image.size) < 12_000
    assert ElementTree.fromstring(vector).tag == "{http://www.w3.org/2000/svg}svg"
    assert network(NETWORKS[name], **about) == first
    assert network(NETWORKS[name], form="svg", **about) == vector
    assert b"<dc:date>" not in vector


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:Glyph")  # where no font has the characters a box is drawn, as in `png`
def test_no_text_leaves_the_sheet_or_covers_another(name):
    figure = drawn(name)
    renderer = figure.canvas.get_renderer()
    shown = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = {text: text.get_window_extent(renderer) for text in shown}
    sheet = figure.bbox
    for text, box in boxes.items():
        inside = sheet.x0 <= box.x0 and box.x1 <= sheet.x1 and sheet.y0 <= box.y0 and box.y1 <= sheet.y1
        assert inside, text.get_text()
    in_order = sorted(boxes.items(), key=lambda each: each[1].x0)
    for place, (text, box) in enumerate(in_order):
        for other, beside in in_order[place + 1 :]:
            if beside.x0 >= box.x1:
                break
            apart = box.y1 <= beside.y0 + 1 or beside.y1 <= box.y0 + 1
            assert apart, f"{text.get_text()!r} and {other.get_text()!r}"


@pytest.mark.parametrize("name", NETWORKS)
def test_no_shape_leaves_the_sheet_and_no_boxes_cover_each_other(name):
    axes = drawn(name).axes[0]
    (left, right), (foot, top) = axes.get_xlim(), axes.get_ylim()
    _, frames, shapes = axes.collections
    for path in [*frames.get_paths(), *shapes.get_paths()]:
        box = path.get_extents()
        assert left <= box.x0
        assert box.x1 <= right
        assert foot <= box.y0
        assert box.y1 <= top
    for one, other in combinations((path.get_extents() for path in frames.get_paths()[:60]), 2):
        stacked = abs(one.x0 - other.x0) < 0.06 and abs(one.y0 - other.y0) < 0.06  # the second sheet of what repeats
        assert stacked or one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0


def test_texts_of_boxes_fit_into_their_boxes():
    figure = drawn("long names")
    axes = figure.axes[0]
    renderer, back = figure.canvas.get_renderer(), axes.transData.inverted()
    boxes = [path.get_extents() for path in axes.collections[2].get_paths()]
    cut = [text for text in axes.texts if "…" in text.get_text() and text.get_fontweight() == "normal"]
    assert len(cut) == 9
    for text in cut:
        inside = text.get_window_extent(renderer).transformed(back)
        assert any(box.x0 <= inside.x0 and inside.x1 <= box.x1 and box.y0 <= inside.y0 <= box.y1 for box in boxes)


def test_names_shapes_factors_and_joins_are_written_as_text_in_the_svg():
    drawing = network(NETWORKS["resnet"], title="ResNet", subtitle="a line", input_shape=IMAGE, form="svg")
    written = [text.text for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]
    expected = {"ResNet", "a line", "image", "3×224×224", "conv2_x", "256×56×56", "3×3, 64", "×3", "+", "pooling"}
    assert expected <= set(written)
    assert written.count("1×1, 256") == 1  # what repeats is drawn once


def test_any_text_is_itself():
    assert {"$x_1$", "<script>&amp;", "two lines", "中文"} <= set(texts(drawn("odd texts")))


def test_two_towers_are_two_halves_of_box_and_map():
    assert texts(drawn("alexnet")).count("11×11, 48 /4") == 2
    one = [NETWORKS["alexnet"][0], Stage("conv1", (96, 27, 27), (chain(conv("11×11, 96 /4"), POOL),))]
    solids = [len(draw([stage], title="", input_shape=IMAGE).axes[0].collections[2].get_paths()) for stage in one]
    assert solids[0] - solids[1] == 3 + 1  # three more sides of a solid, one more box


def test_maps_are_to_scale_and_not_square_where_the_image_is_not():
    scale = scale_of([(3, 224, 448), (64, 112, 224), (1000,)])
    wide, tall, deep = scale.solid((3, 224, 448))
    half, _, deeper = scale.solid((12, 56, 112))
    assert wide / tall == pytest.approx(2**0.5)
    assert half / wide == pytest.approx(0.5)
    assert deeper / deep == pytest.approx(2.0)
    assert scale.solid((1000,))[2] == pytest.approx(scale.solid((1000, 7, 7))[2])


def test_the_legend_holds_the_kinds_that_occur_and_says_the_scale():
    found = texts(drawn("resnet"))
    assert [kind for kind in COLOURS if kind in found] == ["convolution", "linear", "pooling"]
    assert any("square roots of pixels and channels" in text for text in found)


def test_stages_wrap_into_few_rows_of_about_equal_length():
    assert rows_of([2.0] * 4) == [[0, 1, 2, 3]]
    assert [len(row) for row in rows_of([2.0] * 10)] == [5, 5]
    assert rows_of([40.0, 1.0, 40.0]) == [[0], [1], [2]]


@pytest.mark.parametrize("name", ["resnet", "inception", "cell", "many"])
def test_what_can_be_looked_at_is_drawn_in_full(name):
    assert readable(NETWORKS[name]) == NETWORKS[name]


def test_of_too_much_the_ends_are_drawn_and_the_rest_is_counted():
    [stage] = readable(NETWORKS["a long chain"])
    [lane] = stage.blocks[0].lanes
    assert len(lane) == FEWER[0][1]
    assert (lane[0].text, lane[10].text, lane[-1].text) == ("3×3, 0", "… 2,981 more layers …", "3×3, 2999")
    few = readable(NETWORKS["far too many"])
    assert sum(len(lane) for stage in few for block in stage.blocks for lane in block.lanes) <= MOST
    counted = texts(drawn("far too many"))
    assert "… 289 more stages …" in counted
    assert "… 27 more blocks …" in counted


def test_what_is_left_out_is_no_kind_of_its_own_in_the_legend():
    assert "other" not in texts(drawn("a long chain"))


def test_fifty_stages_of_twenty_boxes_take_seconds():
    start = time.process_time()
    network(NETWORKS["many"], title="t", input_shape=IMAGE)
    assert time.process_time() - start < 15  # 3 on the machine of 2026; 12 before texts were measured once


@pytest.mark.parametrize(
    ("stages", "image", "said"),
    [
        ([], IMAGE, "there is no stage to draw"),
        ([Stage("s", ())], IMAGE, r"shape of s \(=\(\)\) must be"),
        ([Stage("s", (1,))], (3, 0, 5), r"shape of the image \(=\(3, 0, 5\)\) must be"),
        ([Stage("s", (1,), (Block(()),))], IMAGE, "a block of s has no lanes"),
        ([Stage("s", (1,), (Block(((POOL,),), "", 0),))], IMAGE, r"repeat of a block of s \(=0\)"),
        ([Stage("s", (1,), (Block(((POOL,),), "sum"),))], IMAGE, r"join of a block of s \(='sum'\)"),
        ([Stage("s", (1,), (chain(Box("b", "", "convolutional", (1,))),))], IMAGE, "kind of b"),
        ([Stage("s", (1,), (chain(conv("", towers=3)),))], IMAGE, r"towers of conv \(=3\) must be 1 or 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(stages, image, said):
    with pytest.raises(UsageError, match=said):
        network(stages, title="t", input_shape=image)
