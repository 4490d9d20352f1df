"""The page of a running run: whole, without scripts, quiet once finished, each epoch once, the best one marked."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from fovea.training import folder
from fovea.training.watching import page as module
from fovea.training.watching.page import ProgressPage, best_epoch

NEVER_CLOSED = ("meta",)


class Reader(HTMLParser):
    """The words of a page, and the tags that it opened and never closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in NEVER_CLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def rows(count, best=None):
    return [
        {
            "epoch": epoch,
            "loss": 2.0 / epoch,
            "accuracy": 0.5,
            "validation_loss": 2.5 / epoch,
            "validation_accuracy": 0.9 if epoch == best else 0.6,
            "learning_rate": 0.1,
            "gradient_norm": 1.0,
            "images_per_second": 1234.5,
            "data_wait": 0.25,
            "seconds": 60.0,
        }
        for epoch in range(1, count + 1)
    ]


def written(run):
    read = Reader((run / "progress.html").read_text())
    assert read.open == []
    return read


@pytest.fixture
def page(tmp_path):
    return ProgressPage(tmp_path, "lenet5 on <digits>", 10, "61,706 parameters & more")


def test_it_stands_alone_and_runs_no_script(page, tmp_path):
    page(rows(3))
    text = (tmp_path / "progress.html").read_text()
    tags = written(tmp_path).tags
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert not re.search(r"https?://|\ssrc=|\shref=|@import|url\(", text)
    policies = [each["content"] for tag, each in tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "prefers-color-scheme: dark" in text


def test_it_says_how_far_the_run_is_and_what_was_planned(page, tmp_path):
    page(rows(3))
    text = written(tmp_path).text
    assert "lenet5 on <digits>" in text
    assert "3 of 10" in text
    assert "running" in text
    assert "about 7 min 00 s" in text  # seven epochs of a minute
    assert "61,706 parameters & more" in text


def test_it_asks_for_itself_again_until_the_run_is_finished(page, tmp_path):
    def again():
        return [each["content"] for tag, each in written(tmp_path).tags if each.get("http-equiv") == "refresh"]

    page.begin()
    assert again() == ["10"]
    page(rows(10))
    assert again() == ["10"]
    page.finish("test: top-1 accuracy 97.00%")
    assert again() == []
    assert "test: top-1 accuracy 97.00%" in written(tmp_path).text
    assert "10 of 10" in written(tmp_path).text
    page.stop("go on with: fovea train --resume run")
    assert again() == []
    assert "stopped" in written(tmp_path).text
    assert "fovea train --resume run" in written(tmp_path).text


def test_before_the_first_epoch_there_is_a_plan_and_nothing_measured(page, tmp_path):
    page.begin()
    read = written(tmp_path)
    assert "0 of 10" in read.text
    assert "time left" not in read.text
    assert read.text.count("not measured yet") == 5
    assert "table" not in [tag for tag, _ in read.tags]


def test_a_resumed_run_begins_with_the_epochs_that_were_finished(tmp_path):
    folder.write_history(tmp_path, rows(4))
    page = ProgressPage(tmp_path, "t", 10, "p")
    page.begin()
    assert "4 of 10" in written(tmp_path).text
    page(rows(5))
    page(rows(5))
    lines = [each for tag, each in written(tmp_path).tags if tag == "polyline"]
    assert [len(each["points"].split()) for each in lines] == [5] * 7


def test_a_run_that_was_finished_already_keeps_its_curves(tmp_path):
    folder.write_history(tmp_path, rows(4))
    ProgressPage(tmp_path, "t", 4, "p").finish("scores")
    assert "4 of 4" in written(tmp_path).text


def test_the_time_left_follows_the_pace_of_the_last_epochs(page, tmp_path, monkeypatch):
    clock = iter([0.0, 100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    page.begin()
    page(rows(1))
    assert "about 15 min 00 s" in written(tmp_path).text  # nine epochs of 100 s
    for epoch in range(2, 8):
        page(rows(epoch))
    assert "about 30 s" in written(tmp_path).text  # three of 10 s: the slow first one is forgotten


def test_the_best_epoch_is_marked_and_stays_in_the_table(page, tmp_path):
    page(rows(30, best=2))
    read = written(tmp_path)
    marked = [place for place, (tag, each) in enumerate(read.tags) if tag == "tr" and each.get("class") == "best"]
    assert len(marked) == 1
    assert "2 ○ best" in read.text
    assert "90.00%" in read.text
    assert len([tag for tag, _ in read.tags if tag == "tr"]) == 1 + 12 + 1
    assert len([each for _, each in read.tags if each.get("class") == "ring"]) == 2


def test_of_equal_epochs_the_lower_loss_is_best_then_the_first():
    found = rows(3)
    assert best_epoch(found) == 3
    assert best_epoch([row | {"validation_loss": 1.0} for row in found]) == 1
    assert best_epoch([row | {"validation_accuracy": None} for row in found]) is None
    assert best_epoch([]) is None


def test_what_was_not_measured_is_left_out(page, tmp_path):
    some = rows(4)
    some[1]["validation_loss"] = float("nan")
    some[2]["loss"] = float("inf")
    for row in some:
        row["gradient_norm"] = None
    page(some)
    read = written(tmp_path)
    lengths = [len(each["points"].split()) for tag, each in read.tags if tag == "polyline"]
    assert lengths == [3, 3, 4, 4, 4, 4]
    assert read.text.count("not measured yet") == 1
    assert "nan" not in " ".join(each.get("points", "") for _, each in read.tags)


def test_the_layers_of_the_last_epoch_are_shown_and_far_ones_marked(page, tmp_path):
    head = "epoch,layer,gradient_norm,weight_norm,update_ratio\n"
    lines = ["1,old,1,1,0.001", "2,usual,1,1,0.001", "2,wild,1,1,0.5", "2,dead,1,1,0", "2,zero,1,0,"]
    (tmp_path / "layers.csv").write_text(head + "\n".join(lines))
    page(rows(2))
    read = written(tmp_path)
    assert "old" not in read.text
    assert all(name in read.text for name in ("usual 1.0e-03", "wild 5.0e-01", "dead 0.0e+00", "zero –"))
    bars = [(each["style"], each.get("class")) for tag, each in read.tags if tag == "b"]
    assert bars == [("width:50.0%", None), ("width:95.0%", "far"), ("width:0.0%", "far")]
