"""Small writes go out at once (TCP_NODELAY): of every `Server`, and of TLS wherever it comes from.

Read from the handler's own connection, in each way in which one comes to be: a latency would tell of the
machine.
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import BaseRequestHandler, Server, StreamRequestHandler, socketserver, upgrade_to_tls
from tests.support import (
    Authority,
    ask,
    ask_secretly,
    bound,
    call,
    python,
    read_line,
    secured,
    server_class,
    serving,
    wait_until,
)

from .proxy_kit import V1

HERE = ("127.0.0.1", 0)

SAYS = {b"0\n": False, b"1\n": True}

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def told(request: Any) -> bytes:
    is_set = bool(request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return b"%d\n" % is_set


def tell(request: Any, client_address: Any, server: Any) -> None:
    """Wait for a client's word, and tell whether the answer goes out at once."""
    request.recv(100)
    request.sendall(told(request))


class Tell(StreamRequestHandler):
    """Tells it of the connection that its files write to."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(told(self.connection))


class Upgrade(StreamRequestHandler):
    """Tells it after STARTTLS."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(told(self.connection))
        self.upgrade_to_tls()
        self.rfile.readline()
        self.wfile.write(told(self.connection))


class BareUpgrade(BaseRequestHandler):
    """Tells it after STARTTLS, without files."""

    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(told(self.request))
        secret = upgrade_to_tls(self.request)
        secret.recv(100)
        secret.sendall(told(secret))


HANDLERS = pytest.mark.parametrize("handler", [tell, Tell])


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> dict[str, Any]:
    """The options of a server that has a certificate for localhost."""
    certfile, keyfile = authority.write(tmp_path, "localhost")
    return {"certfile": certfile, "keyfile": keyfile}


@pytest.fixture
def given() -> Iterator[socket.socket]:
    with socket.create_server(HERE) as listener:
        yield listener


def of_plain(address: Any) -> bool:
    return SAYS[ask(address)]


def of_tls(address: Any, authority: Authority) -> bool:
    return SAYS[ask_secretly(address, authority)]


def of_upgraded(address: Any, authority: Authority) -> tuple[bool, bool]:
    """Tell it of a connection in clear, and of the same one after STARTTLS."""
    # Made first: a process that the server forks meanwhile would have OpenSSL's locks as they are then.
    context = authority.client_context()
    with call(address) as plain:
        plain.sendall(b"STARTTLS\n")
        before = SAYS[read_line(plain)]
        with context.wrap_socket(plain, server_hostname="localhost") as secret:
            secret.sendall(b"?\n")
            return before, SAYS[secret.recv(100)]


def of_announced(address: Any, authority: Authority | None = None) -> bool:
    """Tell it of a connection that begins with a PROXY header."""
    context = authority and authority.client_context()
    with call(address) as plain:
        plain.sendall(V1)
        if context is None:
            plain.sendall(b"?\n")
            return SAYS[plain.recv(100)]
        with context.wrap_socket(plain, server_hostname="localhost") as secret:
            secret.sendall(b"?\n")
            return SAYS[secret.recv(100)]


# Servers of ours


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", ""])
def test_a_server_sends_small_writes_at_once(engine: str, host: str) -> None:
    with Server(Tell, f"tcp://{host}:0", engine=engine) as server:
        assert of_plain(("127.0.0.1" if not host else host.strip("[]"), server.addresses[0].port))


def test_a_server_does_so_over_tls_and_behind_a_balancer(
    engine: str, authority: Authority, files: dict[str, Any]
) -> None:
    with Server(tell, "tls://127.0.0.1:0", engine=engine, **files) as server:
        assert of_tls(bound(server), authority)
    addresses = ("tcp://127.0.0.1:0", "tls://127.0.0.1:0")
    with Server(tell, *addresses, engine=engine, proxy_protocol=True, **files) as server:
        assert of_announced(bound(server))
        assert of_announced(bound(server, 1), authority)


@pytest.mark.parametrize("handler", [Upgrade, BareUpgrade])
def test_a_server_does_so_before_and_after_starttls(
    engine: str, handler: Any, authority: Authority, files: dict[str, Any]
) -> None:
    with Server(handler, "tcp://127.0.0.1:0", engine=engine, **files) as server:
        assert of_upgraded(bound(server), authority) == (True, True)


def test_a_server_does_so_on_a_socket_that_it_was_given_whose_options_stay(
    engine: str, given: socket.socket, authority: Authority, files: dict[str, Any]
) -> None:
    number = given.fileno()
    with Server(tell, f"fd://{number}", engine=engine) as server:
        assert of_plain(bound(server))
    with Server(tell, f"tls+fd://{number}", engine=engine, **files) as server:
        assert of_tls(bound(server), authority)
    with Server(tell, f"fd://{number}", engine=engine, proxy_protocol=True) as server:
        assert of_announced(bound(server))
    assert not given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_server_without_it_delays_everywhere(
    engine: str, given: socket.socket, authority: Authority, files: dict[str, Any]
) -> None:
    addresses = ("tcp://127.0.0.1:0", "tls://127.0.0.1:0", f"fd://{given.fileno()}")
    with Server(tell, *addresses, engine=engine, no_delay=False, **files) as server:
        assert not of_plain(bound(server))
        assert not of_tls(bound(server, 1), authority)
        assert not of_plain(bound(server, 2))
    with Server(Upgrade, addresses[0], engine=engine, no_delay=False, **files) as server:
        assert of_upgraded(bound(server), authority) == (False, False)


def test_sockets_without_tcp_serve_as_ever(engine: str, tmp_path: Path) -> None:
    def parrot(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))

    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(f"{path}.given")
        given.listen()
        addresses = (f"unix://{path}", f"fd://{given.fileno()}")
        with Server(parrot, *addresses, engine=engine) as server:
            assert ask(bound(server)) == ask(bound(server, 1)) == b"hello\n"


