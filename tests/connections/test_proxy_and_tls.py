"""A PROXY header, and then TLS: in this order, in one worker, in one time."""

import itertools
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler, events
from manyhands.connections import opening
from manyhands.model.connection_states import Reason
from manyhands.proxy import TlvType
from tests.support import (
    Authority,
    bound,
    call,
    everything,
    is_closed_by_server,
    open_descriptors,
    secured,
    serving,
    wait_for_descriptors,
)

from .proxy_kit import CLIENT, V1, V2, WITH_NAME, Never, Tell, behind_a_balancer, say, wait_for
from .test_proxy_hooks import ask_announced

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.mark.parametrize("header", [V1, V2, WITH_NAME], ids=["v1", "v2", "with TLVs"])
def test_tls_follows_the_header_on_a_tls_address(
    engine: str, header: bytes, authority: Authority, tmp_path: Any
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    before = open_descriptors()
    with Server(
        Tell,
        "tls://127.0.0.1:0",
        engine=engine,
        certfile=certfile,
        keyfile=keyfile,
        proxy_protocol=True,
    ) as server:
        answer = ask_announced(bound(server), authority.client_context(), header)
        assert answer == repr(CLIENT).encode()
    wait_for_descriptors(before)


def test_tls_follows_the_header_where_the_listening_socket_is_a_tls_one(
    engine: str, authority: Authority
) -> None:
    server = secured(behind_a_balancer(engine), authority)
    with serving(server, 0.02):
        context = authority.client_context()
        assert ask_announced(server.server_address, context) == repr(CLIENT).encode()


def test_a_header_within_tls_is_none(engine: str, authority: Authority) -> None:
    server = secured(behind_a_balancer(engine, Never), authority)
    with serving(server, 0.02):
        with call(server.server_address) as plain, pytest.raises(OSError):  # noqa: PT011 - a reset, or an end
            authority.client_context().wrap_socket(plain, server_hostname="localhost")
        wait_for(server, Reason.BAD_PROXY_HEADER)


def test_a_client_that_speaks_no_tls_after_the_header_has_failed_the_handshake(
    engine: str, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    server = secured(behind_a_balancer(engine, Never), authority)
    with serving(server, 0.02):
        say(server.server_address, V1 + b"GET / HTTP/1.1\r\n\r\n")
        wait_for(server, Reason.HANDSHAKE_FAILED)
    if engine != "processes":
        assert [event.peer for event in seen if isinstance(event, events.HandshakeFailed)] == [
            CLIENT
        ]
    assert capfd.readouterr().err == ""


def test_header_and_handshake_have_one_time_for_both(
    engine: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        """Has the header take nearly all of the time."""

        readings = itertools.chain([0.0], itertools.repeat(999.9))

        def monotonic(self) -> float:
            return next(self.readings)

    monkeypatch.setattr(opening, "time", Clock())
    server = secured(behind_a_balancer(engine, Never, handshake_timeout=1000), authority)
    with serving(server, 0.02):
        with call(server.server_address) as silent:
            silent.sendall(V1)
            assert is_closed_by_server(silent)
        wait_for(server, Reason.HANDSHAKE_TOO_SLOW)


def test_a_handshake_that_the_program_does_itself_is_left_to_it(
    engine: str, authority: Authority
) -> None:
    class Shakes(StreamRequestHandler):
        def setup(self) -> None:
            assert self.request.version() is None
            self.request.do_handshake()
            super().setup()

        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(repr(self.client_address).encode())

    server = behind_a_balancer(engine, Shakes)
    secured(server, authority, do_handshake_on_connect=False)
    with serving(server, 0.02):
        context = authority.client_context()
        assert ask_announced(server.server_address, context) == repr(CLIENT).encode()


class Named(StreamRequestHandler):
    """Answers with the name that the client called, as the balancer has it."""

    def handle(self) -> None:
        assert self.proxy_header is not None
        self.wfile.write(self.proxy_header.tlv(TlvType.AUTHORITY) or b"nobody")


def test_the_handler_has_all_that_the_header_says_over_tls_too(
    engine: str, authority: Authority
) -> None:
    server = secured(behind_a_balancer(engine, Named), authority)
    with serving(server, 0.02):
        context = authority.client_context()
        assert ask_announced(server.server_address, context, WITH_NAME) == b"shop.example"


class GoesOver(StreamRequestHandler):
    """Goes over to TLS when it is asked to, and tells what was announced."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"go\n")
        self.upgrade_to_tls()
        self.rfile.readline()
        self.wfile.write(self.proxy_header.tlv(TlvType.AUTHORITY))


def test_a_connection_may_go_over_to_tls_later(
    engine: str, authority: Authority, tmp_path: Any
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    options = {"certfile": certfile, "keyfile": keyfile, "proxy_protocol": True}
    with (
        Server(GoesOver, "tcp://127.0.0.1:0", engine=engine, **options) as server,
        call(bound(server)) as plain,
    ):
        plain.sendall(WITH_NAME + b"STARTTLS\n")
        assert plain.recv(3) == b"go\n"
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            assert everything(peer) == b"shop.example"
