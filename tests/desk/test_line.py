"""One end of a call's connection, with real sockets."""

import socket
import threading
from collections.abc import Iterator

import pytest

from manyhands.desk.endings import Ending
from manyhands.desk.line import Line
from manyhands.rules.messages import LineTooLong, MessageDecoder
from tests.support import open_descriptors, wait_until

Ends = tuple[Line, socket.socket]


@pytest.fixture(params=[socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """A line, and the peer's socket."""
    ours, peer = connected(request.param)
    peer.settimeout(20)
    line = Line(ours, bound=100_000)
    with ours, peer:
        yield line, peer
        line.finish(seconds=0)


def connected(family: int) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        return listener.accept()[0], peer


def read_all(peer: socket.socket) -> bytes:
    """Read until the end of the call."""
    return b"".join(iter(lambda: peer.recv(65536), b""))


def heard(line: Line, limit: int = 8192) -> list[str]:
    return [m.text for messages in line.hear(MessageDecoder(limit)) for m in messages]


def finish_and_close(line: Line) -> None:
    """End a call as a server does."""
    line.finish()
    line._connection.close()


def fill(line: Line) -> int:
    """Say lines until some have to wait; return how many were said."""
    count = 0
    while line.wait_until_sent(0):
        assert line.say(f"{count:999}")
        count += 1
    return count


def test_what_is_said_arrives_as_lines(ends: Ends) -> None:
    line, peer = ends
    assert line.say("hello 你好")
    assert line.say("two\nlines")
    line.hang_up(Ending.KICKED)
    peer.shutdown(socket.SHUT_WR)
    line.finish()
    assert read_all(peer) == "hello 你好\ntwo\nlines\n".encode()


def test_saying_never_waits_for_a_peer_that_does_not_read_and_nothing_is_lost(ends: Ends) -> None:
    line, peer = ends
    count = fill(line)
    assert line.say("and one more")
    peer.shutdown(socket.SHUT_WR)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)))
    reader.start()
    assert line.wait_until_sent(20)
    line.finish()
    reader.join()
    expected = [f"{n:999}".encode() for n in range(count)] + [b"and one more"]
    assert received[0].splitlines() == expected


def test_a_second_thread_exists_only_while_something_waits(ends: Ends) -> None:
    line, peer = ends
    before = threading.active_count()
    line.say("hello")
    assert threading.active_count() == before
    fill(line)
    assert threading.active_count() == before + 1
    while not line.wait_until_sent(0):
        peer.recv(65536)
    wait_until(lambda: threading.active_count() == before)


def test_lines_stay_in_order_when_the_writer_and_the_speaker_race(ends: Ends) -> None:
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
    line.finish(20)
    reader.join()
    assert received[0].split() == [str(number).encode() for number in range(numbers)]


def test_a_peer_that_does_not_read_is_cut_off_at_the_bound(ends: Ends) -> None:
    line, _ = ends
    fill(line)
    while line.say("x" * 999):
        pass
    assert line.ending is Ending.DID_NOT_READ
    assert not line.say("hello?")
    assert heard(line) == []
    line.finish()


def test_what_waits_goes_out_after_hanging_up(ends: Ends) -> None:
    line, peer = ends
    count = fill(line)
    line.hang_up(Ending.KICKED)
    assert not line.say("too late")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)) or peer.close())
    reader.start()
    line.finish(20)
    reader.join()
    assert len(received[0].splitlines()) == count


def test_what_was_said_last_arrives_although_the_peer_was_still_talking(ends: Ends) -> None:
    line, peer = ends
    peer.sendall(b"x" * 30_000)
    line.say("goodbye")
    line.hang_up(Ending.KICKED)
    finishing = threading.Thread(target=finish_and_close, args=[line])
    finishing.start()
    assert read_all(peer) == b"goodbye\n"
    peer.close()
    finishing.join()


