"""What a handler sets on its connection to limit a wait in the kernel holds on each engine (socket(7))."""

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import BaseRequestHandler, TCPServer
from tests.support import ENGINES, call, serving
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

TIME = 0.1
"""Seconds that the calls of these tests wait."""

SHORT = struct.pack("@ll", 0, 100_000)
"""The same as a struct timeval."""


def receive_timeout(sock: Any, value: bytes = SHORT) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


def took_its_time(began: float) -> bool:
    return TIME * 0.9 <= time.monotonic() - began < 20 * TIME


def recv(sock: Any) -> object:
    receive_timeout(sock)
    began = time.monotonic()
    try:
        return sock.recv(10)
    except BlockingIOError as error:
        return error.errno, took_its_time(began)


def recv_into(sock: Any) -> object:
    receive_timeout(sock)
    began = time.monotonic()
    try:
        return sock.recv_into(bytearray(10))
    except BlockingIOError as error:
        return error.errno, took_its_time(began)


def recvfrom(sock: Any) -> object:
    receive_timeout(sock)
    began = time.monotonic()
    try:
        return sock.recvfrom(10)
    except BlockingIOError as error:
        return error.errno, took_its_time(began)


def read_file(sock: Any) -> object:
    file = sock.makefile("rb", 0)
    receive_timeout(sock)
    began = time.monotonic()
    return file.read(10), took_its_time(began)


def wait_for_all(sock: Any) -> object:
    receive_timeout(sock)
    sock.sendall(b"go")
    began = time.monotonic()
    return sock.recv(10, socket.MSG_WAITALL), took_its_time(began)


def no_limit_any_more(sock: Any) -> object:
    receive_timeout(sock)
    receive_timeout(sock, bytes(16))
    sock.sendall(b"go")
    return sock.recv(10)


def python_s_timeout_is_first(sock: Any) -> object:
    receive_timeout(sock, struct.pack("@ll", 60, 0))
    sock.settimeout(TIME)
    began = time.monotonic()
    try:
        return sock.recv(10)
    except TimeoutError:
        return "TimeoutError", took_its_time(began)


def send(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORT)
    began = time.monotonic()
    try:
        while True:
            sock.send(bytes(1_000_000))
    except BlockingIOError as error:
        return error.errno, time.monotonic() - began > TIME * 0.9


def sendall(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORT)
    try:
        sock.sendall(bytes(20_000_000))
    except BlockingIOError as error:
        return error.errno


def low_water(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 6)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 6
    sock.sendall(b"in two")
    return sock.recv(100), sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def low_water_and_the_end(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100)
    sock.sendall(b"end")
    return sock.recv(100), sock.recv(100)


def low_water_and_a_timeout(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100)
    receive_timeout(sock)
    sock.sendall(b"one")
    return sock.recv(100)


def low_water_and_a_timeout_of_python_s(sock: Any) -> object:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 6)
    sock.settimeout(5)
    sock.sendall(b"in two")
    return sock.recv(100)


CASES: list[Callable[[Any], object]] = [
    recv, recv_into, recvfrom, read_file, wait_for_all, no_limit_any_more, python_s_timeout_is_first,
    send, sendall, low_water, low_water_and_the_end, low_water_and_a_timeout,
    low_water_and_a_timeout_of_python_s,
]  # fmt: skip


ASKING = {
    wait_for_all, no_limit_any_more, low_water, low_water_and_the_end, low_water_and_a_timeout,
    low_water_and_a_timeout_of_python_s,
}  # fmt: skip
"""Those that want an answer of the peer."""

# Of a piece below the mark the kernel wakes no thread that waits in `recv`, though it may have the rest.
ANSWERS = {
    b"go": (b"go",),
    b"one": (b"xyz",),
    b"in two": (b"abc", b"the rest"),
    b"end": (b"last", b""),
}


def answer(peer: socket.socket) -> None:
    """Answer as the handler asks to be."""
    for part in ANSWERS.get(peer.recv(100), ()):
        if not part:
            peer.shutdown(socket.SHUT_WR)
            return
        peer.sendall(part)
        time.sleep(TIME / 2)  # a receive that does not wait for the rest has returned by then


def told_by(engine: str, case: Callable[[Any], object]) -> str:
    telling, told = socket.socketpair()

    class Server(TCPServer):
        pass

    Server.engine = engine

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            telling.sendall(str(case(self.request)).encode())

    with telling, told, serving(Server(HERE, Handler)) as server:
        told.settimeout(PATIENCE)
        with call(server.server_address) as peer:
            if case in ASKING:
                answer(peer)
            return told.recv(1000).decode()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "threads"])
def test_the_kernel_s_limits_hold(engine: str, case: Callable[[Any], object]) -> None:
    assert told_by(engine, case) == told_by("threads", case)


def test_a_listener_hands_its_limits_on(engine: str) -> None:
    class Server(TCPServer):
        def server_bind(self) -> None:
            receive_timeout(self.socket)
            super().server_bind()

    Server.engine = engine

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            try:
                self.request.recv(10)
            except BlockingIOError:
                self.request.sendall(b"EAGAIN")

    with serving(Server(HERE, Handler)) as server, call(server.server_address) as peer:
        assert peer.recv(10) == b"EAGAIN"
