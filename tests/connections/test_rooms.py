"""Rooms, and what is sent to connections from outside of their handlers, on every engine."""

import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Mistake, Reason, Server, StreamRequestHandler, events, upgrade_to_tls
from manyhands.connections.tls_handshake import is_tls
from manyhands.runtime.sockets import is_ready
from manyhands.serving.core import core_of
from manyhands.testing import (
    call,
    deaf,
    everything,
    half_close,
    read_line,
    running,
    serving,
    socket_address,
    wait_until,
)
from tests.support.certificates import Authority
from tests.support.running import server_class
from tests.support.waiting import PATIENCE

HERE = "tcp://127.0.0.1:0"

SHARING = ("threads", "fibers")
"""The engines whose handlers share a process."""


class Room(StreamRequestHandler):
    """Joins the room that the first line names, and tells it every other line."""

    def handle(self) -> None:
        room, _, name = self.rfile.readline().decode().strip().partition(" ")
        self.join(room, name or None)
        self.wfile.write(b"welcome\n")
        for line in self.rfile:
            if line == b"leave\n":
                self.leave(room)
                self.wfile.write(b"left\n")
            else:
                self.server.tell(room, line, but=self)


class Silent(StreamRequestHandler):
    """Reads, and does nothing by itself."""

    def handle(self) -> None:
        self.wfile.write(b"welcome\n")
        self.rfile.read()


