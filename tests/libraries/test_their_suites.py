"""Real libraries' own suites, each with ours in place and on the plain standard library."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests import in_place

from . import suites
from .conftest import Outcomes


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
