"""The thread that sends what waits, with real sockets."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from manyhands.connections import outbox_writer as module
from manyhands.connections.gated_sockets import gate, make_outbox
from manyhands.connections.outbox import Outbox
from manyhands.connections.outbox_writer import OutboxWriter
from tests.support import forked
from tests.support.waiting import PATIENCE, wait_until

MUCH = 3_000_000
"""Bytes: more than any kernel takes at once."""


class Patient:
    """Terms by which very much may wait."""

    def outbox_terms(self) -> tuple[int, str]:
        return 100_000_000, "close"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        raise AssertionError


class Waiting:
    """What waits for its peer, and is flushed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


@pytest.fixture(params=["epoll", "poll"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OutboxWriter:
    """A writer, on a system with epoll and on one without."""
    monkeypatch.setattr(module, "HAS_EPOLL", request.param == "epoll")
    monkeypatch.setattr(module, "IDLE", 0.05)
    writer = OutboxWriter()
    monkeypatch.setattr(module.outbox_writer, "watch", writer.watch)
    monkeypatch.setattr(module.outbox_writer, "forget", writer.forget)
    return writer


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def made(resources: ExitStack) -> tuple[Outbox, socket.socket, socket.socket]:
    """Make an outbox on which very much waits, its connection, and its peer."""
    ours, peer = socket.socketpair()
    resources.enter_context(ours)
    resources.enter_context(peer)
    peer.settimeout(PATIENCE)
    outbox = make_outbox(ours, Patient())
    gate(ours)
    assert outbox.put(b"p" * MUCH)
    return outbox, ours, peer


def received(peer: socket.socket, size: int) -> int:
    while size > 0:
        size -= len(peer.recv(MUCH))
    return size


def test_all_that_waits_goes_out_whoever_reads_first(
    writer: OutboxWriter, resources: ExitStack
) -> None:
    several = [made(resources) for _ in range(5)]
    for _, _, peer in reversed(several):
        assert received(peer, MUCH) == 0
    wait_until(lambda: not any(outbox.waiting for outbox, _, _ in several))
    # A thread that has been idle has ended, and another one begins.
    wait_until(lambda: not writer.has_thread)
    outbox, _, peer = several[0]
    outbox.put(b"p" * MUCH)
    assert received(peer, MUCH) == 0
    for outbox, _, _ in several:
        outbox.end()


def test_what_is_forgotten_is_flushed_no_more(writer: OutboxWriter) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        while True:
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        forgotten, other = Waiting(ours.fileno()), Waiting(ours.fileno())
        writer.watch(forgotten)
        writer.forget(forgotten)
        # The number is another connection's now, and the first one's end comes once more.
        writer.watch(other)
        writer.forget(forgotten)
        assert other.flushed == 0
        peer.recv(MUCH)
        while select.select([peer], [], [], 0)[0]:
            peer.recv(MUCH)
        wait_until(lambda: other.flushed)
        assert (forgotten.flushed, other.flushed) == (0, 1)


def test_a_finalizer_in_the_middle_of_it_is_refused(writer: OutboxWriter) -> None:
    class Interrupted(Waiting):
        """As if the collector ran where its descriptor is asked for."""

        @property
        def descriptor(self) -> int:  # type: ignore[override]
            if not refusals:
                refusals.append("")
                with pytest.raises(RuntimeError) as refusal:
                    writer.watch(Waiting(peer.fileno()))
                refusals[0] = str(refusal.value)
            return ours.fileno()

        @descriptor.setter
        def descriptor(self, value: int) -> None:
            pass

    refusals: list[str] = []
    ours, peer = socket.socketpair()
    with ours, peer:
        waiting = Interrupted(ours.fileno())
        writer.watch(waiting)
        wait_until(lambda: waiting.flushed)
        writer.forget(waiting)
    assert refusals == ["a finalizer cannot have an outbox watched while its thread does so"]


def test_an_outbox_without_a_descriptor_is_forgotten_once_more(
    writer: OutboxWriter, resources: ExitStack
) -> None:
    (outbox, _, _), (other, _, _) = made(resources), made(resources)
    outbox.end()
    # As another end that comes at the same time may do.
    writer.forget(outbox)
    assert writer.has_thread
    other.end()


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_copy_sends_nothing_of_what_waits_and_has_no_part_of_the_writer(
    resources: ExitStack,
) -> None:
    outbox, ours, peer = made(resources)
    epoll = module.outbox_writer._epoll.fileno()
    assert Path(f"/proc/self/fd/{epoll}").exists()
    with outbox._lock:  # as another thread may hold it

        def is_fresh() -> bool:
            assert not outbox.put(b"piece of the copy")
            outbox.end()
            ours.sendall(b"")
            return not Path(f"/proc/self/fd/{epoll}").exists()

        with forked(is_fresh) as wait:
            assert wait() == 0
    assert received(peer, MUCH) == 0
    outbox.put(b"end")
    assert peer.recv(100) == b"end"


def test_when_the_thread_fails_another_one_goes_on_with_all_that_waits(
    monkeypatch: pytest.MonkeyPatch, resources: ExitStack, capfd: pytest.CaptureFixture[str]
) -> None:
    failures = [MemoryError("as told")]
    poll = module.PollOnce.poll

    def failing_once(self: module.PollOnce, seconds: float) -> list[tuple[int, int]]:
        ready = poll(self, seconds)
        if failures:
            raise failures.pop()
        return ready

    monkeypatch.setattr(module, "HAS_EPOLL", False)
    monkeypatch.setattr(module.PollOnce, "poll", failing_once)
    writer = OutboxWriter()
    monkeypatch.setattr(module.outbox_writer, "watch", writer.watch)
    monkeypatch.setattr(module.outbox_writer, "forget", writer.forget)
    several = [made(resources) for _ in range(3)]
    for _, _, peer in several:
        assert received(peer, MUCH) == 0
    assert failures == []
    assert "MemoryError: as told" in capfd.readouterr().err
    for outbox, _, _ in several:
        outbox.end()