# The drop-in


def drop_in(engine: str, handler: Any, **attributes: Any) -> Any:
    return type("Server", (server_class(engine),), attributes)(HERE, handler)


@HANDLERS
def test_the_drop_in_in_clear_is_as_the_standard_library_s(engine: str, handler: Any) -> None:
    with serving(drop_in(engine, handler), 0.02) as server:
        assert not of_plain(server.server_address)


@HANDLERS
def test_the_drop_in_does_so_where_its_class_says_so(engine: str, handler: Any) -> None:
    with serving(drop_in(engine, handler, no_delay=True), 0.02) as server:
        assert of_plain(server.server_address)


def test_what_a_program_calls_by_that_name_is_its_own(engine: str) -> None:
    with serving(drop_in(engine, tell, no_delay=lambda self: 1), 0.02) as server:
        assert not of_plain(server.server_address)


def test_a_handler_may_ask_for_it_as_ever(engine: str) -> None:
    class Eager(Tell):
        disable_nagle_algorithm = True

    with serving(drop_in(engine, Eager), 0.02) as server:
        assert of_plain(server.server_address)


@HANDLERS
@pytest.mark.parametrize("handshakes", [True, False])
def test_a_tls_listener_of_a_program_s_own_does_so(
    engine: str, handler: Any, handshakes: bool, authority: Authority
) -> None:
    server = secured(drop_in(engine, handler), authority, do_handshake_on_connect=handshakes)
    with serving(server, 0.02):
        assert of_tls(server.server_address, authority)


def test_a_tls_listener_behind_a_balancer_does_so(engine: str, authority: Authority) -> None:
    server = secured(drop_in(engine, tell, proxy_protocol=True), authority)
    with serving(server, 0.02):
        assert of_announced(server.server_address, authority)


@HANDLERS
@pytest.mark.parametrize("hook", ["get_request", "finish_request"])
def test_tls_that_a_hook_begins_does_so(
    engine: str, handler: Any, hook: str, authority: Authority
) -> None:
    context = authority.server_context()

    class Secret(server_class(engine)):  # type: ignore[misc]  # of any engine
        def get_request(self) -> Any:
            request, address = super().get_request()
            return (wrapped(request) if hook == "get_request" else request), address

        def finish_request(self, request: Any, client_address: Any) -> None:
            super().finish_request(
                wrapped(request) if hook == "finish_request" else request, client_address
            )

    def wrapped(request: Any) -> ssl.SSLSocket:
        return context.wrap_socket(request, server_side=True)

    with serving(Secret(HERE, handler), 0.02) as server:
        assert of_tls(server.server_address, authority)


@HANDLERS
@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_tls_that_the_worker_s_hook_begins_does_so(
    engine: str, handler: Any, authority: Authority
) -> None:
    context = authority.server_context()

    class Secret(server_class(engine)):  # type: ignore[misc]  # of any engine
        def process_request_thread(self, request: Any, client_address: Any) -> None:
            secret = context.wrap_socket(request, server_side=True)
            super().process_request_thread(secret, client_address)

    with serving(Secret(HERE, handler), 0.02) as server:
        assert of_tls(server.server_address, authority)


class BareTell(BaseRequestHandler):
    """Tells it without files."""

    def handle(self) -> None:
        tell(self.request, self.client_address, self.server)


@pytest.mark.parametrize("kind", [Tell, BareTell])
def test_tls_that_a_handler_begins_in_its_setup_does_so(
    engine: str, kind: Any, authority: Authority
) -> None:
    context = authority.server_context()

    class Secret(kind):  # type: ignore[misc]  # of either kind
        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

    with serving(drop_in(engine, Secret), 0.02) as server:
        assert of_tls(server.server_address, authority)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_the_handler_of_the_overflow_does_so_over_tls(engine: str, authority: Authority) -> None:
    limits = {"max_connections": 1, "when_full": staticmethod(tell)}
    with serving(secured(drop_in(engine, Tell, **limits), authority), 0.02) as server:
        address = server.server_address
        context = authority.client_context()
        with call(address) as plain, context.wrap_socket(plain, server_hostname="localhost"):
            # Its place is taken: the next one is beyond it.
            wait_until(lambda: len(server.connections) == 1)
            assert of_tls(address, authority)


@pytest.mark.parametrize("handler", [Upgrade, BareUpgrade])
def test_starttls_on_the_drop_in_does_so(engine: str, handler: Any, authority: Authority) -> None:
    with serving(drop_in(engine, handler, tls_context=authority.server_context()), 0.02) as server:
        assert of_upgraded(server.server_address, authority) == (False, True)


def test_tls_of_the_drop_in_delays_where_its_class_says_so(
    engine: str, authority: Authority
) -> None:
    server = secured(drop_in(engine, Tell, no_delay=False), authority)
    with serving(server, 0.02):
        assert not of_tls(server.server_address, authority)


def test_a_unix_server_takes_the_option_and_serves_as_ever(tmp_path: Path) -> None:
    class Eager(socketserver.UnixStreamServer):
        no_delay = True

    def parrot(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))

    with serving(Eager(str(tmp_path / "a.sock"), parrot)) as server:
        assert ask(server.server_address) == b"hello\n"


# The commands


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), None), (("--no-delay",), True), (("--delay",), False)],
    ids=["unsaid", "no delay", "delay"],
)
def test_run_takes_the_option(
    flags: tuple[str, ...], expected: bool | None, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text("import socketserver; print(socketserver.TCPServer.no_delay)")
    ran = python("-m", "manyhands", "run", *flags, str(program))
    assert ran.stdout.strip() == str(expected), ran.stderr
