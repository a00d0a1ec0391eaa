"""CPython's own tests of `socketserver` and of what stands on it, with ours in place."""

from collections.abc import Callable

import pytest

from tests import in_place

from .conftest import Suites
from .counts import Counts, in_the_table
from .engines import AS_THE_CLASS_SAYS, IMPOSSIBLE

MODULES = tuple(IMPOSSIBLE[AS_THE_CLASS_SAYS])
CHOSEN_ENGINES = [
    (engine, module)
    for engine, modules in IMPOSSIBLE.items()
    if engine != AS_THE_CLASS_SAYS
    for module in modules
]


@pytest.mark.parametrize("module", MODULES)
def test_cpythons_own_tests_give_the_same_numbers_with_ours_in_place(
    module: str,
    suites: Suites,
    run_suite: Callable[..., in_place.Finished],
    record_property: Callable[[str, object], None],
) -> None:
    finished = suites[AS_THE_CLASS_SAYS, module].result()
    expected = in_the_table(module) or Counts.read(run_suite(in_place.PLAIN, module).output)

    assert in_place.OURS.is_told_by(finished.implementations)
    assert Counts.read(finished.output) == expected, finished.tail()
    assert finished.status == 0, finished.tail()
    record_property("ran", f"{module} {expected}")


@pytest.mark.parametrize(("engine", "module"), CHOSEN_ENGINES)
def test_cpythons_own_tests_pass_on_an_engine_that_the_command_line_chose(
    engine: str, module: str, suites: Suites, record_property: Callable[[str, object], None]
) -> None:
    finished = suites[engine, module].result()
    counts = Counts.read(finished.output)

    assert in_place.OURS.is_told_by(finished.implementations)
    assert finished.status == 0, finished.tail()
    assert counts == _all_but_the_impossible(engine, module, suites), finished.tail()
    record_property("ran", f"{module} on {engine} {counts}")


def _all_but_the_impossible(engine: str, module: str, suites: Suites) -> Counts:
    everything = Counts.read(suites[AS_THE_CLASS_SAYS, module].result().output)
    return everything.without(len(IMPOSSIBLE[engine][module]))


def test_the_witness_tells_the_standard_library_from_ours(
    run_suite: Callable[..., in_place.Finished],
) -> None:
    finished = run_suite(in_place.PLAIN, "test_wsgiref")

    assert in_place.PLAIN.is_told_by(finished.implementations)
    assert not in_place.OURS.is_told_by(finished.implementations)
