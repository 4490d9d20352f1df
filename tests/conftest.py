"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the caches of whoever runs it, nor do the processes that it starts."""
    before = os.environ.get("FOVEA_CACHE")
    os.environ["FOVEA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FOVEA_CACHE"]
    else:
        os.environ["FOVEA_CACHE"] = before