def test_what_was_said_last_arrives_although_the_peer_goes_on_talking(ends: Ends) -> None:
    line, peer = ends
    line.say("goodbye")
    line.hang_up(Ending.KICKED)
    assert heard(line) == []
    finishing = threading.Thread(target=finish_and_close, args=[line])
    finishing.start()
    peer.sendall(b"x" * 30_000)
    assert peer.recv(100) == b"goodbye\n"
    peer.sendall(b"x" * 30_000)
    assert peer.recv(100) == b""
    peer.close()
    finishing.join()


def test_hundreds_of_lines_give_all_their_descriptors_back() -> None:
    before = open_descriptors()
    for _ in range(300):
        ours, peer = socket.socketpair()
        with ours, peer:
            line = Line(ours)
            line.hang_up(Ending.KICKED)
            line.finish(seconds=0)
            line.finish(seconds=0)
    assert open_descriptors() == before


def test_a_peer_that_never_hangs_up_does_not_hold_the_end_for_ever(ends: Ends) -> None:
    line, _ = ends
    line.hang_up(Ending.KICKED)
    line.finish(seconds=0.05)
    assert not line.say("hello?")


def test_hanging_up_wakes_whoever_hears(ends: Ends) -> None:
    line, _ = ends
    texts: list[list[str]] = []
    hearing = threading.Thread(target=lambda: texts.append(heard(line)))
    hearing.start()
    line.hang_up(Ending.KICKED)
    hearing.join(20)
    assert texts == [[]]
    assert line.ending is Ending.KICKED


def test_the_first_reason_for_hanging_up_counts(ends: Ends) -> None:
    line, _ = ends
    line.hang_up(Ending.KICKED)
    line.hang_up(Ending.DESK_CLOSED)
    assert line.ending is Ending.KICKED


def test_an_unfinished_message_is_heard_after_a_while_and_at_the_end(ends: Ends) -> None:
    line, peer = ends
    hearing = line.hear(MessageDecoder(unfinished=0.05))
    peer.sendall(b"who's there")
    assert [m.text for m in next(hearing)] == ["who's there"]
    peer.sendall(b"vanishing in mid-l")
    peer.close()
    assert [m.text for messages in hearing for m in messages] == ["vanishing in mid-l"]


def test_what_was_said_before_the_connection_was_lost_is_heard() -> None:
    ours, peer = connected(socket.AF_INET)
    with ours:
        line = Line(ours)
        line.say("something unread makes the close a reset")
        peer.sendall(b"one\nunfinished")
        hearing = line.hear(MessageDecoder())
        assert [m.text for m in next(hearing)] == ["one"]
        peer.close()
        rest: list[str] = []
        with pytest.raises(ConnectionResetError):
            rest.extend(m.text for messages in hearing for m in messages)
        assert rest == ["unfinished"]
        line.finish()


def test_a_line_that_is_too_long_raises_after_what_was_said_before_it(ends: Ends) -> None:
    line, peer = ends
    peer.sendall(b"one\n" + b"x" * 100)
    hearing = line.hear(MessageDecoder(limit=50))
    assert [m.text for m in next(hearing)] == ["one"]
    with pytest.raises(LineTooLong):
        next(hearing)


def test_a_peer_that_has_only_stopped_talking_still_hears(ends: Ends) -> None:
    line, peer = ends
    peer.shutdown(socket.SHUT_WR)
    assert heard(line) == []
    assert line.say("are you there?")
    assert not line.wait_for_hang_up(0.05)
    assert peer.recv(100) == b"are you there?\n"


def test_a_peer_that_has_gone_is_told_from_one_that_has_only_stopped_talking(ends: Ends) -> None:
    line, peer = ends
    peer.close()
    assert heard(line) == []
    line.say("are you there?")
    assert line.wait_for_hang_up(20)


def test_hanging_up_ends_the_wait_for_a_peer_that_has_stopped_talking(ends: Ends) -> None:
    line, peer = ends
    peer.shutdown(socket.SHUT_WR)
    assert heard(line) == []
    waiting = threading.Thread(target=line.wait_for_hang_up)
    waiting.start()
    line.hang_up(Ending.KICKED)
    waiting.join(20)
    assert not waiting.is_alive()
