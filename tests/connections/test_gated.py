"""The gate of a connection: what its handler writes by its socket, in whatever way, and what others send."""

import asyncio
import errno
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.connections.gated_sockets import finish_sending, gate, make_outbox
from manyhands.connections.outbox import Outbox
from manyhands.testing import call, read_line, serving, socket_address
from tests.support.certificates import Authority
from tests.support.peers import received
from tests.support.waiting import PATIENCE

ENGINES = ("threads", "fibers")

MUCH = 4_000_000
"""Bytes: more than any kernel takes at once."""


LONG = 399_999
"""Bytes of a line that is sent in several pieces, without its end."""


class Patient:
    """Terms by which very much may wait."""

    def outbox_terms(self) -> tuple[int, str]:
        return 100_000_000, "close"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        raise AssertionError


Pair = tuple[socket.socket, socket.socket, Outbox]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connection with an outbox, its peer, and the outbox."""
    ours, peer = socket.socketpair()
    peer.settimeout(PATIENCE)
    outbox = make_outbox(ours, Patient())
    gate(ours)
    with ours, peer:
        yield ours, peer, outbox


def test_a_message_that_a_program_sends_bit_by_bit_is_not_torn(pair: Pair) -> None:
    ours, peer, outbox = pair
    ours.setblocking(False)
    message = memoryview(b"w" * MUCH)
    sent = ours.send(message)
    assert 0 < sent < MUCH
    assert outbox.put(b"piece")
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_WRITE)
        got = b""
        while sent < MUCH:
            got += peer.recv(MUCH)
            assert selector.select(PATIENCE)
            sent += ours.send(message[sent:])
    got += received(peer, MUCH + 5 - len(got))
    assert got == b"w" * MUCH + b"piece"
    ours.send(b"next")
    assert peer.recv(100) == b"next"


def test_a_message_that_is_begun_and_given_up_does_not_hold_up_the_end(pair: Pair) -> None:
    ours, peer, outbox = pair
    assert ours.send(b"w" * MUCH, socket.MSG_DONTWAIT) < MUCH
    outbox.put(b"piece")
    ends = threading.Thread(target=finish_sending, args=(ours,))
    ends.start()
    got = b""
    while not got.endswith(b"piece"):
        got += peer.recv(MUCH)
    ends.join(PATIENCE)
    assert outbox.is_over


def test_while_pieces_wait_a_send_that_does_not_wait_fails_as_the_system_says_it(
    pair: Pair,
) -> None:
    ours, _, outbox = pair
    outbox.put(b"p" * MUCH)
    ours.setblocking(False)
    for send in (
        lambda: ours.send(b"w"),
        lambda: ours.sendall(b"w"),
        lambda: ours.sendmsg([b"w"]),
    ):
        with pytest.raises(BlockingIOError) as failure:
            send()
        assert failure.value.errno == errno.EAGAIN
    assert ours.makefile("wb", buffering=0).write(b"w") is None


def test_what_waits_is_missed_where_the_handler_shuts_its_connection_down(pair: Pair) -> None:
    ours, _, outbox = pair
    for _ in range(3):
        outbox.put(b"p" * MUCH)
    ours.shutdown(socket.SHUT_RDWR)
    assert outbox.is_over
    assert outbox.missed == 3


def test_what_waits_is_missed_where_another_thread_meets_the_shutdown_first(pair: Pair) -> None:
    ours, _, outbox = pair
    outbox.put(b"p" * MUCH)
    with outbox._lock:  # as the thread that sends may hold it just now
        shuts = threading.Thread(target=ours.shutdown, args=(socket.SHUT_RDWR,))
        shuts.start()
        shuts.join(PATIENCE)
        assert not outbox.is_over
    outbox.flush()
    assert outbox.is_over
    assert outbox.missed == 1


def test_several_buffers_are_sent_in_one_turn(pair: Pair) -> None:
    ours, peer, outbox = pair
    ours.settimeout(PATIENCE)
    sent: list[int] = []
    sends = threading.Thread(
        target=lambda: sent.append(ours.sendmsg([b"a" * MUCH, memoryview(b"b" * MUCH)]))
    )
    sends.start()
    assert peer.recv(1) == b"a"
    outbox.put(b"piece")
    assert received(peer, 2 * MUCH + 4) == b"a" * (MUCH - 1) + b"b" * MUCH + b"piece"
    sends.join(PATIENCE)
    assert sent == [2 * MUCH]


def test_a_default_timeout_of_the_program_holds_up_no_piece(pair: Pair) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        socket.setdefaulttimeout(PATIENCE)
        try:
            outbox = make_outbox(ours, Patient())
        finally:
            socket.setdefaulttimeout(None)
        assert ours.getblocking()
        reads = threading.Thread(target=ours.recv, args=(1,))
        reads.start()
        for _ in range(100):
            assert outbox.put(b"p" * 100_000)
        assert outbox.waiting
        peer.sendall(b"x")
        reads.join(PATIENCE)
        outbox.end()


def test_a_duplicate_takes_turns_and_its_end_is_not_that_of_the_connection(pair: Pair) -> None:
    ours, peer, outbox = pair
    outbox.put(b"p" * MUCH)
    with ours.dup() as twin:
        writes = threading.Thread(target=twin.sendall, args=(b"twin",))
        writes.start()
        assert received(peer, MUCH + 4) == b"p" * MUCH + b"twin"
        writes.join(PATIENCE)
        finish_sending(socket.socket(fileno=twin.dup().detach()))  # of no outbox
    assert outbox.put(b"piece")
    assert peer.recv(100) == b"piece"


def test_what_waits_goes_out_before_the_descriptor_is_given_up(pair: Pair) -> None:
    ours, peer, outbox = pair
    outbox.put(b"p" * MUCH)

    def go_on_otherwise() -> None:
        with socket.socket(fileno=ours.detach()) as plain:
            plain.sendall(b"otherwise")

    goes_on = threading.Thread(target=go_on_otherwise)
    goes_on.start()
    assert received(peer, MUCH + 9) == b"p" * MUCH + b"otherwise"
    goes_on.join(PATIENCE)
    assert outbox.is_over
    assert not outbox.put(b"piece")


class Writing(StreamRequestHandler):
    """Joins, and then writes lines as a subclass does."""

    def handle(self) -> None:
        self.join("red")
        self.wfile.write(b"welcome\n")
        self.rfile.readline()
        self.write_lines(b"w" * LONG + b"\n", 20)
        self.rfile.readline()

    def write_lines(self, line: bytes, count: int) -> None:
        raise NotImplementedError


class WithAsyncio(Writing):
    """Writes by the transport of an event loop, which has the socket not wait."""

    def write_lines(self, line: bytes, count: int) -> None:
        async def write() -> None:
            _, writer = await asyncio.open_connection(sock=self.request)
            for _ in range(count):
                writer.write(line)
                await writer.drain()
            await asyncio.sleep(0)
            transport: Any = writer.transport
            while transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            await asyncio.get_running_loop().run_in_executor(None, self.done.wait)

        self.done = done
        asyncio.run(write())


class WithSelectors(Writing):
    """Waits by itself."""

    def write_lines(self, line: bytes, count: int) -> None:
        self.request.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.request, selectors.EVENT_WRITE)
            for _ in range(count):
                rest = memoryview(line)
                while rest:
                    selector.select()
                    try:
                        rest = rest[self.request.send(rest) :]
                    except (BlockingIOError, ssl.SSLWantWriteError):
                        continue
        self.request.setblocking(True)


class WithTLSWrite(Writing):
    """Writes by the method that only TLS connections have."""

    def write_lines(self, line: bytes, count: int) -> None:
        for _ in range(count):
            rest = line
            while rest:
                rest = rest[self.request.write(rest) :]


done = threading.Event()


def lines_of(peer: socket.socket, server: Server) -> list[bytes]:
    """Have a handler write while others tell; return the lines that come."""
    assert read_line(peer) == b"welcome\n"
    piece = b"p" * LONG + b"\n"

    def tell() -> None:
        for _ in range(20):
            assert server.tell("red", piece) == 1

    teller = threading.Thread(target=tell)
    teller.start()
    peer.sendall(b"write\n")
    got = received(peer, 40 * (LONG + 1))
    teller.join(PATIENCE)
    done.set()
    return got.splitlines()


@pytest.mark.parametrize("handler", [WithAsyncio, WithSelectors])
def test_programs_that_wait_by_themselves_are_not_torn(handler: Any) -> None:
    done.clear()
    with serving(handler, outbox=10 * MUCH) as under_test, under_test.connect() as peer:
        lines = lines_of(peer, under_test.server)
    assert {bytes(line) for line in lines} == {b"w" * LONG, b"p" * LONG}
    assert len(lines) == 40


@pytest.mark.parametrize(
    ("handler", "engine"),
    # A selector of the system's would hold up all fibers.
    [(WithSelectors, "threads"), (WithTLSWrite, "threads"), (WithTLSWrite, "fibers")],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_is_torn_in_tls_either(
    handler: Any, engine: str, version: ssl.TLSVersion, authority: Authority, tmp_path: Any
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    context = authority.client_context()
    context.maximum_version = version
    with (
        serving(
            handler,
            "tls://127.0.0.1:0",
            engine=engine,
            outbox=10 * MUCH,
            certfile=certfile,
            keyfile=keyfile,
        ) as under_test,
        call(socket_address(under_test.server.addresses[0])) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        assert peer.version() == version.name.replace("_", ".")
        lines = lines_of(peer, under_test.server)
    assert {bytes(line) for line in lines} == {b"w" * LONG, b"p" * LONG}
    assert len(lines) == 40
