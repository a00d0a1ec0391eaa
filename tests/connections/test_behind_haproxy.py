"""A real balancer in front: HAProxy, which wrote the specification of the PROXY protocol."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler, events
from manyhands.model.connection_states import Reason
from manyhands.testing.waiting import PATIENCE
from tests.support import Authority, bound, call, everything, wait_until

from .proxy_kit import Tell, bad_headers

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

CONFIGURATION = """
global
    log stderr local0 err
defaults
    mode tcp
    timeout connect 10s
    timeout client 20s
    timeout server 20s
listen balancer
    bind fd@{descriptor} {bind}
    server service 127.0.0.1:{port} {options}
"""


@contextlib.contextmanager
def balancer(
    server: Server, folder: Path, options: str, bind: str = ""
) -> Iterator[tuple[str, int]]:
    """Run a balancer in front of a server; yield its address."""
    # Debian has it where only root looks for programs.
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    file = folder / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = bound(server)[1]
        descriptor = listener.fileno()
        file.write_text(
            CONFIGURATION.format(descriptor=descriptor, bind=bind, port=port, options=options),
            encoding="utf-8",
        )
        command = [program, "-db", "-f", str(file)]
        with subprocess.Popen(command, pass_fds=[descriptor]) as process:
            try:
                yield listener.getsockname()
            finally:
                process.terminate()
                process.wait(PATIENCE)


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"])
def test_the_client_of_the_balancer_is_the_client(
    engine: str, options: str, tmp_path: Path
) -> None:
    with (
        Server(Tell, "tcp://127.0.0.1:0", engine=engine, proxy_protocol=True) as server,
        balancer(server, tmp_path, options) as address,
        call(address) as peer,
    ):
        peer.sendall(b"hello\n")
        assert everything(peer) == repr(peer.getsockname()).encode()


def test_tls_goes_through_the_balancer(engine: str, tmp_path: Path, authority: Authority) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    options: dict[str, Any] = {"certfile": certfile, "keyfile": keyfile, "proxy_protocol": True}
    with (
        Server(Tell, "tls://127.0.0.1:0", engine=engine, **options) as server,
        balancer(server, tmp_path, "send-proxy-v2") as address,
        call(address) as plain,
        authority.client_context().wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        peer.sendall(b"hello\n")
        assert everything(peer) == repr(peer.getsockname()).encode()


class Spoken(StreamRequestHandler):
    """Answers with what the balancer says of the client's TLS."""

    def handle(self) -> None:
        assert self.proxy_header is not None
        assert self.proxy_header.tls is not None
        self.wfile.write(repr(self.proxy_header.tls.client).encode())


def test_a_balancer_that_ends_tls_says_so(tmp_path: Path, authority: Authority) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certfile).read_bytes() + Path(keyfile).read_bytes())
    with (
        Server(Spoken, "tcp://127.0.0.1:0", proxy_protocol=True) as server,
        balancer(server, tmp_path, "send-proxy-v2-ssl", f"ssl crt {both}") as address,
        call(address) as plain,
        authority.client_context().wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        assert everything(peer) == b"<ClientFlag.TLS: 1>"


def polite(request: Any, client_address: Any, server: Any) -> None:
    """Serve nothing."""


def test_its_health_checks_make_no_noise(
    engine: str, tmp_path: Path, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(polite, "tcp://127.0.0.1:0", engine=engine, proxy_protocol=True) as server:
        # They come with a header that says LOCAL. (Without one they end before they could be accepted.)
        with balancer(server, tmp_path, "send-proxy-v2 check inter 20ms"):
            wait_until(lambda: sum(server.connections.closed.values()) > 1)
        ends = {Reason.HANDLER_RETURNED, Reason.PEER_CLOSED, Reason.PEER_RESET}
        assert set(server.connections.closed) <= ends
    assert bad_headers(seen) == []
    assert capfd.readouterr().err == ""
