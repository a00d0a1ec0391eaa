"""One end of a call's connection, with real sockets, served in a thread and in a fiber."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.messages import LineTooLong, MessageDecoder
from manyhands.runtime.peer_wait import FiberPeerWait, ThreadPeerWait, peer_wait
from tests.support import left_open, open_descriptors
from tests.support.workers import WORKERS, Threads, Worker

BOUND = 100_000
"""Bytes that may wait for the peer."""

Ends = tuple[CallIO, socket.socket]


@pytest.fixture(params=[socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def ends(request: pytest.FixtureRequest, worker: Worker) -> Iterator[Ends]:
    """A line, and the peer's socket."""
    ours, peer = connected(request.param)
    peer.settimeout(20)
    ours = worker.adopt(ours)
    line = worker.do(CallIO, ours, BOUND)
    with peer:
        yield line, peer
        worker.do(line.finish, 0)
        worker.do(ours.close)


def connected(family: int) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        return listener.accept()[0], peer


def read_all(peer: socket.socket) -> bytes:
    """Read until the end of the call."""
    return b"".join(iter(lambda: peer.recv(65536), b""))


def heard(line: CallIO, limit: int = 8192) -> list[str]:
    return [m.text for messages in line.hear(MessageDecoder(limit)) for m in messages]


def finish_and_close(line: CallIO) -> None:
    """End a call as a server does."""
    line.finish()
    line._connection.close()


def fill(line: CallIO) -> int:
    """Say lines until some have to wait; return how many were said."""
    count = 0
    while line.wait_until_sent(0):
        assert line.say(f"{count:999}")
        count += 1
    return count


def test_what_is_said_arrives_as_lines(ends: Ends, worker: Worker) -> None:
    line, peer = ends
    assert line.say("hello 你好")
    assert line.say("two\nlines")
    line.hang_up(Ending.KICKED)
    peer.shutdown(socket.SHUT_WR)
    worker.do(line.finish)
    assert read_all(peer) == "hello 你好\ntwo\nlines\n".encode()


def test_saying_never_waits_for_a_peer_that_does_not_read_and_nothing_is_lost(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    count = fill(line)
    assert line.say("and one more")
    peer.shutdown(socket.SHUT_WR)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)))
    reader.start()
    assert line.wait_until_sent(20)
    worker.do(line.finish)
    reader.join()
    expected = [f"{n:999}".encode() for n in range(count)] + [b"and one more"]
    assert received[0].splitlines() == expected


def tasks() -> int:
    """Count the threads of this process, those included that only the system knows."""
    return len(list(Path("/proc/self/task").iterdir()))


def test_what_waits_takes_one_thread_for_all_peers(ends: Ends, worker: Worker) -> None:
    line, _ = ends
    fill(line)
    before = tasks()
    with ExitStack() as others:
        for _ in range(5):
            ours, peer = socket.socketpair()
            others.enter_context(peer)
            adopted = worker.adopt(ours)
            other = worker.do(CallIO, adopted, BOUND)
            others.callback(worker.do, adopted.close)
            others.callback(worker.do, other.finish, 0)
            fill(other)
        # The pool of the test's own threads may have grown by one.
        assert tasks() <= before + isinstance(worker, Threads)


def test_lines_stay_in_order_when_the_writer_and_the_speaker_race(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    numbers = 30_000
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)))
    reader.start()
    for number in range(numbers):
        assert line.say(str(number))
        if number % 100 == 0:
            line.wait_until_sent()
    peer.shutdown(socket.SHUT_WR)
    worker.do(line.finish, 20)
    reader.join()
    assert received[0].split() == [str(number).encode() for number in range(numbers)]


def test_a_peer_that_does_not_read_is_cut_off_at_the_bound(ends: Ends, worker: Worker) -> None:
    line, _ = ends
    fill(line)
    while line.say("x" * 999):
        pass
    assert line.ending is Ending.DID_NOT_READ
    assert not line.say("hello?")
    assert worker.do(heard, line) == []
    worker.do(line.finish)


def test_what_waits_goes_out_after_hanging_up(ends: Ends, worker: Worker) -> None:
    line, peer = ends
    count = fill(line)
    line.hang_up(Ending.KICKED)
    assert not line.say("too late")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)) or peer.close())
    reader.start()
    worker.do(line.finish, 20)
    reader.join()
    assert len(received[0].splitlines()) == count


