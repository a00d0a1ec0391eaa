"""How a connection gets its outbox and its gate, and that both go with it."""

import socket
import threading
import weakref
from typing import Any

import pytest

from manyhands import StreamRequestHandler
from manyhands.dropin.stream_files import SocketWriter
from manyhands.testing import call, read_line, running, serving, wait_until
from tests.support.running import server_class
from tests.support.waiting import PATIENCE

ENGINES = ("threads", "fibers")


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("does_join", [True, False])
def test_what_had_an_outbox_is_freed_at_its_end_without_the_collector(
    engine: str, does_join: bool
) -> None:
    handlers: list[Any] = []
    sockets: list[Any] = []

    class Leaver(StreamRequestHandler):
        def handle(self) -> None:
            handlers.append(weakref.ref(self))
            sockets.append(weakref.ref(self.request))
            if does_join:
                self.join("red")
            self.wfile.write(b"welcome\n")
            self.rfile.readline()

        def goodbye(self) -> None:
            pass

    with serving(Leaver, engine=engine) as under_test:
        server = under_test.server
        for _ in range(3):
            with under_test.connect() as peer:
                assert read_line(peer) == b"welcome\n"
                assert server.connections.send_all(b"piece\n") == 1
                assert read_line(peer) == b"piece\n"
            wait_until(lambda: not server.connections)
        # The last one may be the last thing that a thread, or the hub, has served.
        for each in (handlers, sockets):
            wait_until(lambda kept=each: sum(reference() is not None for reference in kept) <= 1)


def test_a_write_that_fails_shuts_the_gate_all_the_same() -> None:
    class Gate:
        is_shut = False

        def shut(self) -> bool:
            self.is_shut = True
            return True

    class Broken:
        def sendall(self, data: bytes) -> None:
            writer.gate = gate  # type: ignore[assignment]  # as when the first piece comes just now
            raise TimeoutError

    gate = Gate()
    writer = SocketWriter(Broken())
    with pytest.raises(TimeoutError):
        writer.write(b"data")
    assert gate.is_shut
    assert not writer.is_in_use


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_writes_under_way_the_last_one_shuts_the_gate(first: int) -> None:
    class Slow:
        def sendall(self, data: bytes) -> None:
            begun.append(data)
            assert may_end[int(data)].wait(PATIENCE)

    class Gate:
        def shut(self) -> None:
            in_use.append(writer.is_in_use)

    begun: list[bytes] = []
    in_use: list[bool] = []
    may_end = [threading.Event(), threading.Event()]
    writer = SocketWriter(Slow())
    threads = [threading.Thread(target=writer.write, args=(b"%d" % number,)) for number in (0, 1)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_until(lambda count=number + 1: len(begun) == count)
    writer.gate = Gate()  # type: ignore[assignment]
    for number in (first, 1 - first):
        may_end[number].set()
        threads[number].join(PATIENCE)
    assert in_use == [True, False]


@pytest.mark.parametrize("engine", ENGINES)
def test_handlers_that_are_equal_are_not_taken_for_one_another(engine: str) -> None:
    members: list[Any] = []

    class Equal(StreamRequestHandler):
        wbufsize = -1  # a `wfile` that does not tell which connection it is of

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment]

        def handle(self) -> None:
            members.append(self)
            self.rfile.readline()

    with serving(Equal, engine=engine) as under_test:
        peers = [under_test.connect() for _ in range(3)]
        wait_until(lambda: len(members) == 3)
        by_peer = {member.client_address: member for member in members}
        for _ in range(2):
            for number, peer in enumerate(peers):
                assert by_peer[peer.getsockname()].send(b"to %d\n" % number)
                assert read_line(peer) == b"to %d\n" % number
        peers[0].close()
        wait_until(lambda: len(under_test.server.connections) == 2)
        still_there = {peer.getsockname() for peer in peers[1:]}
        assert {each.client_address for each in members if each.send(b"more\n")} == still_there


class Wrapped:
    """A program's own object in the place of a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def __getattr__(self, name: str) -> Any:
        if name in {"family", "type", "proto"}:
            raise AttributeError(name)
        return getattr(self._connection, name)


def test_a_program_s_own_object_in_the_place_of_a_socket_is_passed_over_when_all_are_told() -> None:
    class Every(server_class("threads")):  # type: ignore[misc]
        wraps = True

        def get_request(self) -> Any:
            request, address = super().get_request()
            if type(self).wraps:
                type(self).wraps = False
                return Wrapped(request), address
            return request, address

    class Silent(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"welcome\n")
            self.rfile.readline()

    with (
        running(Every(("127.0.0.1", 0), Silent)) as server,
        call(server.server_address) as odd,
        call(server.server_address) as peer,
    ):
        assert [read_line(odd), read_line(peer)] == [b"welcome\n"] * 2
        assert server.connections.send_all(b"piece\n") == 1
        assert read_line(peer) == b"piece\n"
        (connection, _) = server.connections.values()
        with pytest.raises(RuntimeError, match="whose request is Wrapped"):
            connection.send(b"piece")
