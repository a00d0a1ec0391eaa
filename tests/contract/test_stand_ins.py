"""Unit tests give handlers stand-ins for connections: of one only what is needed is asked, and in order.

Each test runs on the standard library too, which says what is needed.
"""

import http.server
import io
import socketserver as standard
import ssl
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, Self
from unittest.mock import MagicMock, create_autospec, patch

import pytest

from manyhands import socketserver as ours

HERE = ("127.0.0.1", 0)
PEER = ("192.0.2.1", 4711)


class OnlyReadable:
    """A connection that has what `setup` asks for, and no more."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self.data)


class Refusing(OnlyReadable):
    def sendall(self, data: bytes) -> None:
        raise AssertionError(f"the stand-in's first sendall got {data!r}")


def test_a_handler_that_writes_nothing_needs_no_sendall(module: ModuleType) -> None:
    server = SimpleNamespace()

    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            self.server.got = self.rfile.readline()

    Handler(OnlyReadable(b"line\n"), PEER, server)
    assert server.got == b"line\n"


def test_a_handler_with_a_wfile_of_its_own_needs_no_sendall(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def setup(self) -> None:
            super().setup()
            self.wfile = io.BytesIO()

        def handle(self) -> None:
            self.wfile.write(b"answer")
            self.server.got = self.wfile.getvalue()

    server = SimpleNamespace()
    Handler(OnlyReadable(), PEER, server)
    assert server.got == b"answer"


def test_an_http_handler_needs_no_sendall(module: ModuleType) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def setup(self) -> None:
            module.StreamRequestHandler.setup(self)
            self.wfile = io.BytesIO()

        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()
            server.got = self.wfile.getvalue()

        def log_message(self, *_: object) -> None:
            pass

    server: Any = SimpleNamespace()
    Handler(OnlyReadable(b"GET / HTTP/1.0\r\n\r\n"), PEER, server)  # type: ignore[arg-type]  # a stand-in
    assert server.got.startswith(b"HTTP/1.0 204")


@pytest.mark.parametrize("replaced", ["sendall", "connection", "_sock"])
def test_a_write_goes_to_the_sendall_of_that_moment(module: ModuleType, replaced: str) -> None:
    sent: list[bytes] = []

    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            if replaced == "sendall":
                self.connection.sendall = sent.append
            elif replaced == "connection":
                type(self.connection).sendall = lambda _, data: sent.append(data)
            else:
                self.wfile._sock = SimpleNamespace(sendall=sent.append)
            self.wfile.write(b"to the second")

    connection_class = type("Connection", (Refusing,), {})
    Handler(connection_class(), PEER, SimpleNamespace())
    assert sent == [b"to the second"]


def test_a_handler_may_be_made_without_its_constructor(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            self.server.got = self.rfile.readline()

    handler: Any = Handler.__new__(Handler)
    handler.request, handler.client_address, handler.server = (
        OnlyReadable(b"line\n"),
        PEER,
        SimpleNamespace(),
    )
    handler.setup()
    handler.handle()
    handler.finish()
    assert handler.server.got == b"line\n"


def test_a_mock_may_stand_in_the_place_of_the_handler(module: ModuleType) -> None:
    handler = MagicMock(timeout=3, disable_nagle_algorithm=True, wbufsize=0, rbufsize=7)
    module.StreamRequestHandler.setup(handler)
    connection = handler.request
    assert [call[0] for call in connection.method_calls] == ["settimeout", "setsockopt", "makefile"]
    assert handler.rfile is connection.makefile.return_value
    handler.wfile.write(b"sent")
    connection.sendall.assert_called_once_with(b"sent")


def test_a_handler_that_has_an_answer_to_every_name_is_asked_for_none(module: ModuleType) -> None:
    asked = []

    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def __getattr__(self, name: str) -> Any:
            if name in {"connection", "rfile", "wfile", "__dict__"}:
                raise AttributeError(name)
            asked.append(name)
            return getattr(self.request, name)

        def handle(self) -> None:
            self.wfile.write(b"answer")

    connection = MagicMock()
    Handler(connection, PEER, MagicMock())
    assert asked == []
    connection.sendall.assert_called_once_with(b"answer")


def test_a_datagram_s_pair_may_be_any_two(module: ModuleType) -> None:
    class Handler(module.DatagramRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            self.wfile.write(self.rfile.read().upper())

    socket = MagicMock()
    Handler((b"datagram", socket), PEER, MagicMock())
    assert [tuple(call) for call in socket.method_calls] == [("sendto", (b"DATAGRAM", PEER), {})]


def test_patched_hooks_of_a_handler_leave_the_request_alone(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            self.server.got = self.request

    server = SimpleNamespace()
    with patch.object(Handler, "setup"), patch.object(Handler, "finish"):
        Handler(None, None, server)
    assert server.got is None


def test_a_server_may_be_made_of_patched_hooks_or_a_patched_socket(module: ModuleType) -> None:
    with (
        patch.object(module.TCPServer, "server_bind"),
        patch.object(module.TCPServer, "server_activate"),
    ):
        server = module.TCPServer(PEER, None)
    assert server.server_address == PEER
    server.server_close()
    with patch("socket.socket") as made:
        server = module.TCPServer(PEER, None)
        server.server_close()
        calls = [call[0] for call in made.return_value.method_calls]
    assert [name for name in calls if name != "setsockopt"] == [
        "bind",
        "getsockname",
        "listen",
        "close",
    ]


def test_a_request_that_only_says_it_is_tls_is_ended_as_any_other(module: ModuleType) -> None:
    request = MagicMock(spec=ssl.SSLSocket)
    with module.TCPServer(HERE, None) as server:
        server.shutdown_request(request)
    assert [call[0] for call in request.method_calls] == ["shutdown", "close"]


@pytest.mark.parametrize("kind", standard.__all__)
def test_every_class_can_be_the_pattern_of_a_mock(module: ModuleType, kind: str) -> None:
    of = getattr(module, kind, None)
    assert of is not None
    create_autospec(of)
    MagicMock(spec=of, spec_set=of)


# What is asked of a connection is the same, and comes in the same order, as in the standard library.


class Recorder:
    """A stand-in that notes what is asked of it; its results note that too."""

    def __init__(self, trace: list[str], name: str, **results: Any) -> None:
        self.__dict__.update(_trace=trace, _name=name, _results=results)

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__")
        if name in {"__class__", "__dict__"} or name in vars(Recorder):
            return object.__getattribute__(self, name)  # what `isinstance` and `vars` look at
        own["_trace"].append(f"{own['_name']}.{name}")
        if name in own["_results"]:
            return own["_results"][name]
        return Recorder(own["_trace"], f"{own['_name']}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        object.__getattribute__(self, "_trace").append(f"{self._name}.{name} =")

    def __call__(self, *arguments: object) -> Any:
        own = object.__getattribute__(self, "__dict__")
        own["_trace"].append(f"{own['_name']}{arguments!r}")
        return own["_results"].get("returns", self)

    def __bool__(self) -> bool:
        return False  # such as `closed`

    def __iter__(self) -> Any:
        return iter((self, self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return "it"


def stream(module: ModuleType, **attributes: object) -> Callable[[Any], None]:
    def handle(self: Any) -> None:
        self.rfile.readline()
        self.wfile.write(b"one")
        self.wfile.write(bytearray(b"two"))

    handler = type("Handler", (module.StreamRequestHandler,), {**attributes, "handle": handle})
    return lambda request: handler(request, PEER, SimpleNamespace())


def failing(module: ModuleType) -> Callable[[Any], None]:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            raise KeyError("handle")

    def serve(request: Any) -> None:
        with pytest.raises(KeyError):
            Handler(request, PEER, SimpleNamespace())

    return serve


def datagram(module: ModuleType) -> Callable[[Any], None]:
    class Handler(module.DatagramRequestHandler):  # type: ignore[name-defined,misc]  # of either module
        def handle(self) -> None:
            self.wfile.write(self.rfile.read())

    return lambda request: Handler((b"packet", request), PEER, SimpleNamespace())


def hook(kind: str, name: str, *arguments: object) -> Callable[[ModuleType], Callable[[Any], None]]:
    def of(module: ModuleType) -> Callable[[Any], None]:
        def call(request: Any) -> None:
            handler = type("Handler", (module.StreamRequestHandler,), {})
            with getattr(module, kind)(HERE, handler, bind_and_activate=False) as server:
                getattr(server, name)(request, *arguments)
                if kind.startswith("Threading"):
                    server._threads.join()

        return call

    return of


DRIVERS: dict[str, Callable[[ModuleType], Callable[[Any], None]]] = {
    "stream": stream,
    "buffered": lambda module: stream(module, wbufsize=-1),
    "unbuffered reader": lambda module: stream(module, rbufsize=0),
    "timeout": lambda module: stream(module, timeout=3.0),
    "no delay": lambda module: stream(module, disable_nagle_algorithm=True),
    "failing": failing,
    "datagram": datagram,
    **{
        f"{kind}.{name}": hook(kind, name, *arguments)
        for kind in ("TCPServer", "ThreadingTCPServer", "UDPServer")
        for name, arguments in {
            "verify_request": (PEER,),
            "finish_request": (PEER,),
            "process_request": (PEER,),
            "shutdown_request": (),
            "close_request": (),
        }.items()
    },
}


def traced(module: ModuleType, driver: str) -> list[str]:
    trace: list[str] = []
    DRIVERS[driver](module)(Recorder(trace, "request"))
    return trace


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_asked_of_a_request_is_what_the_standard_library_asks(driver: str) -> None:
    assert traced(ours, driver) == traced(standard, driver)


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
@pytest.mark.parametrize("serve", ["_handle_request_noblock", "handle_request"])
def test_what_is_asked_of_an_accepted_request_is_what_the_standard_library_asks(
    kind: str, serve: str
) -> None:
    def served(module: ModuleType) -> list[str]:
        trace: list[str] = []

        class Server(getattr(module, kind)):  # type: ignore[misc]  # of either module
            def get_request(self) -> tuple[Any, Any]:
                return Recorder(trace, "request"), PEER

            def fileno(self) -> int:
                return writable.fileno()

        class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # of either module
            def handle(self) -> None:
                self.wfile.write(b"answer")

        with io.FileIO("/dev/zero") as writable, Server(HERE, Handler) as server:
            getattr(server, serve)()
        return trace

    assert served(ours) == served(standard)


def test_a_writer_keeps_nothing_of_its_connection_but_the_connection() -> None:
    connection = MagicMock()
    writer = ours._SocketWriter(connection)
    assert connection.mock_calls == []
    assert writer._sock is connection
