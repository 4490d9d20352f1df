"""The pictures: real PNGs, equal bytes for equal arguments, marks where they belong, errors with their numbers."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import matplotlib
import numpy as np
import pytest
from PIL import Image

from fovea.errors import DataError, NumbersError, ShapeError
from fovea.pictures import confusion_matrix, filters, learning_curves, mistakes
from fovea.pictures.confusion import draw as draw_confusion
from fovea.pictures.confusion import shares, step
from fovea.pictures.curves import draw as draw_curves
from fovea.pictures.figure import DOTS_PER_INCH, fit, width
from fovea.pictures.filters import draw as draw_filters
from fovea.pictures.filters import mosaic
from fovea.pictures.mistakes import caption
from fovea.pictures.mistakes import draw as draw_mistakes

NAMES = ("cat", "dog", "a name that is far too long for any cell of the sheet")
COUNTS = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 10]])


def history(epochs, *, validated=True):
    """Rows whose validation accuracy is best in the last epoch but one."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "loss": 2 / epoch, "accuracy": 1 - 0.5 / epoch, "learning_rate": 0.1}
        row |= {"validation_loss": 3 / epoch, "validation_accuracy": 0.9 - 0.1 * abs(epochs - 1 - epoch) / epochs}
        rows.append(row if validated else row | {"validation_loss": None, "validation_accuracy": float("nan")})
    return rows


def sheet_of(count, shape=(8, 8, 3)):
    images = [np.full(shape, 6 * n, np.uint8) for n in range(count)]
    return images, ["3"] * count, ["8"] * count, [0.97] * count


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


