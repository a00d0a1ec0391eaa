"""What a server does for each request, with no option set, counted in calls: no machine changes these."""

import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from manyhands import socketserver
from manyhands.serving.core import core_of

HERE = ("127.0.0.1", 0)


def answer(request: Any, client_address: Any, server: Any) -> None:
    request[1].sendto(request[0], client_address)


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls, of Python's functions and of C's, that this thread makes in a function."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    function()  # the first time more is done
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def ask(server: Any, peer: socket.socket, serve: Callable[[], object]) -> None:
    peer.sendto(b"datagram", server.server_address)
    serve()
    peer.recv(100)


def test_a_loop_of_handle_request_takes_few_steps_for_each_datagram() -> None:
    with (
        socketserver.UDPServer(HERE, answer) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        assert calls_of(lambda: ask(server, peer, server.handle_request)) < 170


def test_a_sequential_server_does_its_regular_work_after_each_request() -> None:
    turns: list[int] = []
    served: list[bytes] = []

    class Server(socketserver.UDPServer):
        def service_actions(self) -> None:
            turns.append(len(served))

    def handler(request: Any, client_address: Any, server: Any) -> None:
        served.append(request[0])
        if request[0] == b"last":
            threading.Thread(target=server.shutdown).start()

    with Server(HERE, handler) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for word in (b"first", b"second", b"last"):
            peer.sendto(word, server.server_address)
        server.serve_forever()
    assert served == [b"first", b"second", b"last"]
    assert turns[:3] == [1, 2, 3]


def test_who_waits_for_a_sequential_handler_hears_of_its_end() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        begun.set()
        may_end.wait(20)

    with (
        socketserver.UDPServer(HERE, handler) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.sendto(b"datagram", server.server_address)
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        assert begun.wait(20)
        engine = core_of(server).engines.of(server)
        assert not engine.join(0.01)
        threading.Timer(0.02, may_end.set).start()
        assert engine.join(20)
        serving.join(20)
