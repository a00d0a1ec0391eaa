"""Servers of real libraries, with ours in place and as they are."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import in_place

_PROGRAMS = Path(__file__).parent / "programs"

Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture(
    params=[in_place.PLAIN, in_place.OURS, in_place.ours_with("--engine", "fibers")],
    ids=["stdlib", "manyhands", "fibers"],
)
def place(request: pytest.FixtureRequest) -> in_place.Place:
    """The standard library, to prove the expectation, and ours in its place, on fibers too."""
    chosen: in_place.Place = request.param
    return chosen


@pytest.fixture
def serving(place: in_place.Place, tmp_path: Path) -> Serving:
    """Run one of the programs in a folder of its own while the test talks with it."""

    def run(program: str, *arguments: str) -> AbstractContextManager[str]:
        copy = tmp_path / f"{program}.py"
        copy.write_text((_PROGRAMS / copy.name).read_text())
        return in_place.serving(place, [copy.name, *arguments], tmp_path)

    return run


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port for programs that must be told one: bound here, so that the kernel gives it to nobody else."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
