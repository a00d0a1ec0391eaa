"""The PROXY header is taken off a real connection to the byte, in its time, in threads and in fibers."""

import errno
import itertools
import os
import socket
from typing import Any

import pytest

from manyhands.connections.proxy_reader import read_proxy_header
from manyhands.protocol.proxy_encoder import encode_v1, encode_v2
from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_tlvs import Tlv, TlvType
from tests.support import Authority, wait_until
from tests.support.waiting import PATIENCE

from .conftest import Stage, unread

CLIENT, SERVER = ("192.0.2.1", 56324), ("192.0.2.2", 443)

V1 = encode_v1(CLIENT, SERVER)
V2 = encode_v2(CLIENT, SERVER, tlvs=[Tlv(TlvType.ALPN, b"h2")], has_checksum=True)
LONG = encode_v2(CLIENT, SERVER, tlvs=[Tlv(0xE0, bytes(10_000))])

HELLO = b"\x16\x03\x01\r\n and all that the client says after the header"

headers = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])


class Watched:
    """A connection that counts how often the server receives from it, and how much."""

    def __init__(self, connection: Any, largest: int = 100_000) -> None:
        self._connection = connection
        self._largest = largest
        self.receives = 0
        self.taken = 0

    def recv(self, count: int, flags: int) -> bytes:
        self.receives += 1
        if flags & socket.MSG_PEEK:
            seen: bytes = self._connection.recv(count, flags)
            return seen
        received: bytes = self._connection.recv(min(count, self._largest), flags)
        self.taken += len(received)
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def send_taken(self, far: socket.socket, piece: bytes) -> None:
        """Have the peer send a piece, and wait until all of it was taken."""
        expected = self.taken + len(piece)
        far.sendall(piece)
        wait_until(lambda: self.taken == expected)


@pytest.mark.parametrize("header", [V1, V2, LONG, b"PROXY UNKNOWN\r\n"])
def test_what_follows_the_header_stays_to_the_byte(stage: Stage, header: bytes) -> None:
    near, far = stage.connect()
    far.sendall(header + HELLO)
    found = stage.do(read_proxy_header, near, PATIENCE)
    assert found.source == (None if b"UNKNOWN" in header else CLIENT)
    assert unread(near) == len(HELLO)
    assert stage.do(near.recv, 1000) == HELLO


@headers
def test_a_header_may_come_in_two_pieces_cut_at_any_byte(stage: Stage, header: bytes) -> None:
    for size in range(1, len(header)):
        near, far = stage.connect()
        watched = Watched(near)
        reading = stage.spawn(read_proxy_header, watched, PATIENCE)
        watched.send_taken(far, header[:size])
        assert not reading.done()
        far.sendall(header[size:] + HELLO)
        assert reading.result(PATIENCE).source == CLIENT
        assert stage.do(near.recv, 1000) == HELLO


@headers
def test_a_header_may_come_byte_by_byte_and_each_is_looked_at_once(
    stage: Stage, header: bytes
) -> None:
    near, far = stage.connect()
    watched = Watched(near)
    reading = stage.spawn(read_proxy_header, watched, PATIENCE)
    for byte in header[:-1]:
        watched.send_taken(far, bytes([byte]))
    far.sendall(header[-1:] + HELLO)
    assert reading.result(PATIENCE).destination == SERVER
    assert watched.receives == 2 * len(header), "it did not look once and take once"
    assert stage.do(near.recv, 1000) == HELLO


def test_a_peer_that_drips_gains_no_time(stage: Stage) -> None:
    near, far = stage.connect()
    # A second goes by with each look at it, so that no look comes without the next byte.
    watched = Watched(near)
    reading = stage.spawn(read_proxy_header, watched, 10, clock=itertools.count().__next__)
    for size, byte in enumerate(V1, start=1):
        far.sendall(bytes([byte]))
        wait_until(lambda size=size: watched.taken == size or reading.done())
        if reading.done():
            break
    with pytest.raises(TimeoutError, match="only 9 bytes of a PROXY header came within 10 s"):
        reading.result(PATIENCE)


@pytest.mark.parametrize("part", [b"", V1[:20], V2[:20]])
def test_silence_ends_when_the_time_is_over(stage: Stage, part: bytes) -> None:
    near, far = stage.connect()
    far.sendall(part)
    with pytest.raises(TimeoutError, match=f"only {len(part)} bytes"):
        stage.do(read_proxy_header, near, 0.05)


def test_a_header_that_is_there_in_the_last_moment_is_taken(stage: Stage) -> None:
    near, far = stage.connect()
    far.sendall(V1 + HELLO)
    times = itertools.chain([0.0, 0.0], itertools.repeat(100.0))
    assert stage.do(read_proxy_header, near, 1, clock=times.__next__).source == CLIENT
    assert stage.do(near.recv, 1000) == HELLO


def test_without_a_deadline_it_waits(stage: Stage) -> None:
    near, far = stage.connect()
    watched = Watched(near)
    reading = stage.spawn(read_proxy_header, watched, None)
    watched.send_taken(far, V2[:3])
    far.sendall(V2[3:])
    assert reading.result(PATIENCE).source == CLIENT


@headers
def test_a_peer_that_closes_before_the_end_sent_no_header(stage: Stage, header: bytes) -> None:
    for size in (0, 1, 15, 16, len(header) - 1):
        near, far = stage.connect()
        far.sendall(header[:size])
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(BadProxyHeader, match=f"closed .* after {size} bytes") as caught:
            stage.do(read_proxy_header, near, PATIENCE)
        assert caught.value.field == "end"


