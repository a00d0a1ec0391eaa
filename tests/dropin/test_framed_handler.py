"""Handlers that read whole frames, on every engine, in clear and on TLS."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import manyhands
from manyhands import FramedRequestHandler
from manyhands.framing import (
    FrameTooLong,
    IncompleteFrame,
    LengthPrefix,
    UndecodableText,
    VarintPrefix,
)
from manyhands.testing import drip
from tests.support import (
    Authority,
    call,
    everything,
    read_line,
    reset,
    secured,
    server_class,
    serving,
    wait_until,
)
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)
LARGE = bytes(range(256)) * 3_000
"""A frame of more than the kernel's buffers and any one receive hold."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

Connected = Callable[[type], Any]


@pytest.fixture(params=["clear", "tls"])
def connected(request: pytest.FixtureRequest, engine: str, authority: Authority) -> Connected:
    """Runs a handler on each engine, and gives the one client's socket."""

    @contextmanager
    def run(handler: type) -> Iterator[socket.socket]:
        server = server_class(engine)(HERE, handler)
        if request.param == "clear":
            with serving(server), call(server.server_address) as peer:
                yield peer
            return
        context = authority.client_context()
        with (
            serving(secured(server, authority)),
            call(server.server_address) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as peer,
        ):
            yield peer

    return run


def finished(peer: socket.socket, data: bytes) -> list[bytes]:
    """Say all of this and that no more comes; return the lines of the answer."""
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
    return everything(peer).splitlines()


@contextmanager
def in_clear(engine: str, handler: type) -> Iterator[socket.socket]:
    with (
        serving(server_class(engine)(HERE, handler)) as server,
        call(server.server_address) as peer,
    ):
        yield peer


def test_frames_come_and_go_whole_however_large(connected: Connected) -> None:
    class Echo(FramedRequestHandler):
        def handle(self) -> None:
            while (frame := self.read_frame()) != b"bye":
                self.write_frame(frame)

    prefix = LengthPrefix(4)
    sent = [b"", b"hello", LARGE, b"\n"]
    with connected(Echo) as peer:
        for frame in sent:
            peer.sendall(prefix.pack(len(frame)) + frame)
            expected = prefix.pack(len(frame)) + frame
            received = b""
            while len(received) < len(expected):
                received += peer.recv(65_536)
            assert received == expected
        peer.sendall(prefix.pack(3) + b"bye")
        assert everything(peer) == b""


def test_frames_that_come_in_one_packet_are_taken_one_by_one(connected: Connected) -> None:
    class Count(FramedRequestHandler):
        frame_prefix = VarintPrefix()

        def handle(self) -> None:
            while frame := self.read_frame():
                self.wfile.write(frame + b"\n")

    with connected(Count) as peer:
        peer.sendall(b"\x01a\x02bc\x00")
        assert everything(peer) == b"a\nbc\n"


def test_reading_the_file_and_reading_frames_take_turns(connected: Connected) -> None:
    class Mixed(FramedRequestHandler):
        def handle(self) -> None:
            parts = [
                self.rfile.readline(),
                self.read_frame(prefix=LengthPrefix(2, "little")),
                self.rfile.read(3),
                self.read_until(b"\r\n\r\n"),
                next(self.rfile),
                self.read_line(),
                self.rfile.peek(1)[:1],
                self.read_text_line(),
                self.read_exactly(2),
                self.rfile.read1(),
            ]
            self.wfile.write(repr(parts).encode())

    with connected(Mixed) as peer:
        peer.sendall(b"first\n\3\0two345head\r\nmore\r\n\r\nnext\nline\r\ntext\n01.")
        assert everything(peer).decode() == repr(
            [
                b"first\n",
                b"two",
                b"345",
                b"head\r\nmore",
                b"next\n",
                b"line",
                b"t",
                "text",
                b"01",
                b".",
            ]
        )


def test_a_deadline_is_for_the_whole_frame_and_a_late_frame_is_not_lost(
    connected: Connected,
) -> None:
    class Patient(FramedRequestHandler):
        timeout = PATIENCE

        def handle(self) -> None:
            try:
                self.read_frame(timeout=0.1)
            except TimeoutError as error:
                self.wfile.write(f"{error}\n".encode())
            self.wfile.write(b"%s\n" % self.read_frame(timeout=PATIENCE))
            self.wfile.write(f"{self.connection.gettimeout()}\n".encode())

    with connected(Patient) as peer:
        peer.sendall(b"\0\0\0\4ha")
        assert read_line(peer) == b"no whole frame came within 0.1 s\n"
        peer.sendall(b"lf")
        assert read_line(peer) == b"half\n"
        assert read_line(peer) == f"{PATIENCE}\n".encode()


def test_a_client_that_drips_gains_no_time(connected: Connected) -> None:
    class Strict(FramedRequestHandler):
        def handle(self) -> None:
            try:
                self.read_line(timeout=0.2)
                self.wfile.write(b"a whole line\n")
            except TimeoutError:
                self.wfile.write(b"too late\n")
                self.read_line()

    with connected(Strict) as peer:
        peer.settimeout(0.02)
        for _ in drip(peer, b"x" * 500 + b"\n"):
            try:
                answer = peer.recv(100)
                break
            except TimeoutError:
                continue
        peer.sendall(b"\n")
        assert answer == b"too late\n"


