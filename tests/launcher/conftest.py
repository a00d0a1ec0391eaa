"""The program of `on_fibers`, running."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Program

from .launch import write
from .on_fibers import ON_FIBERS, SERVER, Serving


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(
        kind: str = "ThreadingTCPServer",
        *options: str,
        serve: str = "server.serve_forever()",
        before: str = "pass",
    ) -> Serving:
        source = SERVER.replace("{serve}", serve).replace("{before}", before)
        write(tmp_path / "server.py", source)
        started.append(Program([*ON_FIBERS, *options, "server.py", kind], tmp_path))
        return Serving(started[-1])

    yield start
    for program in started:
        program.__exit__()