def test_a_peer_that_resets_before_the_end_sent_no_header(stage: Stage) -> None:
    near, far = stage.connect()
    watched = Watched(near)
    reading = stage.spawn(read_proxy_header, watched, PATIENCE)
    watched.send_taken(far, V1[:20])
    # A peer that closes without having read resets, on TCP (RFC 9293, section 3.10.4) as on Unix sockets.
    stage.do(near.sendall, b"unread")
    wait_until(lambda: unread(far) == 6)
    far.close()
    with pytest.raises(BadProxyHeader, match=r"gone .* after 20 bytes") as caught:
        reading.result(PATIENCE)
    assert caught.value.field == "end"
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_peer_that_the_kernel_gives_up_sent_no_header_and_is_not_too_slow(stage: Stage) -> None:
    class GivenUp(Watched):
        def recv(self, count: int, flags: int) -> bytes:
            # As of a peer that answers no keep-alive (tcp(7)), which takes minutes to bring about.
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    near, _ = stage.connect()
    for seconds in (None, PATIENCE):
        with pytest.raises(BadProxyHeader, match="the peer is gone") as caught:
            stage.do(read_proxy_header, GivenUp(near), seconds)
        assert caught.value.field == "end"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"G", "signature"),
        (b"\x16\x03\x01", "signature"),
        (b"PROXY UNKNOWN ".ljust(108, b"x"), "line"),
        (b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "line"),
        (V2[:12] + b"\x31", "version"),
        (V2[:-1] + b"\x00", "checksum"),
    ],
)
def test_what_is_no_header_is_refused_at_once_though_the_peer_stays(
    stage: Stage, sent: bytes, field: str
) -> None:
    near, far = stage.connect()
    far.sendall(sent)
    with pytest.raises(BadProxyHeader) as caught:
        stage.do(read_proxy_header, near, None)
    assert caught.value.field == field


def test_a_header_may_be_as_long_as_the_limit(stage: Stage) -> None:
    near, far = stage.connect()
    far.sendall(LONG)
    assert stage.do(read_proxy_header, near, PATIENCE, limit=len(LONG)).tlv(0xE0) == bytes(10_000)
    far.sendall(LONG[:16])
    with pytest.raises(BadProxyHeader, match="announces 10031 bytes, and 10030 are the most"):
        stage.do(read_proxy_header, near, PATIENCE, limit=len(LONG) - 1)


@pytest.mark.parametrize("timeout", [None, 7.5, 0.0])
@pytest.mark.parametrize("sent", [V1, b"?"])
def test_the_connections_own_timeout_is_as_it_was(
    stage: Stage, timeout: float | None, sent: bytes
) -> None:
    near, far = stage.connect()
    near.settimeout(timeout)
    far.sendall(sent)
    reading = stage.spawn(read_proxy_header, near, PATIENCE)
    assert isinstance(reading.exception(PATIENCE), BadProxyHeader if sent == b"?" else type(None))
    assert near.gettimeout() == timeout


def test_a_connection_that_is_closed_here_says_so(stage: Stage) -> None:
    near, _ = stage.connect()
    stage.do(near.close)
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor|closed") as caught:
        stage.do(read_proxy_header, near, PATIENCE)
    assert caught.value.errno == errno.EBADF


def test_a_connection_that_is_shut_down_here_ends_the_wait(stage: Stage) -> None:
    near, far = stage.connect()
    watched = Watched(near)
    reading = stage.spawn(read_proxy_header, watched, None)
    watched.send_taken(far, V1[:5])
    stage.do(near.shutdown, socket.SHUT_RDWR)
    with pytest.raises(BadProxyHeader, match="after 5 bytes"):
        reading.result(PATIENCE)


def test_a_connection_that_gives_less_than_is_there_is_asked_again(stage: Stage) -> None:
    near, far = stage.connect()
    far.sendall(V2 + HELLO)
    assert stage.do(read_proxy_header, Watched(near, largest=3), PATIENCE).source == CLIENT
    assert stage.do(near.recv, 1000) == HELLO


@pytest.mark.parametrize("stage", ["thread-unix", "fiber-unix"], indirect=True)
def test_descriptors_that_come_along_leave_the_header_whole(stage: Stage) -> None:
    near, far = stage.connect()
    own, other = os.pipe()
    try:
        far.sendall(V2[:10])
        for place in range(10, len(V2), 10):
            socket.send_fds(far, [V2[place : place + 10]], [own])
        far.sendall(HELLO)
        assert stage.do(read_proxy_header, near, PATIENCE).source == CLIENT
        assert stage.do(near.recv, 1000) == HELLO
    finally:
        os.close(own)
        os.close(other)


@headers
def test_tls_follows_the_header_and_its_first_byte_is_there(
    stage: Stage, header: bytes, authority: Authority
) -> None:
    near, far = stage.connect()

    def answer() -> bytes:
        assert read_proxy_header(near, PATIENCE).source == CLIENT
        with authority.server_context().wrap_socket(near, server_side=True) as secure:
            line: bytes = secure.recv(100)
            secure.sendall(line.upper())
        return line

    answering = stage.spawn(answer)
    far.sendall(header)
    with authority.client_context().wrap_socket(far, server_hostname="localhost") as peer:
        peer.sendall(b"hello")
        assert peer.recv(100) == b"HELLO"
    assert answering.result(PATIENCE) == b"hello"