PICTURES = {
    "curves, 1 epoch": lambda: learning_curves(history(1), title="t"),
    "curves, 400 epochs": lambda: learning_curves(history(400), title="t"),
    "curves, nothing measured": lambda: learning_curves([{"epoch": 1}], title="t"),
    "confusion, 1 class": lambda: confusion_matrix(np.array([[3]]), ["only"], title="t"),
    "confusion, 3 classes": lambda: confusion_matrix(COUNTS, NAMES, title="t"),
    "confusion, 100 classes": lambda: confusion_matrix(
        np.eye(100, dtype=int), [f"c{n}" for n in range(100)], title="t"
    ),
    "confusion, no images": lambda: confusion_matrix(np.zeros((2, 2), int), NAMES[:2], title="t"),
    "mistakes, 0": lambda: mistakes(*sheet_of(0), title="t"),
    "mistakes, 1": lambda: mistakes(*sheet_of(1), title="t"),
    "mistakes, 25 grey": lambda: mistakes(*sheet_of(25, (8, 8)), title="t"),
    "mistakes, stacked": lambda: mistakes(np.zeros((5, 30, 20, 3), np.uint8), *sheet_of(5)[1:], title="t"),
    "filters, colour": lambda: filters(normal(96, 3, 11, 11), title="t"),
    "filters, grey": lambda: filters(normal(6, 1, 5, 5), title="t"),
    "filters, channels": lambda: filters(normal(16, 6, 5, 5), title="t"),
    "filters, all zero": lambda: filters(np.zeros((1, 1, 1, 1)), title="t"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_is_a_legible_png_and_equal_arguments_give_equal_bytes(name):
    first = PICTURES[name]()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(io.BytesIO(first)) as image:
        image.load()
        assert min(image.size) > 100
        assert max(image.size) < 20 * DOTS_PER_INCH
        assert not {"Software", "Creation Time", "date"} & set(image.info)
        assert len(set(image.convert("L").resize((50, 50)).tobytes())) > 1  # something was drawn
    assert PICTURES[name]() == first


def test_the_users_settings_neither_change_a_picture_nor_are_changed():
    plain = learning_curves(history(3), title="t")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert learning_curves(history(3), title="t") == plain
        assert dict(matplotlib.rcParams) == before


def test_threads_do_not_disturb_each_other():
    wanted, got = {n: learning_curves(history(n), title="t") for n in (2, 3, 4)}, {}
    threads = [
        threading.Thread(target=lambda n=n: got.update({n: learning_curves(history(n), title="t")})) for n in wanted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == wanted


def test_importing_the_room_imports_neither_matplotlib_nor_torch():
    code = "import sys, fovea.pictures; print(sorted({'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_drawing_leaves_pyplot_alone():
    code = "p.learning_curves([{'epoch': 1}], title=''); print('matplotlib.pyplot' in sys.modules)"
    code = "import sys, fovea.pictures as p; " + code
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("p.confusion_matrix(np.eye(2) / 2, ['a', 'b'], title='')", "matrix (float64, least 0.0) must hold counts"),
        ("p.mistakes([np.zeros((8, 8, 3))], ['a'], ['b'], [0.5], title='')", "image 0 (float64) must be 8-bit"),
    ],
)
def test_wrong_kinds_of_numbers_are_refused_without_the_type_checks_of_these_tests(call, sentence):
    code = f"import numpy as np, fovea.pictures as p; {call}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert said.splitlines()[-1].startswith(f"fovea.errors.DataError: {sentence}")


# --- words -----------------------------------------------------------------------------------------------------------


def test_fit_cuts_the_middle_to_the_width_it_is_given():
    assert fit("short", 2.0, 8.0) == "short"
    cut = fit(NAMES[2], 1.2, 8.0)
    assert "…" in cut
    assert cut.startswith("a name")
    assert cut.endswith("sheet")
    assert width(cut, 8.0) <= 1.2
    assert fit("two\n  lines", 2.0, 8.0) == "two lines"
    assert width(fit("W" * 100_000, 1.2, 8.0), 8.0) <= 1.2


@pytest.mark.parametrize("name", ["$x_1$", "$", "中文", "_under", "tab\tnew\nline", ""])
def test_any_class_name_is_drawn_as_it_is_and_without_a_warning(name, recwarn):
    confusion_matrix(np.array([[1, 1], [0, 1]]), [name, "b"], title=name)
    mistakes(*sheet_of(1)[:1], [name], [name], [0.5], title=name)
    assert not recwarn.list


# --- learning curves -------------------------------------------------------------------------------------------------


def test_curves_show_loss_and_accuracy_in_per_cent():
    loss, accuracy = draw_curves(history(4), title="a run").axes
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    assert list(loss.lines[0].get_ydata()) == pytest.approx([2, 1, 2 / 3, 0.5])
    assert list(accuracy.lines[0].get_ydata()) == pytest.approx([50, 75, 100 - 50 / 3, 87.5])
    assert accuracy.get_ylim()[1] <= 100


def test_the_best_validated_epoch_is_ringed_and_its_value_written():
    accuracy = draw_curves(history(5), title="t").axes[1]
    (ring,) = (line for line in accuracy.lines if line.get_gid() == "best")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (4, pytest.approx(90))
    assert accuracy.get_title("right") == "○ best 90.00 % at epoch 4"


def test_without_validation_its_line_is_left_out_and_train_accuracy_decides():
    loss, accuracy = draw_curves(history(3, validated=False), title="t").axes
    assert [line.get_label() for line in loss.lines] == ["train"]
    assert accuracy.get_title("right").endswith("at epoch 3")


def test_epochs_that_were_not_validated_are_bridged():
    rows = history(6)
    for row in rows[::2]:
        row["validation_loss"] = None
    assert list(draw_curves(rows, title="t").axes[0].lines[1].get_xdata()) == [2, 4, 6]


@pytest.mark.parametrize(("first", "scale"), [(1.0, "linear"), (1e4, "log")])
def test_a_loss_over_more_than_two_decades_is_logarithmic(first, scale):
    rows = history(3)
    rows[0]["loss"] = first
    assert draw_curves(rows, title="t").axes[0].get_yscale() == scale


def test_curves_refuse_what_they_cannot_draw():
    with pytest.raises(DataError, match="history has no rows"):
        learning_curves([], title="t")
    with pytest.raises(DataError, match="row 1 of history has no epoch"):
        learning_curves([{"epoch": 1}, {"loss": 2.0}], title="t")
    with pytest.raises(DataError, match=r"validation_accuracy \(=93\) of epoch 2 must lie in \[0, 1\]"):
        learning_curves([{"epoch": 2, "validation_accuracy": 93.0}], title="t")


# --- confusion matrix ------------------------------------------------------------------------------------------------


def test_rows_are_true_classes_and_counts_stand_in_their_cells():
    axes = draw_confusion(COUNTS, NAMES, title="t").axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (0, 1): "1", (1, 1): "9", (2, 2): "10"}  # (column, row)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert axes.get_title("left") == "90.00 % of 30 images correct"


