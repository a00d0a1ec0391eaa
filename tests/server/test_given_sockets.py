"""`manyhands.Server` on sockets that are given to it."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import DatagramRequestHandler, Server, StreamRequestHandler, socketserver
from manyhands.model.usage_errors import Mistake
from tests.support import (
    ENGINES,
    Authority,
    Echo,
    ask,
    ask_secretly,
    bound,
    call,
    everything,
    left_open,
    open_descriptors,
    serving,
    wait_until,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class EchoOnce(StreamRequestHandler):
    """Says one line back."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


class Busy(StreamRequestHandler):
    """Is at work until it is told something."""

    def handle(self) -> None:
        self.wfile.write(b"begun")
        self.rfile.readline()
        self.wfile.write(b" finished")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def fd(given: socket.socket) -> str:
    return f"fd://{given.fileno()}"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_listening_socket_is_served_and_stays_its_giver_s(
    listening: socket.socket, engine: str
) -> None:
    before = open_descriptors()
    server = Server(Echo, fd(listening), engine=engine)
    for _ in range(2):  # and a server can be started again
        with server:
            assert [str(address) for address in server.addresses] == [
                f"tcp://127.0.0.1:{listening.getsockname()[1]}"
            ]
            assert ask(listening.getsockname()) == b"hello\n"
    assert not left_open(before)
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert ask_directly(listening) == b"hello\n"


def ask_directly(listening: socket.socket) -> bytes:
    """Serve one client without any server, as the process that gave the socket may do next."""
    with call(listening.getsockname()) as peer:
        listening.setblocking(True)
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"hello\n")
        return everything(peer)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_datagram_socket_is_served(engine: str) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        given.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        with Server(Shout, fd(given), engine=engine) as server:
            assert server.addresses[0].scheme == "udp"
            peer.sendto(b"hello", given.getsockname())
            assert peer.recv(10) == b"HELLO"


@pytest.mark.parametrize("engine", ENGINES)
def test_tls_is_spoken_where_it_is_asked_for(
    listening: socket.socket, engine: str, authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    address = f"tls+{fd(listening)}"
    with Server(EchoOnce, address, engine=engine, certfile=certfile, keyfile=keyfile) as server:
        assert server.addresses[0].scheme == "tls"
        assert ask_secretly(listening.getsockname(), authority) == b"hello\n"


def test_a_path_is_served_and_neither_removed_nor_shut(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as streams,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        streams.bind(str(tmp_path / "stream.sock"))
        streams.listen()
        datagrams.bind(str(tmp_path / "datagram.sock"))
        with Server(Echo, fd(streams)) as server:
            assert [str(address) for address in server.addresses] == [
                f"unix://{tmp_path}/stream.sock"
            ]
            assert ask(str(tmp_path / "stream.sock")) == b"hello\n"
        with Server(Shout, fd(datagrams)):
            pass
        assert (tmp_path / "stream.sock").is_socket()
        assert (tmp_path / "datagram.sock").is_socket()
        peer.sendto(b"for the next one", str(tmp_path / "datagram.sock"))
        assert datagrams.recv(100) == b"for the next one"


def test_the_giver_s_backlog_is_left_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen(0)
        server = Server(Echo, fd(given))
        server.listen()
        peers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for peer in peers:
            peer.setblocking(False)
        # One more than the backlog waits: `unix_recvq_full` in net/unix/af_unix.c.
        assert [peer.connect_ex(path) != 0 for peer in peers] == [False, True, True]
        for peer in peers:
            peer.close()
        server.close()


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "sequential"])
def test_a_client_during_the_drain_waits_for_the_next_server(
    listening: socket.socket, engine: str
) -> None:
    server = Server(Busy, fd(listening), engine=engine)
    server.start()
    with call(listening.getsockname()) as busy:
        assert busy.recv(5) == b"begun"
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_until(lambda: server.addresses == [])
        with call(listening.getsockname()) as late:
            busy.sendall(b"\n")
            assert everything(busy) == b" finished"
            closing.join()
            with Server(Echo, fd(listening), engine=engine):
                late.sendall(b"hello\n")
                assert late.recv(10) == b"hello\n"
                late.shutdown(socket.SHUT_RDWR)  # for a handler's process has a copy


def test_two_servers_share_a_socket_and_neither_waits_for_a_client_that_the_other_took(
    listening: socket.socket,
) -> None:
    with (
        Server(Echo, fd(listening)) as one,
        Server(Echo, fd(listening)) as other,
    ):
        for _ in range(20):
            assert ask(listening.getsockname()) == b"hello\n"
        one.stop()
        other.stop()


def test_descriptors_stand_beside_other_addresses(listening: socket.socket) -> None:
    with Server(Echo, "tcp://127.0.0.1:0", fd(listening)) as server:
        assert ask(bound(server, 0)) == b"hello\n"
        assert ask(bound(server, 1)) == b"hello\n"
        assert bound(server, 1) == listening.getsockname()


@pytest.mark.parametrize(
    ("handler", "kind", "wrong"),
    [
        (Shout, socket.SOCK_STREAM, "DatagramRequestHandler"),
        (Echo, socket.SOCK_DGRAM, "StreamRequestHandler"),
    ],
)
def test_what_is_given_must_fit_the_handler(
    handler: Any, kind: socket.SocketKind, wrong: str
) -> None:
    with socket.socket(socket.AF_INET, kind) as given:
        given.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            given.listen()
        server = Server(handler, fd(given))
        with pytest.raises(Mistake) as caught:
            server.listen()
        assert str(caught.value) == (
            f"{handler.__name__} is a {wrong}, which cannot serve {fd(given)}"
        )
        assert server.addresses == []


def test_a_socket_that_is_gone_holds_up_no_other_address() -> None:
    before = open_descriptors()
    server = Server(Echo, "tcp://127.0.0.1:0", "fd://2147483647")
    with pytest.raises(Mistake, match="descriptor"):
        server.listen()
    assert not left_open(before)


def test_tls_on_a_given_socket_needs_a_certificate(listening: socket.socket) -> None:
    with pytest.raises(Mistake, match=r"tls\+fd://\d+ needs a certificate"):
        Server(Echo, f"tls+{fd(listening)}")


def test_a_drop_in_server_takes_a_socket_that_is_given(listening: socket.socket) -> None:
    # As docs/systemd.md has it.
    server: Any = socketserver.ThreadingTCPServer(("", 0), Echo, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=os.dup(listening.fileno()))
    server.server_address = server.socket.getsockname()
    with serving(server):
        assert ask(listening.getsockname()) == b"hello\n"
