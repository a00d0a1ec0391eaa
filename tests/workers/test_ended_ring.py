"""The ring by which a worker tells its supervisor what has ended: the rules, in one piece of memory."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from manyhands.model.connection_states import Reason
from manyhands.runtime.fork_hooks import system_fork
from manyhands.runtime.sockets import unix_pair
from manyhands.workers.ended_ring import SIZE, WIDTH, EndedRing
from manyhands.workers.link import Link
from manyhands.workers.records import Kind, RecordReader
from manyhands.workers.shared_page import SharedPage


def ring_and_reader() -> tuple[EndedRing, EndedRing, memoryview]:
    """Return the worker's and the supervisor's, of the same memory, which is returned too."""
    memory = memoryview(bytearray(8 * WIDTH)).cast("Q")
    reader = EndedRing(memory, 0)
    reader.clear()
    return EndedRing(memory, 0), reader, memory


def test_each_end_is_taken_once_with_its_reason() -> None:
    ring, reader, _ = ring_and_reader()
    assert reader.take() == []
    assert ring.note(7, 3)
    assert ring.note(1 << 50, 255)
    assert reader.take() == [(7, 3), (1 << 50, 255)]
    assert reader.take() == []


def test_it_goes_round_and_round() -> None:
    ring, reader, _ = ring_and_reader()
    for place in range(5 * SIZE):
        assert ring.note(place, 0)
        if place % 100 == 0:
            reader.take()
    taken = reader.take()
    assert taken[-1] == (5 * SIZE - 1, 0)
    assert reader.take() == []


def test_a_full_ring_takes_none_until_the_supervisor_has_looked() -> None:
    ring, reader, _ = ring_and_reader()
    assert all(ring.note(place, 0) for place in range(SIZE))
    assert not ring.note(SIZE, 0)
    assert len(reader.take()) == SIZE
    assert ring.note(SIZE, 0)
    assert reader.take() == [(SIZE, 0)]


def test_an_end_that_was_written_when_a_signal_came_is_not_written_over() -> None:
    _, reader, memory = ring_and_reader()

    class Interrupted(EndedRing):
        """As where a handler of a signal raises just after the memory was written."""

        __slots__ = ("is_interrupted",)

        def __setattr__(self, name: str, value: object) -> None:
            if name == "_noted" and getattr(self, "is_interrupted", False):
                super().__setattr__("is_interrupted", False)
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    ring = Interrupted(memory, 0)
    ring.is_interrupted = True
    with pytest.raises(KeyboardInterrupt):
        ring.note(1, 0)
    ring.note(2, 0)
    assert reader.take() == [(1, 0), (2, 0)]


def test_a_supervisor_that_takes_over_goes_on_where_the_one_before_was() -> None:
    ring, reader, memory = ring_and_reader()
    for place in range(SIZE + 3):
        ring.note(place, 0)
        reader.take()
    ring.note(99, 1)
    heir = EndedRing(memory, 0)
    assert heir.take() == [(99, 1)]


def test_the_supervisor_takes_no_more_than_the_ring_holds_of_memory_that_is_spoilt() -> None:
    _, reader, memory = ring_and_reader()
    for position in range(2, WIDTH):
        memory[position] = (1 << 64) - 1
    assert len(reader.take()) == SIZE
    assert reader.take() == []


class Ends:
    """A worker's link and its supervisor's side of it."""

    def __init__(self) -> None:
        self._page = SharedPage()
        self._here, there = unix_pair(socket.SOCK_STREAM)
        self._here.setblocking(False)
        slot = self._page.slot(3)
        slot.clear()
        self.ring = slot.ended
        self.link = Link(there.detach(), self._page.slot(3).ended)

    def told(self) -> list[int]:
        """Return the kinds of what the link has told since."""
        try:
            return [record.kind for record in RecordReader().feed(self._here.recv(1 << 20))]
        except BlockingIOError:
            return []

    def close(self) -> None:
        self._here.close()
        self.link._socket.close()
        self._page.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    with contextlib.closing(Ends()) as made:
        yield made


def test_a_supervisor_that_waits_is_told_of_the_first_end_alone(ends: Ends) -> None:
    for place in (1, 2):
        ends.link.tell_end(place, Reason.PEER_CLOSED)
    assert ends.told() == [Kind.ENDS]
    assert [place for place, _ in ends.ring.take()] == [1, 2]
    ends.link.tell_end(3, Reason.PEER_CLOSED)
    assert ends.told() == []
    ends.ring.is_awaited = True
    ends.link.tell_end(4, Reason.PEER_CLOSED)
    assert ends.told() == [Kind.ENDS]


def test_what_the_ring_has_no_room_for_goes_by_the_link(ends: Ends) -> None:
    for place in range(SIZE + 2):
        ends.link.tell_end(place, Reason.PEER_CLOSED)
    assert ends.told() == [Kind.ENDS, Kind.ENDED, Kind.ENDED]


def test_an_end_that_interrupts_another_one_goes_by_the_link(ends: Ends) -> None:
    # As a handler of a signal does that comes while an end is noted.
    with ends.link._noting:
        ends.link.tell_end(1, Reason.PEER_CLOSED)
    assert ends.told() == [Kind.ENDED]


def test_a_forked_copy_tells_of_no_end(ends: Ends) -> None:
    pid = system_fork()
    if not pid:
        try:
            ends.link.tell_end(1, Reason.PEER_CLOSED)
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert ends.ring.take() == []
    assert ends.told() == []
