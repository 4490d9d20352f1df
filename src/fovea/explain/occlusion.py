"""Occlusion sensitivity: how much lower the number is with a part of the image covered."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from jaxtyping import Bool
from torch import Tensor

from fovea.explain.baselines import baseline_of
from fovea.explain.question import Answer, Question, batches, enlarged
from fovea.runtime.folding import folded

FOLDS_FROM = 64  # images that run, from which on folding pays


def occlusion(question: Question) -> Answer:
    """A window of the image's mean colour is moved over a grid; the map is by how much the number falls at each place.

    The map lies between the grid's places by linear interpolation; negative is where the window made it rise.

    Source: Zeiler and Fergus 2013, arXiv:1311.2901, section 4.2.
    """
    images, options = question.images, question.options
    covers = windows(images.shape[2], images.shape[3], options.grid, options.window).to(images.device)
    grey = baseline_of(images, "mean")
    jobs = torch.cartesian_prod(torch.arange(len(images)), torch.arange(len(covers)))
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if len(jobs) >= FOLDS_FROM:
            stack.enter_context(folded(question.network, images[:2], question.network))
        intact = torch.cat([part.score(part.images) for part in question.parts()])
        scores = [_score(question, images, grey, covers, some) for some in batches(jobs, options.batch_size)]
    fall = intact[:, None] - torch.cat(scores).view(len(images), -1)
    rows = min(options.grid, images.shape[2])
    return Answer(enlarged(fall.view(len(images), rows, -1), images))


def windows(height: int, width: int, grid: int, window: int) -> Bool[Tensor, "m h w"]:
    """What each place of the grid covers, row by row: so many steps of it around its middle, cut at the edge.

    Args:
        height: Of the image.
        width: Of the image.
        grid: Places along each side; as many as there are pixels where those are fewer.
        window: The window's side in steps.
    """
    rows, columns = (_spans(side, min(grid, side), window) for side in (height, width))
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)


def _spans(side: int, places: int, window: int) -> Tensor:
    """(places, side): which pixels each place covers along one side."""
    step = side / places
    middles = (torch.arange(places, dtype=torch.float64) + 0.5) * step
    pixels = torch.arange(side, dtype=torch.float64) + 0.5
    return (pixels[None] - middles[:, None]).abs() <= window * step / 2 + 1e-9


def _score(question: Question, images: Tensor, grey: Tensor, covers: Tensor, jobs: Tensor) -> Tensor:
    rows, places = jobs.unbind(1)
    covered = torch.where(covers[places][:, None], grey[rows], images[rows])
    return question.score(covered.contiguous(memory_format=torch.channels_last), rows)
