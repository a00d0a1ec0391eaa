"""`upgrade_to_tls`: over to TLS on an open connection, on every engine, and what is refused."""

import contextlib
import gc
import signal
import socket
import socketserver as standard
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import BaseRequestHandler, Server, StreamRequestHandler, events, upgrade_to_tls
from manyhands import socketserver as ours
from manyhands.connections import socket_classes
from manyhands.model.connection_states import Reason
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.sockets import has_hung_up
from tests.support import (
    ENGINES,
    Authority,
    Program,
    bound,
    call,
    everything,
    is_closed_by_server,
    open_descriptors,
    server_class,
    serving,
    wait_for_descriptors,
    wait_until,
)

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


RESET = """
import socket, struct, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""


class Shout(StreamRequestHandler):
    """Answers each line in capitals, and goes over to TLS when it is asked to."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"STARTTLS\n":
                self.wfile.write(b"go\n")
                self.upgrade_to_tls()
                assert self.request is self.connection
                assert self.rfile.raw._sock is self.request
                assert isinstance(self.request, ssl.SSLSocket)
            else:
                self.wfile.write(line.upper())


class Once(StreamRequestHandler):
    """The same, for one line."""

    def handle(self) -> None:
        assert self.rfile.readline() == b"STARTTLS\n"
        self.wfile.write(b"go\n")
        self.upgrade_to_tls()
        assert self.request.gettimeout() == self.timeout
        self.wfile.write(self.rfile.readline().upper())


class Buffered(Once):
    """The same, with an output that is buffered, and timeouts."""

    wbufsize = 1000
    timeout = 15


class Unbuffered(Once):
    """The same, with an input that is not buffered."""

    rbufsize = 0


