"""The page that a supervisor and its workers share: the rules, with two mappings of it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.workers.shared_page import MOST_LISTENERS, SLOTS, SharedPage, Slot


@pytest.fixture
def pages() -> Iterator[tuple[SharedPage, SharedPage]]:
    """The supervisor's page, and a worker's."""
    with ExitStack() as undo:
        here = SharedPage()
        undo.callback(here.close)
        # A worker has its own mapping, of the descriptor that it was given.
        yield here, SharedPage(here.descriptor)


def figures(slot: Slot) -> tuple[int, bool, int, list[int]]:
    """Return all that a slot says."""
    begun = slot.begun_of_all(MOST_LISTENERS)
    return slot.turns, slot.is_awaited, slot.returned, begun


NOTHING = (0, False, 0, [0] * MOST_LISTENERS)


def test_each_side_reads_what_the_other_has_written(pages: tuple[SharedPage, SharedPage]) -> None:
    here, there = (page.slot(7) for page in pages)
    there.note_turn()
    there.note_begun(0)
    there.note_begun(2)
    there.note_begun(2)
    there.note_returned()
    here.is_awaited = True
    begun = [1, 0, 2, *[0] * (MOST_LISTENERS - 3)]
    assert figures(here) == figures(there) == (1, True, 1, begun)
    assert there.ended.note(4711, 3)
    assert here.ended.take() == [(4711, 3)]


@pytest.mark.parametrize("number", [0, 1, SLOTS - 1])
def test_no_slot_has_a_part_of_another_one(
    number: int, pages: tuple[SharedPage, SharedPage]
) -> None:
    here, there = pages
    neighbours = [here.slot(each) for each in (number - 1, number + 1) if 0 <= each < SLOTS]
    full = there.slot(number)
    full.note_turn()
    full.note_returned()
    full.is_awaited = True
    for listener in range(MOST_LISTENERS):
        full.note_begun(listener)
    for place in range(1, 1000):
        full.ended.note(place, 255)
    assert [figures(each) for each in neighbours] == [NOTHING] * len(neighbours)
    assert [each.ended.take() for each in neighbours] == [[]] * len(neighbours)


def test_the_next_worker_finds_nothing_of_the_one_before(
    pages: tuple[SharedPage, SharedPage],
) -> None:
    here, there = (page.slot(3) for page in pages)
    there.note_turn()
    there.note_begun(MOST_LISTENERS - 1)
    there.note_returned()
    there.ended.note(1, 1)
    here.clear()
    assert figures(there) == NOTHING
    assert here.ended.take() == []


@given(st.lists(st.integers(0, 2**64 - 1), min_size=20, max_size=20))
def test_whatever_a_worker_writes_the_supervisor_reads_numbers_and_comes_to_an_end(
    words: list[int],
) -> None:
    page = SharedPage()
    slot = page.slot(0)
    for position, word in enumerate(words * 30):
        slot._memory[position] = word
    turns, _, returned, begun = figures(slot)
    assert {type(each) for each in (turns, returned, *begun)} == {int}
    assert all(0 <= place < 2**55 and 0 <= reason < 256 for place, reason in slot.ended.take())
    page.close()