@pytest.fixture(params=[*SHARING, "processes"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


sharing_only = pytest.mark.parametrize("engine", SHARING)
"""For tests of what one process alone can see: those of the engine `processes` are in ``tests/dealing``."""


@pytest.fixture(params=["tcp", "unix", "tls"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(
    engine: str, kind: str, authority: Authority, tmp_path: Path
) -> Iterator[Callable[..., tuple[Server, Callable[[], socket.socket]]]]:
    """What makes a server of the kind, and what calls it."""
    with ExitStack() as resources:

        def made(handler: Any, **options: Any) -> tuple[Server, Callable[[], socket.socket]]:
            if kind == "tls":
                certfile, keyfile = authority.write(tmp_path, "localhost")
                options |= {"certfile": certfile, "keyfile": keyfile}
            where = {"tcp": HERE, "tls": "tls://127.0.0.1:0", "unix": f"unix://{tmp_path}/socket"}
            server = Server(handler, where[kind], engine=engine, drain_timeout=0.0, **options)
            resources.enter_context(server)
            address = socket_address(server.addresses[0])

            def called() -> socket.socket:
                plain = call(address)
                plain.settimeout(PATIENCE)
                secret = (
                    authority.client_context().wrap_socket(plain, server_hostname="localhost")
                    if kind == "tls"
                    else plain
                )
                return resources.enter_context(closing(secret))

            return server, called

        yield made


def hang_up(peer: socket.socket) -> None:
    """End a connection of which the processes of handlers may have copies."""
    peer.shutdown(socket.SHUT_RDWR)


def joined(peer: socket.socket, said: bytes) -> socket.socket:
    peer.sendall(said + b"\n")
    assert read_line(peer) == b"welcome\n"
    return peer


def test_a_room_hears_what_one_of_it_says(make: Any) -> None:
    server, called = make(Room)
    anna, bob, elsewhere = (joined(called(), said) for said in (b"red anna", b"red", b"blue"))
    anna.sendall(b"one\ntwo\n")
    assert [read_line(bob), read_line(bob)] == [b"one\n", b"two\n"]
    bob.sendall(b"three\n")
    assert read_line(anna) == b"three\n"
    assert next(member.name for member in server.members("red")) == "anna"
    rooms = [info.rooms for info in server.info().connections.items]
    assert rooms == [("red",), ("red",), ("blue",)]
    assert server.info().rooms == 2
    assert server.members("nobody here") == []
    elsewhere.sendall(b"heard by none\n")
    hang_up(elsewhere)
    wait_until(lambda: server.members("blue") == [])


def test_a_member_is_told_nothing_from_before_and_nothing_after(make: Any) -> None:
    server, called = make(Room)
    bob = joined(called(), b"red")
    assert server.tell("red", b"too early\n") == 1
    assert read_line(bob) == b"too early\n"
    anna = joined(called(), b"red")
    bob.sendall(b"in time\n")
    assert read_line(anna) == b"in time\n"
    anna.sendall(b"leave\n")
    assert read_line(anna) == b"left\n"
    assert server.tell("red", b"too late\n") == 1
    assert read_line(bob) == b"too late\n"
    assert len(server.members("red")) == 1
    server.connections.send_all(b"to all\n")
    assert read_line(anna) == b"to all\n"


def test_handlers_that_have_sent_nothing_are_reached_while_they_wait(make: Any, kind: str) -> None:
    server, called = make(Silent)
    peer = called()
    assert read_line(peer) == b"welcome\n"
    assert server.connections.send_all(b"hear ye\n") == 1
    if kind == "tls" and server.engine.name != "fibers":
        # Its thread is inside of OpenSSL until then. A process hears of the piece meanwhile.
        wait_until(lambda: peer.sendall(b"anything") or is_ready(peer.fileno(), select.POLLIN))
    assert read_line(peer) == b"hear ye\n"
    # From the first piece on, those that come are ready for it from their beginning.
    other = called()
    assert read_line(other) == b"welcome\n"
    assert server.connections.send_all(b"again\n") == 2
    assert read_line(other) == b"again\n"


def test_pieces_of_many_senders_and_of_the_handler_are_never_torn(make: Any) -> None:
    class Writer(StreamRequestHandler):
        def handle(self) -> None:
            self.join("red")
            self.wfile.write(b"welcome\n")
            self.rfile.readline()
            for _ in range(300):
                self.wfile.write(b"w" * 1999 + b"\n")
                self.request.sendall(b"r" * 1999 + b"\n")
            self.rfile.readline()

    server, called = make(Writer, outbox=64 * 1024 * 1024)
    peer = called()
    assert read_line(peer) == b"welcome\n"

    def tell(letter: bytes) -> None:
        for _ in range(300):
            assert server.tell("red", letter * 1999 + b"\n") == 1

    tellers = [threading.Thread(target=tell, args=(letter,)) for letter in (b"a", b"b")]
    for teller in tellers:
        teller.start()
    peer.sendall(b"write\n")
    got = b""
    while len(got) < 1200 * 2000:
        got += peer.recv(5000)
    for teller in tellers:
        teller.join(PATIENCE)
    lines = got.decode().splitlines()
    assert not [
        line for line in lines if not re.fullmatch(r"a{1999}|b{1999}|w{1999}|r{1999}", line)
    ]
    assert {line[0]: lines.count(line) for line in set(lines)} == dict.fromkeys("abwr", 300)


@sharing_only
def test_a_write_that_is_under_way_when_the_first_piece_comes_is_not_torn(make: Any) -> None:
    much = 8 * 1024 * 1024

    class Writer(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"w" * much + b"\n")
            self.wfile.write(b"end\n")
            self.rfile.readline()

    server, called = make(Writer)
    peer = called()
    peer.sendall(b"write\n")
    assert peer.recv(1) == b"w"
    (connection,) = server.connections.values()
    assert connection.send(b"piece\n")
    got = b"w"
    while not (b"end\n" in got[-20:] and b"piece\n" in got[-20:]):
        got += peer.recv(1 << 20)
    assert got[: much + 1] == b"w" * much + b"\n"
    assert sorted(got[much + 1 :].splitlines()) == [b"end", b"piece"]


def test_one_member_that_does_not_read_changes_nothing_for_the_others(engine: str) -> None:
    with serving(Room, engine=engine, outbox=100_000) as under_test:
        server = under_test.server
        with closing(deaf(under_test.address, b"red\n")):
            wait_until(lambda: len(server.members("red")) == 1)
            bob = joined(under_test.connect(), b"red bob").makefile("rb")
            line = b"x" * 9_999 + b"\n"
            told = 0
            while server.tell("red", line) == 2:
                assert bob.readline() == line
                told += 1
            assert bob.readline() == line
            assert told >= 10
            wait_until(lambda: len(server.connections) == 1)
            assert server.connections.closed == {Reason.DID_NOT_READ: 1}
            assert server.tell("red", line) == 1
            assert bob.readline() == line


@sharing_only
@pytest.mark.parametrize("when_behind", ["drop_oldest", "drop_new"])
def test_a_member_that_falls_behind_misses_pieces_which_are_counted(
    engine: str, when_behind: str
) -> None:
    heard: list[events.Event] = []
    unsubscribe = events.hub.subscribe(heard.append, events.ClientFellBehind)
    with serving(Silent, engine=engine, outbox=10_000, when_behind=when_behind) as under_test:
        connections = under_test.server.connections
        peer = deaf(under_test.address)
        with closing(peer):
            wait_until(lambda: connections and next(iter(connections.values())).is_open_to_pieces)
            (connection,) = connections.values()
            got = peer.makefile("rb")
            # Pieces may go out before what a handler says first.
            assert got.readline() == b"welcome\n"
            sent = 0
            while connection.missed < 5:
                connection.send(b"%08d\n" % sent * 100)
                sent += 1
            missed = connection.missed
            assert connections.missed == under_test.server.info().missed == missed
            [info] = under_test.server.info().connections.items
            assert (info.missed, info.waiting) == (missed, connection.waiting)
            assert 0 < info.waiting <= 10_000
            connection.send(b"")
            half_close(peer)
            numbers = [int(line) for line in got]
        kept = sorted(set(numbers))
        assert numbers == [number for number in kept for _ in range(100)]
        assert len(kept) == sent - missed
        assert (kept[-1] == sent - 1) is (when_behind == "drop_oldest")
        wait_until(lambda: not connections)
        assert connections.missed == missed
        assert Reason.DID_NOT_READ not in connections.closed
    unsubscribe()
    (event,) = heard
    assert isinstance(event, events.ClientFellBehind)
    assert not event.is_closed


@sharing_only
def test_what_waits_goes_out_before_the_end_of_the_connection(make: Any) -> None:
    pieces = [b"%05d" % number * 20_000 for number in range(100)]

    class Sender(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            for piece in pieces:
                assert self.send(piece)

    server, called = make(Sender, outbox=20_000_000)
    peer = called()
    peer.sendall(b"go\n")
    wait_until(lambda: any(connection.waiting for connection in server.connections.values()))
    assert everything(peer) == b"".join(pieces)
    wait_until(lambda: not server.connections)
    assert Reason.DID_NOT_READ not in server.connections.closed


@sharing_only
def test_what_waits_when_the_handler_closes_its_connection_by_itself_is_counted(
    engine: str,
) -> None:
    class Closing(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"welcome\n")
            self.rfile.readline()
            self.request.close()

    with serving(Closing, engine=engine, outbox=50_000_000) as under_test:
        connections = under_test.server.connections
        with under_test.connect() as peer:
            assert read_line(peer) == b"welcome\n"
            (connection,) = connections.values()
            sent = 0
            while connection.waiting < 10_000_000:
                assert connection.send(bytes(1_000_000))
                sent += 1
            peer.sendall(b"\n")
            wait_until(lambda: not connections)
        assert 0 < connection.missed <= sent
        assert connections.missed == connection.missed


@sharing_only
def test_pieces_go_on_after_an_upgrade_to_tls(engine: str, authority: Authority) -> None:
    class Upgrading(StreamRequestHandler):
        def handle(self) -> None:
            self.join("red")
            self.wfile.write(b"ready\n")
            self.rfile.readline()
            upgrade_to_tls(self, authority.server_context())
            self.wfile.write(b"secret\n")
            self.rfile.read()

    with serving(Upgrading, engine=engine) as under_test:
        plain, server = under_test.connect(), under_test.server
        assert read_line(plain) == b"ready\n"
        assert server.tell("red", b"in clear\n") == 1
        assert read_line(plain) == b"in clear\n"
        (connection,) = server.connections.values()
        plain.sendall(b"STARTTLS\n")
        wait_until(lambda: is_tls(connection.request))
        assert server.tell("red", b"during the handshake\n") == 1
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as secret:
            assert read_line(secret) == b"during the handshake\n"
            assert read_line(secret) == b"secret\n"
            assert server.tell("red", b"afterwards\n") == 1
            assert read_line(secret) == b"afterwards\n"


def test_a_drop_in_server_has_rooms(engine: str) -> None:
    with (
        running(server_class(engine)(("127.0.0.1", 0), Room)) as server,
        call(server.server_address) as anna,
        call(server.server_address) as bob,
    ):
        joined(anna, b"red")
        joined(bob, b"red bob")
        anna.sendall(b"hello\n")
        assert read_line(bob) == b"hello\n"
        assert [member.name for member in server.members("red")][1] == "bob"
        assert core_of(server).rooms.sizes() == {"red": 2}
        assert server.connections.send_all(b"all\n") == 2
        assert read_line(anna) == b"all\n"
        hang_up(anna)
        hang_up(bob)


def test_the_client_of_a_server_that_serves_one_after_the_other_is_told(tmp_path: Path) -> None:
    with serving(Room, engine="sequential") as under_test:
        peer = joined(under_test.connect(), b"red")
        assert under_test.server.tell("red", b"hello\n") == 1
        assert read_line(peer) == b"hello\n"


@sharing_only
def test_another_handler_may_be_sent_to_by_its_object(engine: str) -> None:
    members: list[StreamRequestHandler] = []

    class Listed(StreamRequestHandler):
        def handle(self) -> None:
            members.append(self)
            self.wfile.write(b"welcome\n")
            for line in self.rfile:
                for member in members:
                    if member is not self:
                        member.send(line)

    with serving(Listed, engine=engine) as under_test:
        anna, bob = under_test.connect(), under_test.connect()
        assert [read_line(anna), read_line(bob)] == [b"welcome\n"] * 2
        anna.sendall(b"hello\n")
        assert read_line(bob) == b"hello\n"


@contextmanager
def one_connection(engine: str) -> Iterator[Any]:
    with serving(Silent, engine=engine) as under_test:
        assert read_line(under_test.connect()) == b"welcome\n"
        (connection,) = under_test.server.connections.values()
        yield connection


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("text", r"bytes, not text: say 'text'\.encode\(\)"),
        (7, "bytes, not int"),
        (bytes(262_145), "262145 bytes fits into no outbox of 262144"),
    ],
)
def test_what_cannot_be_sent_is_a_mistake(data: Any, sentence: str) -> None:
    with one_connection("threads") as connection:
        with pytest.raises(Mistake, match=sentence):
            connection.send(data)
        with pytest.raises(Mistake, match=sentence):
            connection.core.rooms.tell("red", data, connection.outbox_terms())


@pytest.mark.parametrize("name", ["", "x" * 256, 7, None])
def test_a_room_has_a_name(name: Any) -> None:
    with (
        one_connection("threads") as connection,
        pytest.raises(Mistake, match="the name of a room"),
    ):
        connection.core.rooms.join(connection, name)


def test_a_connection_that_is_over_is_not_told_and_joins_nothing(engine: str) -> None:
    with serving(Room, engine=engine) as under_test:
        with under_test.connect() as peer:
            joined(peer, b"red")
            (connection,) = under_test.server.connections.values()
            hang_up(peer)
        wait_until(lambda: not under_test.server.connections)
        assert not connection.send(b"too late")
        assert not connection.core.rooms.join(connection, "red")
        assert core_of(connection.server).rooms.sizes() == {}


def test_a_program_s_own_methods_count_wherever_they_stand_among_the_bases() -> None:
    class Protocol:
        def send(self, data: bytes) -> str:
            return "the program's"

        def join(self) -> str:
            return "the program's, too"

    class Handler(StreamRequestHandler, Protocol):
        pass

    class OwnServer(server_class("threads"), Protocol):  # type: ignore[misc]
        tell = None

    handler = Handler.__new__(Handler)
    assert handler.send(b"") == "the program's"
    assert handler.join() == "the program's, too"  # type: ignore[call-arg, comparison-overlap]
    assert OwnServer.tell is None
    assert "room" in (Handler.leave.__doc__ or "")
