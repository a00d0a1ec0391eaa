"""CPython's own suites, started ahead and all at once: they wait for nearly all of their time."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from tests import in_place

from .engines import IMPOSSIBLE

Suites = dict[tuple[str, str], Future[in_place.Finished]]

AT_ONCE = 8
"""Suites that run at the same time: as many as take long, and the short ones after another."""


@pytest.fixture(scope="session", autouse=True)
def _interpreter_with_its_tests() -> None:
    if find_spec("test.test_socketserver") is None:
        version = "{}.{}".format(*sys.version_info)
        pytest.exit(
            f"Python {version} at {sys.base_prefix} came without its own tests "
            f"(Debian: apt-get install libpython{version}-testsuite)",
            returncode=1,
        )


@pytest.fixture(scope="session")
def run_suite(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., in_place.Finished]:
    """Run one of CPython's suites by the name of its module, without some of its tests."""

    def run(place: in_place.Place, module: str, without: tuple[str, ...] = ()) -> in_place.Finished:
        folder = tmp_path_factory.mktemp(module)
        ignored = [word for pattern in without for word in ("-i", pattern)]
        options = ["-v", "-u", ",".join(_resources()), *ignored]
        return in_place.run(place, ["-m", "test", *options, module], folder, timeout=100)

    return run


def _resources() -> list[str]:
    """Name what the suites may use; the first bugfix releases of 3.11 know nothing of "walltime"."""
    from test.libregrtest.cmdline import ALL_RESOURCES  # noqa: PLC0415 - not every Python has its tests

    return [name for name in ("network", "cpu", "walltime") if name in ALL_RESOURCES]


@pytest.fixture(scope="session")
def suites(
    run_suite: Callable[..., in_place.Finished], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Suites]:
    """Every suite on every engine that it can run on, with ours in place."""
    tmp_path_factory.getbasetemp()  # made here, because two threads at once would both make it
    # The two longest take 25 s each, of which they compute for less than one, and all listen on ports that
    # the kernel chooses.
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        yield {
            (engine, module): at_once.submit(
                run_suite,
                in_place.ours_with("--engine", engine) if engine else in_place.OURS,
                module,
                without,
            )
            for engine, modules in IMPOSSIBLE.items()
            for module, without in modules.items()
        }
