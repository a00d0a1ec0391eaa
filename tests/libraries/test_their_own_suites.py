"""Real libraries' own suites, each with ours in place and on the plain standard library."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests import in_place

from . import suites

Outcomes = tuple[suites.Outcome, suites.Outcome]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcomes]]]:
    """Each suite on both, started ahead and two suites at a time: most of their time they wait."""

    def run_on_both(suite: suites.Suite) -> Outcomes:
        with suites.alone(suite):
            plain = suites.run(suite, in_place.PLAIN, tmp_path_factory.mktemp(suite.library))
            ours = suites.run(suite, in_place.OURS, tmp_path_factory.mktemp(suite.library))
        return plain, ours

    tmp_path_factory.getbasetemp()  # made here, because two threads at once would both make it
    with ThreadPoolExecutor(2) as two_at_a_time:
        yield {suite.library: two_at_a_time.submit(run_on_both, suite) for suite in suites.SUITES}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.library)
def test_a_librarys_own_suite_goes_as_it_goes_on_the_standard_library(
    suite: suites.Suite,
    outcomes: dict[str, Future[Outcomes]],
    record_property: Callable[[str, object], None],
) -> None:
    plain, ours = outcomes[suite.library].result()

    assert in_place.PLAIN.is_told_by(plain.finished.implementations), plain.finished.tail()
    assert in_place.OURS.is_told_by(ours.finished.implementations), ours.finished.tail()
    assert plain.count("passed") > 0, plain.finished.tail()
    assert ours.tests == plain.tests, ours.finished.tail()
    record_property("ran", f"{suite.requirement} {ours}")
