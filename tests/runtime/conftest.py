"""One finished run on the digits, which the tests here only read."""

from __future__ import annotations

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: threads that spin slow a busy machine down


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    import torch

    import fovea
    from fovea.training.recipes import recipe

    torch.set_num_threads(1)
    network = fovea.create("lenet5", seed=1)
    out = tmp_path_factory.mktemp("runtime") / "digits"
    options = recipe("digits").but(epochs=1, warmup_epochs=0.0)
    return fovea.train(network, "digits", options, out=out, quiet=True)
