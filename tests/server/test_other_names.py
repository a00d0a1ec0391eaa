"""What a newcomer mistypes gets a sentence with the right word."""

import re
import socketserver as standard
import types
from abc import ABC, abstractmethod
from typing import Any

import pytest

from manyhands import (
    BaseRequestHandler,
    DatagramRequestHandler,
    Mistake,
    Server,
    StreamRequestHandler,
    events,
    logs,
    metrics,
)
from manyhands.config.options import SERVER_OPTIONS
from tests.support import ask, bound

HERE = "tcp://127.0.0.1:0"


class Echo(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


class Slip(StreamRequestHandler):
    def handel(self) -> None:
        pass


class Bare(BaseRequestHandler):
    pass


class BareDatagram(DatagramRequestHandler):
    greeting = b"hello"


class BareStandard(standard.StreamRequestHandler):
    pass


class Asks(StreamRequestHandler):
    def handle(self, request: Any) -> None:  # type: ignore[override]
        pass


class Hands(BaseRequestHandler):
    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        self.handle(request)

    def handle(self, request: Any) -> None:  # type: ignore[override]
        request.sendall(b"handed")


EXPECTED = (
    "it must be a class derived from BaseRequestHandler, or callable with "
    "(request, client_address, server)"
)

MODULE = types.ModuleType("shop")
MODULE.Echo = type("Echo", (StreamRequestHandler,), {"__module__": "shop"})  # type: ignore[attr-defined]

CALLS: dict[str, tuple[Any, str]] = {
    "a handle that asks for more": (
        lambda: Server(Asks, HERE),
        (
            "Asks.handle is called without arguments (missing a required argument: 'request'): the "
            "connection is self.request, and its client's address self.client_address"
        ),
    ),
    "workers by another word": (
        lambda: Server(Echo, HERE, max_workers=3),  # type: ignore[call-arg]
        (
            "'max_workers' is no option of Server: max_threads, max_children or max_fibers bounds "
            "those of the engine"
        ),
    ),
    "a form of the log that is none": (
        lambda: logs.to_stderr("xml"),  # type: ignore[arg-type]
        "a log is written as 'text' or 'json', not as 'xml'",
    ),
    "a logger that is no name": (
        lambda: logs.to_logging(3),  # type: ignore[arg-type]
        "to_logging() takes the name of a logger, not 3",
    ),
    "another scheme": (
        lambda: Server(Echo, "https://127.0.0.1:0"),
        (
            "'https://127.0.0.1:0' is not an address: the schemes are tcp, tls, udp, unix, unix-datagram, "
            "fd, tls+fd, systemd, tls+systemd; HTTPS is spoken over tls://"
        ),
    ),
    "the order of socketserver": (
        lambda: Server(("127.0.0.1", 8008), Echo),  # type: ignore[arg-type]
        "the handler comes first, and its addresses after it: Server(Echo, 'tcp://127.0.0.1:8008')",
    ),
    "that order, with a text": (
        lambda: Server(HERE, Echo),  # type: ignore[arg-type]
        "the handler comes first, and its addresses after it: Server(Echo, 'tcp://127.0.0.1:0')",
    ),
    "host, port and handler": (
        lambda: Server("localhost", 8008, Echo),  # type: ignore[arg-type]
        "the handler comes first, and its addresses after it: Server(Echo, 'tcp://127.0.0.1:8008')",
    ),
    "a host and a port": (
        lambda: Server(Echo, "localhost", 8008),  # type: ignore[arg-type]
        "an address is one argument: write 'tcp://localhost:8008', or the pair ('localhost', 8008)",
    ),
    "a list of addresses": (
        lambda: Server(Echo, [HERE]),  # type: ignore[arg-type]
        "addresses are arguments of their own: write Server(handler, *addresses)",
    ),
    "keywords of an address": (
        lambda: Server(Echo, host="127.0.0.1", port=8008),  # type: ignore[call-arg]
        "'host' is no option of Server: an address is a text, as in Server(Echo, 'tcp://127.0.0.1:8008')",
    ),
    "a keyword of socketserver": (
        lambda: Server(Echo, HERE, bind_and_activate=False),  # type: ignore[call-arg]
        (
            "'bind_and_activate' is no option of Server: listen() binds, and run() and start() call it: "
            "there is nothing to leave out"
        ),
    ),
    "an option with a slip": (
        lambda: Server(Echo, HERE, max_conections=3),  # type: ignore[call-arg]
        (
            f"'max_conections' is no option of Server; these are: {', '.join(SERVER_OPTIONS)}; did you mean "
            "max_connections?"
        ),
    ),
    "a handler with a slip": (
        lambda: Server(Slip, HERE),
        "Slip has no `handle`, which is what serves a client: did you mean that by handel?",
    ),
    "a handler without handle": (
        lambda: Server(Bare, HERE),
        "Bare has no `handle`, which is what serves a client",
    ),
    "one for datagrams": (
        lambda: Server(BareDatagram, "udp://127.0.0.1:0"),
        "BareDatagram has no `handle`, which is what serves a client",
    ),
    "one of the standard library's": (
        lambda: Server(BareStandard, HERE),
        "BareStandard has no `handle`, which is what serves a client",
    ),
    "a handler's object": (
        lambda: Server(Echo.__new__(Echo), HERE),  # type: ignore[arg-type]
        (
            f"an object of the class Echo is no handler: {EXPECTED}; give the class Echo itself, and the "
            "server makes the objects"
        ),
    ),
    "a module": (
        lambda: Server(MODULE, HERE),  # type: ignore[arg-type]
        f"the module shop is no handler: {EXPECTED}, as shop.Echo is",
    ),
    "a handler's name": (
        lambda: Server("shop:Echo", HERE),  # type: ignore[arg-type]
        f"'shop:Echo' is no handler: {EXPECTED}; a name is for `manyhands serve shop:Echo`",
    ),
    "a number that subscribes": (
        lambda: events.hub.subscribe(3),  # type: ignore[arg-type]
        "3 cannot be called with events: subscribe(print) would print each",
    ),
    "an event that subscribes": (
        lambda: events.hub.subscribe(events.ConnectionClosed),
        "the subscriber comes first, and then what it wants: subscribe(print, events.ConnectionClosed)",
    ),
    "an event by its name": (
        lambda: events.hub.subscribe(print, "ConnectionClosed"),  # type: ignore[arg-type]
        "'ConnectionClosed' is no class of events: subscribe(print, events.ConnectionClosed) names one",
    ),
    "a port that is a text": (
        lambda: Server(Echo, ("127.0.0.1", "8008")),  # type: ignore[arg-type]
        (
            "('127.0.0.1', '8008') is not an address: the host must be a text and the port a number, as in "
            "('127.0.0.1', 8008)"
        ),
    ),
    "a host of bytes": (
        lambda: Server(Echo, (b"127.0.0.1", 8008)),  # type: ignore[arg-type]
        (
            "(b'127.0.0.1', 8008) is not an address: the host must be a text and the port a number, as in "
            "('127.0.0.1', 8008)"
        ),
    ),
    "a run on an address": (
        lambda: Server(Echo, HERE).run(8008),  # type: ignore[arg-type]
        (
            "run() takes what is called when the server listens, not 8008: an address is the "
            "constructor's"
        ),
    ),
    "metrics on a number": (
        lambda: metrics.serve(Server(Echo, HERE), 9108),  # type: ignore[arg-type]
        "9108 is not an address: write '127.0.0.1:9108'",
    ),
    "metrics on a pair": (
        lambda: metrics.serve(Server(Echo, HERE), ("127.0.0.1", 9108)),  # type: ignore[arg-type]
        "('127.0.0.1', 9108) is not an address: write '127.0.0.1:9108'",
    ),
    "metrics of an address": (
        lambda: metrics.serve("127.0.0.1:9108", Server(Echo, HERE)),  # type: ignore[arg-type]
        "'127.0.0.1:9108' is no server: the server comes first, metrics.serve(server, '127.0.0.1:9108')",
    ),
}


@pytest.mark.parametrize(("call", "sentence"), CALLS.values(), ids=list(CALLS))
def test_a_call_with_a_slip_gets_a_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(Mistake) as mistake:
        call()
    assert str(mistake.value) == sentence


NAMES = {
    "serve_forever": "run() serves until it is told to stop, start() does so in a thread of its own",
    "shutdown": "stop() asks for the end, close() waits for it",
    "server_close": "close() stops, drains, and gives everything back",
    "server_address": "`addresses` has each one, with its port, when the server listens",
    "handle_request": "run() or start() serve every request",
    "verify_request": "is a hook of the classes of manyhands.socketserver",
    "stopp": "did you mean stop?",
    "max_conections": "did you mean max_connections?",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_a_server_does_not_have_gets_the_right_one(name: str) -> None:
    server = Server(Echo, HERE)
    assert not hasattr(server, name)
    with pytest.raises(AttributeError) as error:
        getattr(server, name)
    assert str(error.value).startswith(f"'Server' object has no attribute {name!r}: ")
    assert NAMES[name] in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_so_does_one_that_is_asked_of_the_class(name: str) -> None:
    assert not hasattr(Server, name)
    with pytest.raises(AttributeError) as error:
        getattr(Server, name)
    assert str(error.value).startswith(f"type object 'Server' has no attribute {name!r}: ")
    assert NAMES[name] in str(error.value)


@pytest.mark.parametrize("value", [3.0, "fibers"], ids=["idle_timeout", "engine"])
def test_an_option_cannot_be_an_attribute_of_the_class(value: object) -> None:
    name = "engine" if isinstance(value, str) else "idle_timeout"
    told = f"{name} = {value!r} would set nothing: options are the constructor's, as in "
    with pytest.raises(Mistake, match=re.escape(f"Shop.{told}Shop(handler, address, {name}=")):
        type(Server)("Shop", (Server,), {name: value})
    with pytest.raises(Mistake, match=re.escape(f"Server.{told}Server(handler, address, {name}=")):
        setattr(Server, name, value)
    with pytest.raises(Mistake, match=r"did you mean idle_timeout\?"):
        Server.idle_timout = value
    assert Server(Echo, HERE).idle_timeout == SERVER_OPTIONS["idle_timeout"].default


def test_a_class_of_the_programs_may_be_abstract_and_override_what_a_server_has() -> None:
    class Shop(Server, ABC):
        idle_timeout = property(lambda self: 7.0)  # type: ignore[assignment]

        @abstractmethod
        def open(self) -> None: ...

    class Open(Shop):
        def open(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Shop(Echo, HERE)
    assert Open(Echo, HERE).idle_timeout == 7.0


@pytest.mark.parametrize("name", ["database", "_private", "__wrapped__"])
def test_a_name_that_is_like_no_other_is_just_missing(name: str) -> None:
    with pytest.raises(AttributeError) as error:
        getattr(Server(Echo, HERE), name)
    assert str(error.value) == f"'Server' object has no attribute {name!r}"


SLIPS = {"idle_timout": "idle_timeout", "max_connection": "max_connections", "denny": "deny"}


@pytest.mark.parametrize("name", SLIPS)
def test_an_option_cannot_be_set_by_a_name_with_a_slip(name: str) -> None:
    server: Any = Server(Echo, HERE)
    with pytest.raises(
        Mistake, match=f"a server has no option {name}: did you mean {SLIPS[name]}?"
    ):
        setattr(server, name, 3)
    assert name not in vars(server)


def test_nor_can_a_handler_on_its_server() -> None:
    told: list[str] = []

    class Setting(StreamRequestHandler):
        def handle(self) -> None:
            try:
                self.server.idle_timout = 3  # type: ignore[attr-defined]
            except Mistake as mistake:
                told.append(str(mistake))

    with Server(Setting, HERE) as server:
        ask(bound(server))
    assert told == [
        (
            "a server has no option idle_timout: did you mean idle_timeout? (An attribute of your own "
            "needs a name that is less like it.)"
        )
    ]


def test_a_programs_own_attributes_are_its_own() -> None:
    class Shop(Server):
        stock = 3

    server: Any = Shop(Echo, HERE)
    server.database, server.stock, server.idle_timeout = "db", 4, 5.0
    assert (server.database, server.stock, server.idle_timeout) == ("db", 4, 5.0)


@pytest.mark.parametrize("step", ["__init__", "setup", "handle", "finish"])
def test_a_handler_may_do_its_work_in_any_step(step: str) -> None:
    kind = type("Early", (StreamRequestHandler,), {step: lambda self, *_: None})
    Server(type("Late", (kind,), {}), HERE)


def test_a_constructor_may_call_handle_as_it_likes() -> None:
    with Server(Hands, HERE) as server:
        address = server.addresses[0]
        assert ask((address.host, address.port)) == b"handed"