def test_what_was_said_last_arrives_although_the_peer_was_still_talking(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    peer.sendall(b"x" * 30_000)
    line.say("goodbye")
    line.hang_up(Ending.KICKED)
    finishing = worker.spawn(finish_and_close, line)
    assert read_all(peer) == b"goodbye\n"
    peer.close()
    finishing.result(20)


def test_what_was_said_last_arrives_although_the_peer_goes_on_talking(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    line.say("goodbye")
    line.hang_up(Ending.KICKED)
    assert worker.do(heard, line) == []
    finishing = worker.spawn(finish_and_close, line)
    peer.sendall(b"x" * 30_000)
    assert peer.recv(100) == b"goodbye\n"
    peer.sendall(b"x" * 30_000)
    assert peer.recv(100) == b""
    peer.close()
    finishing.result(20)


class Chatterbox(ThreadPeerWait):
    """A watch over a peer that always has said more by the time one looks: a real one draws breath."""

    def receive(self, size: int, seconds: float | None = None) -> bytes:
        return b"and another thing"


def test_a_peer_that_never_stops_talking_does_not_hold_the_end_for_ever() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        line = CallIO(ours, BOUND)
        line._wait.ignore_interrupts()
        line._wait = Chatterbox(ours)
        line.finish(timeout=0.05)


def test_hundreds_of_lines_give_all_their_descriptors_back(worker: Worker) -> None:
    def hang_up(connection: socket.socket) -> None:
        line = CallIO(connection, BOUND)
        line.hang_up(Ending.KICKED)
        line.finish(timeout=0)
        line.finish(timeout=0)
        connection.close()

    before = open_descriptors()
    for _ in range(300):
        ours, peer = socket.socketpair()
        with peer:
            worker.do(hang_up, worker.adopt(ours))
    assert open_descriptors() == before


def test_a_fiber_needs_no_descriptor_beside_that_of_its_connection() -> None:
    with WORKERS["fibers"]() as worker:
        pairs = [socket.socketpair() for _ in range(50)]
        before = open_descriptors()
        lines = [worker.do(CallIO, worker.adopt(ours), BOUND) for ours, _ in pairs]
        hearing = [worker.spawn(heard, line) for line in lines]
        assert open_descriptors() == before
        for line in lines:
            line.hang_up(Ending.KICKED)
        assert [one.result(20) for one in hearing] == [[]] * 50
        waiting = []
        for line in lines:
            line._wait = worker.do(peer_wait, line._connection)  # one that was not interrupted
            waiting.append(worker.spawn(line.wait_for_hang_up))
        assert len(left_open(before)) <= 1  # for all of them
        for _, peer in pairs:
            peer.close()
        assert [one.result(20) for one in waiting] == [True] * 50
        for line in lines:
            worker.do(finish_and_close, line)


def test_a_peer_that_never_hangs_up_does_not_hold_the_end_for_ever(
    ends: Ends, worker: Worker
) -> None:
    line, _ = ends
    line.hang_up(Ending.KICKED)
    worker.do(line.finish, 0.05)
    assert not line.say("hello?")


def test_hanging_up_wakes_the_reader(ends: Ends, worker: Worker) -> None:
    line, _ = ends
    hearing = worker.spawn(heard, line)
    line.hang_up(Ending.KICKED)
    assert hearing.result(20) == []
    assert line.ending is Ending.KICKED


def test_the_first_reason_for_hanging_up_counts(ends: Ends) -> None:
    line, _ = ends
    line.hang_up(Ending.KICKED)
    line.hang_up(Ending.DESK_CLOSED)
    assert line.ending is Ending.KICKED


def test_an_unfinished_message_is_heard_after_a_while_and_at_the_end(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    hearing = line.hear(MessageDecoder(unfinished=0.05))
    peer.sendall(b"who's there")
    assert [m.text for m in worker.do(next, hearing)] == ["who's there"]
    peer.sendall(b"vanishing in mid-l")
    peer.close()
    rest = worker.do(list, hearing)
    assert [m.text for messages in rest for m in messages] == ["vanishing in mid-l"]


def test_what_was_said_before_the_connection_was_lost_is_heard(worker: Worker) -> None:
    ours, peer = connected(socket.AF_INET)
    ours = worker.adopt(ours)
    line = worker.do(CallIO, ours, BOUND)
    line.say("something unread makes the close a reset")
    peer.sendall(b"one\nunfinished")
    hearing = line.hear(MessageDecoder())
    assert [m.text for m in worker.do(next, hearing)] == ["one"]
    peer.close()
    rest: list[str] = []

    def hear_the_rest() -> None:
        rest.extend(m.text for messages in hearing for m in messages)

    with pytest.raises(ConnectionResetError):
        worker.do(hear_the_rest)
    assert rest == ["unfinished"]
    worker.do(finish_and_close, line)


def test_a_line_that_is_too_long_raises_after_what_was_said_before_it(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    peer.sendall(b"one\n" + b"x" * 100)
    hearing = line.hear(MessageDecoder(limit=50))
    assert [m.text for m in worker.do(next, hearing)] == ["one"]
    with pytest.raises(LineTooLong):
        worker.do(next, hearing)


def test_a_peer_that_has_only_stopped_talking_still_hears(ends: Ends, worker: Worker) -> None:
    line, peer = ends
    peer.shutdown(socket.SHUT_WR)
    assert worker.do(heard, line) == []
    assert line.say("are you there?")
    assert not worker.do(line.wait_for_hang_up, 0.05)
    assert peer.recv(100) == b"are you there?\n"


def test_a_peer_that_has_gone_is_told_from_one_that_has_only_stopped_talking(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    peer.close()
    assert worker.do(heard, line) == []
    line.say("are you there?")
    assert worker.do(line.wait_for_hang_up, 20)


def test_hanging_up_ends_the_wait_for_a_peer_that_has_stopped_talking(
    ends: Ends, worker: Worker
) -> None:
    line, peer = ends
    peer.shutdown(socket.SHUT_WR)
    assert worker.do(heard, line) == []
    waiting = worker.spawn(line.wait_for_hang_up)
    line.hang_up(Ending.KICKED)
    assert waiting.result(20)


class GivenUp:
    """A connection that the kernel has given up, when keep-alive got no answer: nothing does that at once."""

    def settimeout(self, seconds: float | None) -> None:
        pass

    def recv(self, size: int) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")


def test_a_connection_that_the_kernel_gave_up_is_lost_and_not_silent() -> None:
    pytest.importorskip("greenlet")
    wait = FiberPeerWait(GivenUp(), hub=None)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        wait.receive(100)
