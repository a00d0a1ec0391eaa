"""How many workers there may be: one bound, for whoever says a number."""

import os

import pytest

from manyhands.config.option_types import MOST_WORKERS
from manyhands.config.options import SERVER_OPTIONS
from manyhands.control.fleet_verbs import OF_A_SUPERVISOR
from manyhands.workers.shared_page import SLOTS, SharedPage


@pytest.mark.parametrize("count", [1, MOST_WORKERS, MOST_WORKERS + 1])
def test_operators_may_ask_for_as_many_workers_as_the_option_takes(count: int) -> None:
    may_be = SERVER_OPTIONS["workers"].fits(count)
    assert may_be is (count <= MOST_WORKERS)
    params = {verb.name: verb.params for verb in OF_A_SUPERVISOR}
    [scale], [restart] = params["workers.scale"], params["workers.restart"]
    assert scale.kind.fits(count) is restart.kind.fits(count) is may_be


def test_the_page_has_slots_for_several_generations_of_them() -> None:
    page = SharedPage()
    last = page.slot(SLOTS - 1)
    last.note_turn()
    assert page.slot(SLOTS - 1).turns == 1
    assert SLOTS >= 3 * MOST_WORKERS
    page.close()


def test_a_page_of_another_version_may_have_other_slots() -> None:
    page = SharedPage()
    os.ftruncate(page.descriptor, 64 * 1024)
    smaller = SharedPage(page.descriptor)
    smaller.slot(0).note_turn()
    assert page.slot(0).turns == 1
    page.close()
