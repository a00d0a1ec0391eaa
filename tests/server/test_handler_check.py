"""What can serve as a handler, and what is said of what cannot."""

import functools
import os
import socketserver as standard
from typing import Any

import pytest

from manyhands import (
    BaseRequestHandler,
    DatagramRequestHandler,
    Server,
    StreamRequestHandler,
    socketserver,
)
from manyhands.model.usage_errors import Mistake
from tests.support import ask, bound

STREAM, DATAGRAM = "tcp://127.0.0.1:0", "udp://127.0.0.1:0"


class Echo(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


class Shout(DatagramRequestHandler):
    pass


class WithState(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.greeting)  # type: ignore[attr-defined]


class Meta(type):
    """A metaclass with a constructor of its own, as registries of plugins have it."""

    def __call__(cls, *arguments: Any, **more: Any) -> Any:
        return super().__call__(*arguments, **more)


class Registered(Echo, metaclass=Meta):
    pass


class Callable:
    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))


class Factory:
    def serve(self, request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))

    @staticmethod
    def serve_statically(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))


class NeedsMore(StreamRequestHandler):
    def __init__(self, request: Any, client_address: Any, server: Any, database: Any) -> None:
        pass


class NeedsLess:
    def __init__(self, request: Any) -> None:
        pass


class WithStrangeSignature:
    __signature__ = "nothing that a signature can be"

    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))


async def coroutine(request: Any, client_address: Any, server: Any) -> None:
    pass


def generator(request: Any, client_address: Any, server: Any) -> Any:
    yield


async def async_generator(request: Any, client_address: Any, server: Any) -> Any:
    yield


class Async(StreamRequestHandler):
    async def handle(self) -> None:  # type: ignore[override]
        pass


class AsyncCallable:
    async def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        pass


class AsyncSetup(StreamRequestHandler):
    async def setup(self) -> None:  # type: ignore[override]
        pass


class Computing(type):
    """A metaclass that computes attributes, and knows few."""

    def __getattr__(cls, name: str) -> Any:
        raise KeyError(name)


class Computed(metaclass=Computing):
    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))


@pytest.mark.parametrize(
    "handler",
    [
        Echo,
        Computed,
        Registered,
        Callable(),
        Factory().serve,
        Factory.serve_statically,
        functools.partial(Echo),
        functools.partial(functools.partial(WithState), greeting=b"hello\n"),
        lambda request, *_: request.sendall(request.recv(100)),
        WithStrangeSignature(),
    ],
)
def test_whatever_can_be_called_with_a_request_serves(handler: Any) -> None:
    with Server(handler, STREAM) as server:
        assert ask(bound(server)) == b"hello\n"


WANTED = (
    "it must be a class derived from BaseRequestHandler, or callable with "
    "(request, client_address, server)"
)
NEVER = "is `async`, and would never run: handlers are plain, blocking code"


@pytest.mark.parametrize(
    ("handler", "address", "sentence"),
    [
        (os, STREAM, f"the module os is no handler: {WANTED}"),
        ("Echo", STREAM, f"'Echo' is no handler: {WANTED}"),
        (None, STREAM, f"None is no handler: {WANTED}"),
        (NeedsMore, STREAM, f"NeedsMore is no handler: {WANTED}"),
        (NeedsLess, STREAM, f"NeedsLess is no handler: {WANTED}"),
        (Factory, STREAM, f"Factory is no handler: {WANTED}"),
        (Factory(), STREAM, f"an object of the class Factory is no handler: {WANTED}"),
        (Server, STREAM, f"Server is a server, not a handler: {WANTED}"),
        (
            socketserver.ThreadingTCPServer,
            STREAM,
            f"ThreadingTCPServer is a server, not a handler: {WANTED}",
        ),
        (
            standard.TCPServer,
            STREAM,
            f"TCPServer is a server, not a handler: {WANTED}",
        ),
        (Meta, STREAM, f"Meta is no handler: {WANTED}"),
        (
            functools.partial(Echo, 1, 2, 3),
            STREAM,
            f"functools.partial of Echo is no handler: {WANTED}",
        ),
        (coroutine, STREAM, f"coroutine {NEVER}"),
        (functools.partial(coroutine), STREAM, f"functools.partial of coroutine {NEVER}"),
        (async_generator, STREAM, f"async_generator {NEVER}"),
        (AsyncCallable(), STREAM, f"an object of the class AsyncCallable {NEVER}"),
        (Async, STREAM, f"Async.handle {NEVER}"),
        (AsyncSetup, STREAM, f"AsyncSetup.setup {NEVER}"),
        (generator, STREAM, "generator is a generator (it has a `yield`), and would never run"),
        (
            functools.partial(Shout),
            STREAM,
            f"functools.partial of Shout is a DatagramRequestHandler, which cannot serve {STREAM}",
        ),
        (Registered, DATAGRAM, f"Registered is a StreamRequestHandler, which cannot serve {DATAGRAM}"),
        (StreamRequestHandler, DATAGRAM, "StreamRequestHandler is a StreamRequestHandler, which cannot"),
    ],
)  # fmt: skip
def test_what_cannot_serve_is_one_sentence(handler: Any, address: str, sentence: str) -> None:
    with pytest.raises(Mistake) as caught:
        Server(handler, address)
    assert str(caught.value).startswith(sentence)


def test_a_base_handler_is_none_of_both_kinds_and_serves_either() -> None:
    Server(BaseRequestHandler, STREAM, DATAGRAM)