def test_errors_have_a_scale_of_their_own_that_ends_at_the_largest():
    right, wrong = draw_confusion(COUNTS, NAMES, title="t").axes[0].images
    assert right.get_clim() == (0, 1)
    assert wrong.get_clim() == (0, pytest.approx(0.2))
    assert right.get_array().compressed() == pytest.approx([0.8, 0.9, 1.0])
    assert wrong.get_array().compressed() == pytest.approx([0.2, 0.1])


@pytest.mark.parametrize("classes", [2, 10, 30, 31, 100, 1000])
def test_a_single_error_is_seen_in_any_number_of_classes(classes):
    matrix = np.diag(np.full(classes, 1000))
    matrix[classes - 1, 0] = 1
    wrong = draw_confusion(matrix, [f"c{n}" for n in range(classes)], title="t").axes[0].images[1]
    red, _, blue, _ = wrong.to_rgba(wrong.get_array()[classes - 1, 0])
    assert red - blue > 0.1
    assert wrong.get_array().count() == 1


def test_of_many_classes_cells_are_bare_and_names_thinned():
    axes = draw_confusion(np.eye(100, dtype=int), [f"c{n}" for n in range(100)], title="t").axes[0]
    assert not axes.texts
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["c0", "c2", "c4"]
    assert [step(n) for n in (1, 50, 51, 1000, 100_000)] == [1, 1, 2, 20, 100_000]


def test_shares_of_a_row_without_images_are_zero():
    assert shares(np.array([[0, 0], [1, 3]])).tolist() == [[0, 0], [0.25, 0.75]]


def test_confusion_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"\(3, 3\)\) must be classes by classes, \(2, 2\) here"):
        confusion_matrix(COUNTS, NAMES[:2], title="t")
    with pytest.raises(DataError, match="0 classes"):
        confusion_matrix(np.zeros((0, 0), int), [], title="t")
    with pytest.raises(DataError, match="least -8"):
        confusion_matrix(-COUNTS + 2, NAMES, title="t")


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_caption_says_what_it_was_what_was_said_and_how_surely():
    assert caption("3", "8", 0.97) == "true 3, said 8 (97 %)"
    assert caption("3", "8", 0.999) == "true 3, said 8 (> 99 %)"
    assert caption("3", "8", 1.0) == "true 3, said 8 (100 %)"
    first, second = caption(NAMES[2], NAMES[2], 0.5).split("\n")
    assert first.startswith("true a name")
    assert second.startswith("said a")
    assert second.endswith("(50 %)")
    assert "…" in first
    assert "…" in second


def test_the_first_25_are_shown_and_the_title_counts_them():
    figure = draw_mistakes(*sheet_of(40), title="lenet5")
    assert sum(bool(axes.images) for axes in figure.axes) == 25
    assert figure.get_suptitle() == "lenet5 (25 of 40)"
    assert draw_mistakes(*sheet_of(25), title="lenet5").get_suptitle() == "lenet5"