def test_a_frame_over_its_limit_is_refused_before_it_comes(connected: Connected) -> None:
    class Bounded(FramedRequestHandler):
        max_frame = 1000
        max_line = 5

        def handle(self) -> None:
            for read in (self.read_frame, lambda: self.read_exactly(1001), self.read_line):
                try:
                    read()
                except FrameTooLong as error:
                    self.wfile.write(f"{error}\n".encode())
            self.wfile.write(b"%s\n" % self.read_exactly(1002, limit=1002)[:4])

    with connected(Bounded) as peer:
        peer.sendall(b"\xff\0\0\0")
        assert read_line(peer) == b"a frame of 4278190080 bytes is longer than 1000 bytes\n"
        assert read_line(peer) == b"a frame of 1001 bytes is longer than 1000 bytes\n"
        peer.sendall(b"ab")
        assert read_line(peer) == b"a line is longer than 5 bytes\n"
        peer.sendall(bytes(996))
        assert read_line(peer) == b"\xff\0\0\0\n"


def test_text_is_never_cut_in_the_middle_of_a_character(connected: Connected) -> None:
    class Listen(FramedRequestHandler):
        def handle(self) -> None:
            while (text := self.read_text()) != ".":
                self.wfile.write(f"{text}\n".encode())

    with connected(Listen) as peer:
        euro = "€".encode()
        peer.sendall(b"1" + euro[:2])
        assert read_line(peer) == b"1\n"
        peer.sendall(euro[2:])
        assert read_line(peer) == euro + b"\n"
        peer.sendall(b".")
        assert everything(peer) == b""


def test_a_line_that_is_no_text_is_told_and_the_next_one_is_read(connected: Connected) -> None:
    class Texts(FramedRequestHandler):
        def handle(self) -> None:
            try:
                self.read_text_line()
            except UndecodableText as error:
                self.wfile.write(f"{error}: {error.data!r}\n".encode())
            self.wfile.write(f"{self.read_text_line()}\n".encode())

    with connected(Texts) as peer:
        peer.sendall("zw\udcf6lf\nzwölf\n".encode(errors="surrogateescape"))
        assert (
            read_line(peer) == b"no utf-8: the byte 0xf6 at position 2 does not fit: b'zw\\xf6lf'\n"
        )
        assert read_line(peer) == "zwölf\n".encode()


def test_the_encoding_and_what_becomes_of_errors_are_the_handlers(engine: str) -> None:
    class Latin(FramedRequestHandler):
        encoding = "ascii"
        encoding_errors = "replace"

        def handle(self) -> None:
            self.wfile.write(f"{self.read_text_line()}\n{self.read_text()}\n".encode())

    with in_clear(engine, Latin) as peer:
        assert finished(peer, b"\xf6\n\xf6") == ["\N{REPLACEMENT CHARACTER}".encode()] * 2


def test_the_end_is_none_and_in_the_middle_of_a_frame_an_error_that_has_it(engine: str) -> None:
    class Ends(FramedRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%s\n" % self.read_line())
            for read in (self.read_line, self.read_frame, lambda: self.read_exactly(5)):
                try:
                    read()
                except IncompleteFrame as error:
                    self.wfile.write(b"%s\n" % error.partial)
            self.wfile.write(b"%s\n" % self.rfile.read())
            ends = [self.read_line(), self.read_frame(), self.read_text_line(), self.read_text()]
            self.wfile.write(repr(ends).encode())

    with in_clear(engine, Ends) as peer:
        assert finished(peer, b"\nhal") == [b"", *[b"hal"] * 4, b"[None, None, None, None]"]


def test_half_a_character_at_the_end_is_told_once(engine: str) -> None:
    class Ends(FramedRequestHandler):
        def handle(self) -> None:
            try:
                self.read_text()
            except UndecodableText as error:
                self.wfile.write(b"%s\n" % error.data)
            self.wfile.write(b"%r\n" % self.read_text())

    with in_clear(engine, Ends) as peer:
        assert finished(peer, b"\xe2\x82") == [b"\xe2\x82", b"None"]


def test_a_frame_that_its_prefix_cannot_tell_is_not_sent(engine: str) -> None:
    class Wide(FramedRequestHandler):
        frame_prefix = LengthPrefix(1)

        def handle(self) -> None:
            try:
                self.write_frame(bytes(256))
            except FrameTooLong as error:
                self.write_frame(str(error).encode())
            self.write_frame(memoryview(b"0123")[::1])

    with in_clear(engine, Wide) as peer:
        text = b"for a prefix of 1 bytes, a frame of 256 bytes is longer than 255 bytes"
        assert everything(peer) == bytes([len(text)]) + text + b"\x040123"


def test_a_buffered_wfile_gets_frames_in_their_order(engine: str) -> None:
    class Buffered(FramedRequestHandler):
        wbufsize = -1

        def handle(self) -> None:
            self.wfile.write(b"head")
            self.write_frame(b"frame", prefix=LengthPrefix(1))

    with in_clear(engine, Buffered) as peer:
        assert everything(peer) == b"head\x05frame"


# A forked handler would have inherited the peer's own socket, whose close then closes nothing.
@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_client_that_resets_is_an_oserror(engine: str) -> None:
    class Failing(FramedRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"go\n")
            try:
                self.read_line()
            except OSError as error:
                caught.append(error)

    caught: list[OSError] = []
    with in_clear(engine, Failing) as peer:
        peer.sendall(b"half a line")
        read_line(peer)
        reset(peer)
        wait_until(lambda: caught)
    assert isinstance(caught[0], ConnectionResetError)


def test_it_is_public() -> None:
    assert manyhands.FramedRequestHandler is FramedRequestHandler
    assert "FramedRequestHandler" in manyhands.__all__
