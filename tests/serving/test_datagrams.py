"""Datagrams: what was cut is told, and a handler may keep silent (row 15)."""

import contextlib
import socket
import socketserver as standard
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import server_class, serving, wait_until

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def server_of(engine: str, module: ModuleType = socketserver) -> Any:
    return getattr(module, server_class(engine).__name__.replace("TCP", "UDP"))


class Measure(socketserver.DatagramRequestHandler):
    """Answers with the length of the datagram."""

    def handle(self) -> None:
        self.wfile.write(b"%d" % len(self.packet))


@contextlib.contextmanager
def talking_to(server: Any) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.connect(server.server_address)
        yield peer


def test_datagrams_are_answered(engine: str, module: ModuleType) -> None:
    with serving(server_of(engine, module)(HERE, Measure)) as server, talking_to(server) as peer:
        for length in (0, 1, 8192):
            peer.send(b"x" * length)
            assert peer.recv(10) == b"%d" % length


def test_a_datagram_that_was_cut_is_counted_and_told(engine: str, seen: list[events.Event]) -> None:
    with serving(server_of(engine)(HERE, Measure)) as server, talking_to(server) as peer:
        for length in (8192, 8193, 60_000):
            peer.send(b"x" * length)
            assert peer.recv(10) == b"8192"
        name = peer.getsockname()
        assert server.truncated_datagrams == 2
    cut = [event for event in seen if isinstance(event, events.DatagramTruncated)]
    where = f"127.0.0.1:{server.server_address[1]}"
    assert cut == [events.DatagramTruncated(where, name, 8192)] * 2
    assert str(cut[0]).startswith(f"{where} cut a datagram of ")


def test_the_standard_library_cuts_in_silence() -> None:
    with serving(standard.UDPServer(HERE, Measure)) as server, talking_to(server) as peer:  # type: ignore[arg-type]  # ours serves
        peer.send(b"x" * 8193)
        assert peer.recv(10) == b"8192"
        assert not hasattr(server, "truncated_datagrams")


@pytest.mark.parametrize("where", ["class", "instance"])
def test_a_longest_packet_of_the_program_s_own_is_honoured(where: str) -> None:
    class Server(socketserver.UDPServer):
        pass

    if where == "class":
        Server.max_packet_size = 100
    with serving(Server(HERE, Measure)) as server, talking_to(server) as peer:
        server.max_packet_size = 100
        peer.send(b"x" * 101)
        assert (peer.recv(10), server.truncated_datagrams) == (b"100", 1)


def test_a_silent_handler_answers_with_an_empty_datagram_by_default(module: ModuleType) -> None:
    class Silent(module.DatagramRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        """Says nothing."""

    with serving(module.UDPServer(HERE, Silent)) as server, talking_to(server) as peer:
        peer.send(b"hello")
        assert peer.recv(10) == b""


def test_a_handler_may_answer_itself_or_not_at_all() -> None:
    class Own(socketserver.DatagramRequestHandler):
        automatic_reply = False

        def handle(self) -> None:
            self.wfile.write(b"not sent")
            if self.packet == b"answer":
                self.socket.sendto(b"own answer", self.client_address)

    with serving(socketserver.UDPServer(HERE, Own)) as server, talking_to(server) as peer:
        peer.send(b"be silent")
        peer.send(b"answer")
        assert peer.recv(100) == b"own answer"


def test_the_listener_survives_its_handlers(engine: str, module: ModuleType) -> None:
    class Server(server_of(engine, module)):  # type: ignore[misc]  # see above
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    class Fussy(Measure):
        def handle(self) -> None:
            if self.packet == b"bad":
                raise ZeroDivisionError
            super().handle()

    with serving(Server(HERE, Fussy)) as server, talking_to(server) as peer:
        peer.send(b"bad")
        peer.send(b"good")
        answers = {peer.recv(10)}
        if answers == {b""}:  # the bad one's, which `finish` sends whatever happened
            answers = {peer.recv(10)}
        assert answers == {b"4"}


def test_a_client_that_has_gone_does_not_stop_the_listener(module: ModuleType) -> None:
    with serving(module.UDPServer(HERE, Measure)) as server:
        for _ in range(3):
            with talking_to(server) as gone:
                gone.send(b"and away")
        with talking_to(server) as peer:
            peer.send(b"hello")
            assert peer.recv(10) == b"5"


def test_bounded_threads_serve_every_datagram(seen: list[events.Event]) -> None:
    class Server(socketserver.ThreadingUDPServer):
        max_threads = 1

    with serving(Server(HERE, Measure)) as server, talking_to(server) as peer:
        for _ in range(50):
            peer.send(b"hello")
        assert [peer.recv(10) for _ in range(50)] == [b"5"] * 50


@pytest.mark.parametrize("name", ["UnixDatagramServer", "ThreadingUnixDatagramServer"])
def test_unix_datagrams_are_answered(module: ModuleType, name: str, tmp_path: Any) -> None:
    path, own = str(tmp_path / "server.sock"), str(tmp_path / "peer.sock")
    with (
        serving(getattr(module, name)(path, Measure)),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        peer.bind(own)
        peer.sendto(b"hello", path)
        assert peer.recv(10) == b"5"


def test_stopping_a_datagram_server_is_immediate(engine: str) -> None:
    with (
        serving(server_of(engine)(HERE, Measure), poll_interval=86_400) as server,
        talking_to(server) as peer,
    ):
        peer.send(b"hello")
        wait_until(lambda: peer.recv(10) == b"5")
