"""The turn that forked copies of a process share. Each test runs in copies, which leave nothing behind."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from manyhands.runtime.shared_turn import SharedTurn
from tests.support import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def assert_in_a_copy(act: Callable[[], object]) -> None:
    with forked(act) as wait:
        assert wait() == 0


def free_descriptor() -> int:
    """Return the number that the next descriptor gets, in a copy with one thread."""
    number = os.dup(2)
    os.close(number)
    return number


def keep_others_out(turn: SharedTurn) -> bool:
    """Tell whether two copies that are forked now take turns."""
    reader, writer = os.pipe()
    turn.share()

    def act() -> bool:
        for _ in range(20):
            with turn.take():
                os.write(writer, b"(")
                os.sched_yield()
                os.write(writer, b")")
        return True

    with forked(act) as wait, forked(act) as wait_too:
        return (wait(), wait_too()) == (0, 0) and os.read(reader, 1000) == b"()" * 40


def test_copies_have_it_one_at_a_time() -> None:
    assert_in_a_copy(lambda: keep_others_out(SharedTurn()))


@pytest.mark.parametrize("is_reused", [False, True])
def test_a_program_may_close_its_file(is_reused: bool) -> None:
    def act() -> bool:
        turn = SharedTurn()
        file = free_descriptor()
        turn.share()
        os.close(file)
        if is_reused:
            reader, writer = os.pipe()
            assert file in {reader, writer}
        with turn.take():
            pass
        return keep_others_out(turn)

    assert_in_a_copy(act)


def test_its_file_may_be_closed_while_it_is_taken() -> None:
    def act() -> bool:
        turn = SharedTurn()
        file = free_descriptor()
        turn.share()
        with turn.take():
            os.close(file)
        with turn.take():
            return True

    assert_in_a_copy(act)


def test_where_no_file_can_be_had_the_threads_of_the_process_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    def act() -> bool:
        turn, before = SharedTurn(), free_descriptor()
        turn.share()
        with turn.take():
            return free_descriptor() == before

    # As a filter of system calls does it, in a program that has another root, without the modules' files.
    monkeypatch.setattr(os, "memfd_create", refuse)
    monkeypatch.setitem(sys.modules, "tempfile", None)
    assert_in_a_copy(act)


def test_a_copy_that_is_killed_leaves_it_to_the_next() -> None:
    def hold() -> None:
        with turn.take():
            os.write(writer, b".")
            signal.pause()

    def act() -> bool:
        turn.share()
        for _ in range(2):
            with forked(hold):  # at the end it is killed
                assert os.read(reader, 1) == b"."
        with turn.take():
            return True

    turn = SharedTurn()
    reader, writer = os.pipe()
    assert_in_a_copy(act)
    os.close(reader)
    os.close(writer)


def test_a_copy_that_is_forked_in_the_turn_goes_on_without_it() -> None:
    def act() -> bool:
        turn = SharedTurn()
        with turn.take():
            copy = os.fork()
        # Both have left it; the copy, which never had it, without an error.
        if not copy:
            os._exit(0)
        return os.waitpid(copy, 0)[1] == 0

    assert_in_a_copy(act)