class OfTheStandardLibrary(standard.StreamRequestHandler):
    """The same in a program that has not changed its import."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"go\n")
        upgrade_to_tls(self)
        self.wfile.write(self.rfile.readline().upper())


class Bare(BaseRequestHandler):
    """The same, without files."""

    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(b"go\n")
        upgrade_to_tls(self)
        self.request.sendall(self.request.recv(100).upper())


def function(request: Any, client_address: Any, server: Any) -> None:
    """Do the same, as a function."""
    request.recv(100)
    request.sendall(b"go\n")
    connection = upgrade_to_tls(request)
    connection.sendall(connection.recv(100).upper())


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> dict[str, Any]:
    """The options of a server that has a certificate for localhost."""
    certfile, keyfile = authority.write(tmp_path, "localhost")
    return {"certfile": certfile, "keyfile": keyfile}


@contextlib.contextmanager
def upgraded(address: Any, authority: Authority) -> Iterator[ssl.SSLSocket]:
    """Call, ask for TLS and shake hands, as a client that takes an end without a goodbye for a cut."""
    context = authority.client_context()
    with call(address) as plain:
        assert asked(plain) == b"go\n"
        with context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as peer:
            yield peer


def asked(plain: socket.socket, words: bytes = b"STARTTLS\n") -> bytes:
    plain.sendall(words)
    return plain.recv(3)


@pytest.mark.parametrize(
    "handler", [Once, Buffered, Unbuffered, OfTheStandardLibrary, Bare, function]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_connection_goes_over_to_tls(
    engine: str, handler: Any, authority: Authority, files: dict[str, Any]
) -> None:
    before = open_descriptors()
    with (
        Server(handler, ANY_PORT, engine=engine, **files) as server,
        upgraded(bound(server), authority) as peer,
    ):
        peer.sendall(b"hello\n")
        assert everything(peer) == b"HELLO\n"
    wait_for_descriptors(before)


def has_failed(seen: list[events.Event], engine: str, why: str) -> bool:
    """Tell whether an event has told of one failure. (Of a child's, only its own subscribers are told.)"""
    failures = [event.error for event in seen if isinstance(event, events.HandshakeFailed)]
    return engine == "processes" or (len(failures) == 1 and why in failures[0])


def test_a_unix_socket_goes_over_too(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    with (
        Server(Once, f"unix://{tmp_path}/a.sock", engine=engine, **files) as server,
        upgraded(bound(server), authority) as peer,
    ):
        peer.sendall(b"hello\n")
        assert everything(peer) == b"HELLO\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_sent_in_clear_behind_the_request_is_refused(
    engine: str, files: dict[str, Any], seen: list[events.Event]
) -> None:
    before = open_descriptors()
    with Server(Shout, ANY_PORT, engine=engine, **files) as server, call(bound(server)) as plain:
        assert asked(plain, b"STARTTLS\nsteal\n") == b"go\n"
        assert everything(plain) == b""
    wait_for_descriptors(before)
    why = "the client sent 6 bytes in clear after it had asked for TLS"
    assert has_failed(seen, engine, why)


def test_a_handler_that_goes_on_after_a_refusal_reads_nothing(files: dict[str, Any]) -> None:
    class Stubborn(Shout):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()
            for read in (self.rfile.readline, lambda: self.request.recv(100)):
                with contextlib.suppress(OSError):
                    heard.append(read())

    heard: list[bytes] = []
    with Server(Stubborn, ANY_PORT, **files) as server, call(bound(server)) as plain:
        assert asked(plain, b"STARTTLS\nsteal\n") == b"go\n"
        assert everything(plain) == b""
    assert heard == []


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_sent_in_clear_in_the_place_of_a_handshake_is_not_read(
    engine: str, files: dict[str, Any], seen: list[events.Event]
) -> None:
    with Server(Shout, ANY_PORT, engine=engine, **files) as server, call(bound(server)) as plain:
        assert asked(plain) == b"go\n"
        plain.sendall(b"steal\n")
        assert b"STEAL" not in everything(plain)
    assert has_failed(seen, engine, "SSL")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_that_asks_and_says_nothing_has_a_deadline(
    engine: str, files: dict[str, Any], seen: list[events.Event]
) -> None:
    options = {**files, "handshake_timeout": 0.3}
    with Server(Shout, ANY_PORT, engine=engine, **options) as server:
        with call(bound(server)) as plain:
            assert asked(plain) == b"go\n"
            assert is_closed_by_server(plain)
        wait_until(lambda: server.connections.closed == {Reason.HANDSHAKE_TOO_SLOW: 1})
    assert has_failed(seen, engine, "timed out")


def test_a_handshake_that_fails_is_its_own_reason_and_no_traceback(
    engine: str, files: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Shout, ANY_PORT, engine=engine, **files) as server:
        with call(bound(server)) as plain:
            assert asked(plain) == b"go\n"
            plain.sendall(b"steal\n")
            everything(plain)
        wait_until(lambda: server.connections.closed == {Reason.HANDSHAKE_FAILED: 1})
    assert capfd.readouterr().err == ""


def test_a_client_that_is_gone_before_it_goes_over_has_failed_its_handshake(
    engine: str, authority: Authority, seen: list[events.Event]
) -> None:
    context = authority.server_context()

    class Late(BaseRequestHandler):
        def handle(self) -> None:
            # No read, to which the kernel would tell of the reset, and then no other call any more.
            wait_until(lambda: has_hung_up(self.request.fileno()))
            upgrade_to_tls(self, context)

    base = server_class(engine)
    quiet = {"handle_error": lambda *_: None}
    with serving(type(base.__name__, (base,), quiet)(("127.0.0.1", 0), Late)) as server:
        # A forked handler has a copy of the client's end, which a close would leave open.
        subprocess.run([sys.executable, "-c", RESET, str(server.server_address[1])], check=True)
        wait_until(lambda: server.connections.closed == {Reason.HANDSHAKE_FAILED: 1})
    if engine != "processes":
        assert any(isinstance(event, events.HandshakeFailed) for event in seen)


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_drain_does_not_wait_for_a_client_that_has_gone_over_and_is_idle(
    engine: str, authority: Authority, files: dict[str, Any]
) -> None:
    server = Server(Shout, ANY_PORT, engine=engine, drain_timeout=3600, **files)
    server.start()
    with upgraded(bound(server), authority) as peer:
        peer.sendall(b"hello\n")
        assert peer.recv(100) == b"HELLO\n"
        assert server.close() == []
        assert everything(peer) == b""


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_drain_does_not_wait_for_a_client_that_has_asked_and_says_nothing(
    engine: str, files: dict[str, Any]
) -> None:
    server = Server(Shout, ANY_PORT, engine=engine, drain_timeout=3600, **files)
    server.start()
    with call(bound(server)) as plain:
        assert asked(plain) == b"go\n"
        assert server.close() == []
        assert is_closed_by_server(plain)


def test_a_reloaded_certificate_is_for_clients_that_go_over_from_then_on(
    tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    with Server(Shout, ANY_PORT, **files) as server, call(bound(server)) as plain:
        authority.write(tmp_path, "new.example")
        assert server.reload()
        assert asked(plain) == b"go\n"
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="new.example") as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(100) == b"HELLO\n"


def test_a_drop_in_server_needs_a_context(engine: str, authority: Authority) -> None:
    context = authority.server_context()

    class WithContext(Shout):
        def handle(self) -> None:
            self.rfile.readline()
            with pytest.raises(Mistake, match=r"needs a certificate"):
                self.upgrade_to_tls()
            self.wfile.write(b"go\n")
            self.upgrade_to_tls(context)
            with pytest.raises(RuntimeError, match=r"speaks TLS already"):
                self.upgrade_to_tls(context)
            self.wfile.write(self.rfile.readline().upper())

    before = open_descriptors()
    with (
        serving(server_class(engine, ours)(("127.0.0.1", 0), WithContext)) as server,
        upgraded(server.server_address, authority) as peer,
    ):
        peer.sendall(b"hello\n")
        assert everything(peer) == b"HELLO\n"
    wait_for_descriptors(before)


HANDLERS = """
    from manyhands import StreamRequestHandler

    class Shout(StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(b"go\\n")
            self.upgrade_to_tls()
            self.wfile.write(self.rfile.readline().upper())
"""


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_the_command_serves_it(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    (tmp_path / "shouts.py").write_text(HANDLERS.replace("\n    ", "\n"))
    words = [f"--{name}={value}" for name, value in files.items()]
    command = ["-m", "manyhands", "serve", "shouts:Shout", "--bind", ANY_PORT, "--engine", engine]
    with Program([*command, *words], tmp_path) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        with upgraded(address, authority) as peer:
            peer.sendall(b"hello\n")
            assert everything(peer) == b"HELLO\n"
        program.send(signal.SIGTERM)
        assert (program.wait(), program.errors()) == (0, "")


def test_the_plain_connection_stands_for_the_other(
    authority: Authority, files: dict[str, Any]
) -> None:
    told: list[Any] = []

    def look(request: Any, client_address: Any, server: Any) -> None:
        request.recv(100)
        request.sendall(b"go\n")
        connection = upgrade_to_tls(request)
        told.extend(
            (
                request.fileno() == connection.fileno(),
                isinstance(request, ssl.SSLSocket),
                request.version() == connection.version(),
                request.getpeername() == client_address,
            )
        )
        request.sendall(b"through the plain one\n")

    with Server(look, ANY_PORT, **files) as server, upgraded(bound(server), authority) as peer:
        assert everything(peer) == b"through the plain one\n"
    assert told == [True] * 4


def test_nothing_is_kept_of_connections_that_have_ended(
    engine: str, authority: Authority, files: dict[str, Any]
) -> None:
    with Server(Once, ANY_PORT, engine=engine, **files) as server:
        for _ in range(3):
            with upgraded(bound(server), authority) as peer:
                peer.sendall(b"hello\n")
                assert everything(peer) == b"HELLO\n"
    wait_until(lambda: gc.collect() is not None and not len(socket_classes._upgraded))
