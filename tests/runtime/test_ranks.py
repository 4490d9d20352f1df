"""Several processes judge together."""

from __future__ import annotations

import pytest
import torch

from fovea.errors import MachineError
from fovea.runtime import ranks


@pytest.mark.parametrize(
    ("parts", "sentence"), [([0], "image 4 was judged by 0"), ([0, 1, 1], "image 4 was judged by 2")]
)
def test_an_image_that_is_not_judged_once_is_refused(parts, sentence, monkeypatch):
    def add(found):
        for place in parts[1:]:
            found[place * 4 : place * 4 + 4, -1] += 1

    monkeypatch.setattr(torch.distributed, "all_reduce", add)
    with pytest.raises(MachineError, match=sentence):
        ranks.summed({0: torch.ones(4, 3)}, 4, 6, 3)


def test_one_alone_shares_with_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks.joined() as share:
        assert share == (0, 1)
