"""A server of one thread: on a Unix path too, with clients that stay and are told of by themselves."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from manyhands.listening.bind import listen
from manyhands.model.addresses import Address
from manyhands.poll_server.clients import Client
from manyhands.poll_server.server import PollServer
from manyhands.testing import call, everything, socket_address
from tests.support import forked
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Shouting(Client):
    """Gets back what it has sent, in capitals."""

    def receive(self, data: bytes) -> None:
        self.has_ended = not data
        self.send(data.upper())


class Shouter(PollServer):
    """Shouts back, and ticks when it is asked to."""

    ticks = 0

    def new_client(self, connection: Any) -> Client:
        return Shouting(connection)

    def seconds_left(self) -> float | None:
        return 0.01 if self.ticks else None

    def do_chores(self) -> None:
        if not self.ticks:
            return
        self.ticks -= 1
        for client in self.clients:
            client.send(b"tick\n")
            self.clients.settle(client)
            # One that has gone is closed by now.
            self.clients.settle(client)


class Unheard(Client):
    """Says nothing, and is not heard."""

    @property
    def is_heard(self) -> bool:
        return False

    def receive(self, data: bytes) -> None:
        raise AssertionError(data)


class Counter(PollServer):
    """Counts its turns; its first client is not heard."""

    turns = 0

    def new_client(self, connection: Any) -> Client:
        return Shouting(connection) if len(self.clients) else Unheard(connection)

    def do_chores(self) -> None:
        self.turns += 1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "shouter.sock"


def told(peer: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := peer.recv(count - len(received))):
        received += data
    return received


def test_a_client_that_stays_is_answered_each_time(place: Path) -> None:
    with Shouter(Address("unix", path=str(place))) as server, call(str(place)) as peer:
        assert [str(each) for each in server.addresses] == [f"unix://{place}"]
        for _ in range(3):
            peer.sendall(b"hello")
            assert told(peer, 5) == b"HELLO"


def test_a_client_is_sent_what_is_due_without_having_asked(place: Path) -> None:
    with Shouter(Address("unix", path=str(place))) as server, call(str(place)) as peer:
        peer.sendall(b"hello")
        assert told(peer, 5) == b"HELLO"
        server.ticks = 2
        peer.sendall(b"x")
        # The answer may come before, between or after them.
        assert told(peer, 11).replace(b"X", b"") == b"tick\ntick\n"


def test_one_that_has_gone_before_it_is_told_is_no_error(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Gone(Shouting):
        def send(self, data: bytes) -> None:
            self.connection.shutdown(socket.SHUT_WR)
            super().send(data)

    class Ticking(Shouter):
        ticks = 1_000_000

        def new_client(self, connection: Any) -> Client:
            return Gone(connection)

    with Ticking(Address("unix", path=str(place))), call(str(place)) as peer:
        assert peer.recv(1) == b""
    assert capfd.readouterr().err == ""


def test_more_than_a_connection_holds_comes_whole_to_a_client_that_reads_late(place: Path) -> None:
    with Shouter(Address("unix", path=str(place))), call(str(place)) as peer:
        peer.setblocking(False)
        sent = received = 0
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            try:
                sent += peer.send(b"x" * 65536)
            except BlockingIOError:
                break
        peer.setblocking(True)
        while received < sent:
            received += len(peer.recv(65536))
        assert received == sent > 65536


def test_the_file_has_its_mode_and_goes_with_the_server_and_not_with_a_copy(place: Path) -> None:
    server = Shouter(Address("unix", path=str(place), mode=0o600))
    with server:
        assert place.stat().st_mode & 0o777 == 0o600
        with forked(lambda: server.close() or True) as wait:
            assert wait() == 0
        with call(str(place)) as peer:
            peer.sendall(b"still")
            assert told(peer, 5) == b"STILL"
    assert not place.exists()


def test_a_path_that_is_taken_is_left_to_its_server(place: Path) -> None:
    with Shouter(Address("unix", path=str(place))), pytest.raises(OSError, match="a live server"):
        Shouter(Address("unix", path=str(place)))
    assert not place.exists()


def test_an_abstract_name_is_told_as_people_write_it() -> None:
    name = f"@manyhands-shouter-{time.monotonic_ns()}"
    with Shouter(Address("unix", path=name)) as server, call(f"\0{name[1:]}") as peer:
        assert str(server.addresses[0]) == f"unix://{name}"
        peer.sendall(b"hello")
        assert told(peer, 5) == b"HELLO"


class SlowShouter(Shouter):
    """Shouts back once it is let."""

    def __init__(self, address: Address) -> None:
        self.is_answering, self.goes_on = threading.Event(), threading.Event()
        super().__init__(address)

    def new_client(self, connection: Any) -> Client:
        server = self

        class Slow(Shouting):
            def receive(self, data: bytes) -> None:
                server.is_answering.set()
                server.goes_on.wait(PATIENCE)
                super().receive(data)

        return Slow(connection)


def test_a_place_is_free_at_once_while_an_answer_is_still_being_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.poll_server.server.CLOSE_TIMEOUT", 0.0)
    for address in (Address("unix", path=str(place)), Address("unix", path=f"@{place}")):
        server = SlowShouter(address)
        with call(socket_address(address)) as peer:
            peer.sendall(b"hello")
            assert server.is_answering.wait(PATIENCE)
            server.close()
            with Shouter(address), call(socket_address(address)) as other:
                other.sendall(b"hello")
                assert told(other, 5) == b"HELLO"
            server.goes_on.set()
            everything(peer)


def test_a_server_that_was_closed_leaves_the_next_one_its_file_though_it_has_the_same_inode(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.poll_server.server.CLOSE_TIMEOUT", 0.0)
    server = SlowShouter(Address("unix", path=str(place)))
    kept = place.with_name("kept")
    # Some file systems give an inode that is free to the next file, as ext4; with a link all do.
    os.link(place, kept)
    with call(str(place)) as peer:
        peer.sendall(b"hello")
        assert server.is_answering.wait(PATIENCE)
        server.close()
        assert not place.exists()
        os.link(kept, place)
        server.goes_on.set()
        # Its thread ends the clients last of all.
        everything(peer)
    assert place.exists()


def test_to_close_takes_no_pause(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.poll_server.server.NO_DESCRIPTOR_PAUSE", 2 * PATIENCE)
    monkeypatch.setattr("manyhands.poll_server.server.CLOSE_TIMEOUT", 0.0)
    for address in (Address("unix", path=str(place)), Address("tcp", host="localhost", port=0)):
        # The thread may find the listener's number in use by another file before it is told of the end.
        for _ in range(20):
            server = Shouter(address)
            with call(socket_address(server.addresses[0])) as peer:
                peer.sendall(b"hello")
                assert told(peer, 5) == b"HELLO"
                server.close()
                assert everything(peer) == b""


def test_to_close_ends_the_pause_after_an_accept_that_failed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.poll_server.server.NO_DESCRIPTOR_PAUSE", 2 * PATIENCE)
    monkeypatch.setattr("manyhands.poll_server.server.CLOSE_TIMEOUT", 0.0)
    has_failed = threading.Event()

    class OfOne(Shouter):
        def new_client(self, connection: Any) -> Client:
            if len(self.clients):
                connection.close()
                has_failed.set()
                raise ConnectionAbortedError
            return super().new_client(connection)

    server = OfOne(Address("unix", path=str(place)))
    with call(str(place)) as first, call(str(place)):
        assert has_failed.wait(PATIENCE)
        server.close()
        assert everything(first) == b""


def test_a_fork_in_the_middle_of_the_start_leaves_no_listener_in_the_copy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    children = []

    def listen_and_fork(listener: socket.socket, *arguments: Any) -> None:
        listen(listener, *arguments)
        child = os.fork()
        if child == 0:
            ours.close()
            theirs.sendall(b"!")  # what a copy does first is done
            theirs.recv(1)
            os._exit(0)
        children.append(child)
        assert ours.recv(1) == b"!"

    monkeypatch.setattr("manyhands.poll_server.server.listen", listen_and_fork)
    with ours, theirs:
        Shouter(Address("unix", path=f"@{place}")).close()
        monkeypatch.undo()
        # A copy of the listener would hold the name.
        Shouter(Address("unix", path=f"@{place}")).close()
        ours.sendall(b"!")
    for child in children:
        os.waitpid(child, 0)


def test_a_client_that_has_gone_and_is_not_heard_keeps_the_server_from_no_rest(place: Path) -> None:
    with Counter(Address("unix", path=str(place))) as server:
        call(str(place)).close()
        with call(str(place)) as peer:
            peer.sendall(b"a")
            assert told(peer, 1) == b"A"
            before = server.turns
            time.sleep(0.1)
            peer.sendall(b"b")
            assert told(peer, 1) == b"B"
            assert server.turns - before < 10