def test_small_images_keep_their_pixels_and_every_image_its_own_size():
    images = [np.zeros((8, 8, 1), np.uint8), np.zeros((200, 300, 3), np.uint8)]
    small, large = draw_mistakes(images, *sheet_of(2)[1:], title="t").axes
    assert small.images[0].get_interpolation() == "nearest"
    assert large.images[0].get_interpolation() == "auto"
    assert large.images[0].get_size() == (200, 300)


def test_no_mistakes_give_a_page_that_says_so():
    assert [text.get_text() for text in draw_mistakes([], [], [], [], title="t").texts][-1] == "No mistakes to show."


def test_mistakes_refuse_what_does_not_fit():
    images, true, predicted, confidence = sheet_of(3)
    with pytest.raises(ShapeError, match=r"images \(3\), true \(2\), predicted \(3\) and confidence \(3\)"):
        mistakes(images, true[:2], predicted, confidence, title="t")
    with pytest.raises(ShapeError, match=r"image 0 \(shape \(3, 8, 8\)\) must be \(H, W, 3\)"):
        mistakes([np.zeros((3, 8, 8), np.uint8)], ["a"], ["b"], [0.5], title="t")
    with pytest.raises(DataError, match=r"confidence \(=97.0\) of image 0 must lie in \[0, 1\]"):
        mistakes(images[:1], ["a"], ["b"], [97.0], title="t")
    with pytest.raises(DataError, match=r"confidence \(=nan\)"):
        mistakes(images[:1], ["a"], ["b"], [float("nan")], title="t")


# --- filters ---------------------------------------------------------------------------------------------------------


def test_colour_filters_share_one_scale_around_mid_grey():
    weights = np.zeros((2, 3, 1, 1))
    weights[1, 0] = 0.5
    dots = draw_filters(weights, title="t").axes[0].images[0].get_array()
    colors = {tuple(color) for color in dots.reshape(-1, 3).tolist()}
    assert colors == {(0.5, 0.5, 0.5), (1.0, 0.5, 0.5), (1.0, 1.0, 1.0)}  # filter 0, filter 1, the gaps


def test_one_input_channel_is_drawn_around_zero_with_a_colour_bar():
    weights = normal(6, 1, 5, 5)
    axes = draw_filters(weights, title="t").axes[0]
    low, high = axes.images[0].get_clim()
    assert low == -high
    assert high == pytest.approx(np.percentile(np.abs(weights), 99.5))
    assert axes.child_axes[0].get_ylabel() == "weight"


def test_other_channels_get_a_row_per_filter_and_the_title_says_what_is_left_out():
    figure = draw_filters(normal(64, 20, 3, 3), title="conv2")
    assert figure.get_suptitle() == "conv2 (16 of 64 filters, 16 of 20 input channels)"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(n) for n in range(16)]
    assert draw_filters(normal(300, 3, 3, 3), title="c").get_suptitle() == "c (256 of 300 filters)"


def test_the_mosaic_keeps_order_and_orientation():
    tiles = np.arange(6 * 24 * 24, dtype=float).reshape(6, 24, 24, 1)
    dots = mosaic(tiles, columns=3)
    assert dots.shape == (2 * 27 + 3, 3 * 27 + 3, 1)
    assert np.array_equal(dots[3:27, 3:27], tiles[0])
    assert np.array_equal(dots[30:54, 57:81], tiles[5])
    assert np.isnan(dots[:3]).all()
    assert np.isnan(dots).sum() == dots.size - tiles.size


def test_filters_refuse_what_they_cannot_draw():
    with pytest.raises(ShapeError, match=r"weights \(shape \(6, 5, 5\)\) must be"):
        filters(normal(6, 5, 5), title="t")
    with pytest.raises(ShapeError, match="none of them 0"):
        filters(normal(0, 3, 5, 5), title="t")
    weights = normal(2, 3, 5, 5)
    weights[0, 0, 0, :2] = np.nan, np.inf
    with pytest.raises(NumbersError, match="2 of 150 weights are NaN or infinite"):
        filters(weights, title="t")
