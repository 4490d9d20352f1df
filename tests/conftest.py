"""What holds for every test."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module", autouse=True)
def _modules_are_no_garbage() -> Iterator[None]:
    """A full collection looks at all that was ever imported, unless it is told that this stays."""
    before = len(sys.modules)
    if not gc.get_freeze_count():
        gc.freeze()
    yield
    if len(sys.modules) > before + 100:
        gc.collect()
        gc.freeze()


# Importing everything takes a process seconds, forking one that has takes it none. An alarm ends what hangs.
FORKING = """
import json, os, signal, sys
import fovea.architectures.lenet, fovea.commands.main, fovea.commands.train, fovea.transfer.starting
import gc, lightning.fabric, safetensors.torch, sklearn.datasets, sympy, tyro

gc.collect()
gc.freeze()

for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
        continue
    process = os.fork()
    if process == 0:
        signal.alarm(300)
        for descriptor, said in enumerate(job["said"], start=1):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.chdir(job["place"])
        os.environ.update(job["environment"])
        sys.argv = ["forked", *job["arguments"]]
        exec(compile(job["code"], "forked", "exec"), {"__name__": "__main__"})
        sys.exit()
    print(process, flush=True)
"""


@pytest.fixture(scope="session")
def forking() -> Iterator[Callable[[dict[str, Any]], int]]:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", FORKING], env=environment, **pipes) as process:

        def asked(job: dict[str, Any]) -> int:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield asked
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def forked(
    forking: Callable[[dict[str, Any]], int], tmp_path: Path
) -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """A function: run code in a process of its own, or in several that find each other as under torchrun.

    Gives what became of each: the exit code, negative where a signal ended it, and what it said.
    """

    def run(code: str, *arguments: str, ranks: int = 1) -> list[subprocess.CompletedProcess[str]]:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        group = {"GROUP_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "TORCHELASTIC_RUN_ID": "none"}
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        job = {"code": code, "arguments": arguments, "place": str(tmp_path)}
        started = []
        for rank in range(ranks):
            here = group | {"RANK": rank, "LOCAL_RANK": rank} if ranks > 1 else {}
            said = [tmp_path / f"forked{rank}.{name}" for name in ("out", "err")]
            environment = {name: str(value) for name, value in here.items()}
            started.append((forking(job | {"said": list(map(str, said)), "environment": environment}), said))
        codes = [forking({"wait": process}) for process, _ in started]
        words = [[path.read_text() for path in said] for _, said in started]
        return [subprocess.CompletedProcess(arguments, code, *each) for code, each in zip(codes, words, strict=True)]

    return run
