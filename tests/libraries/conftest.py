"""Real libraries' servers, and their own suites, with ours in place and as they are."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import in_place

from . import suites

Outcomes = tuple[suites.Outcome, suites.Outcome]

_PROGRAMS = Path(__file__).parent / "programs"

Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session", autouse=True)
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcomes]]]:
    """Each library's own suite on both, two suites at a time, beside all other tests.

    They are started before the first test and asked for in the last file: the longest takes 40 s, and
    most of the time it waits.
    """

    def run_on_both(suite: suites.Suite) -> Outcomes:
        with suites.alone(suite):
            plain = suites.run(suite, in_place.PLAIN, tmp_path_factory.mktemp(suite.library))
            ours = suites.run(suite, in_place.OURS, tmp_path_factory.mktemp(suite.library))
        return plain, ours

    tmp_path_factory.getbasetemp()  # made here, because two threads at once would both make it
    with ThreadPoolExecutor(2) as two_at_a_time:
        yield {suite.library: two_at_a_time.submit(run_on_both, suite) for suite in suites.SUITES}


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
    """A port for programs that need one: bound here, so that the kernel gives it to no other program."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
