"""TensorBoard's files: every epoch once, also after a resume; a missing package is one sentence."""

from __future__ import annotations

import sys

import pytest

from fovea.errors import MachineError
from fovea.training.watching.board import Board


def rows(count):
    return [
        {"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "validation_loss": 2 / epoch, "validation_accuracy": None}
        for epoch in range(1, count + 1)
    ]


def points(run):
    """Every scalar as TensorBoard would show it: tag to (step, value) pairs."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_without_the_package_the_install_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MachineError, match=r"pip install 'fovea-vision\[tensorboard\]'"):
        Board(tmp_path)


def test_every_epoch_is_written_when_it_is_shown(tmp_path):
    pytest.importorskip("tensorboard")
    board = Board(tmp_path)
    for count in (1, 2):
        board(rows(count))
        found = points(tmp_path)
        assert [step for step, _ in found["loss/train"]] == list(range(1, count + 1))
    board.close()
    assert found["loss/validation"] == [(1, 2.0), (2, 1.0)]
    assert "accuracy/validation" not in found


def test_a_resumed_run_shows_no_epoch_twice(tmp_path):
    pytest.importorskip("tensorboard")
    killed = Board(tmp_path)
    killed(rows(1))
    killed(rows(3))
    again = Board(tmp_path)  # from a checkpoint after two epochs
    again(rows(2))
    assert [step for step, _ in points(tmp_path)["loss/train"]] == [1, 2]
    again(rows(3))
    again.close()
    assert points(tmp_path)["loss/train"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_layers_of_an_epoch_are_written_too(tmp_path):
    pytest.importorskip("tensorboard")
    head = "epoch,layer,gradient_norm,weight_norm,update_ratio\n"
    (tmp_path / "layers.csv").write_text(f"{head}1,conv1,1,2,0.25\n2,conv1,1,2,0.5\n2,head,1,0,\n")
    board = Board(tmp_path)
    board(rows(2))
    board.close()
    found = points(tmp_path)
    assert found["update_ratio of layers/conv1"] == [(1, 0.25), (2, 0.5)]
    assert "update_ratio of layers/head" not in found


def test_a_folder_that_cannot_be_written_is_a_machine_error(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file in the way")
    with pytest.raises(MachineError, match="tensorboard: cannot be written"):
        Board(tmp_path)(rows(1))
