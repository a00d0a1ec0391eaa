"""A mistake in an access rule lets no client in: refused at the start, it closes a server that runs."""

import contextlib
import ipaddress
import socket
import socketserver as standard
import threading
import warnings
from collections import UserString, deque
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from manyhands import Mistake, Server, events, socketserver
from manyhands.model.connection_states import Reason
from tests.support import Echo, ask, bound, call, serving, wait_until
from tests.support.waiting import PATIENCE

from .admission_kit import HERE, of_kind, server_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Entries:
    """Hands out entries, and has nothing else of a list."""

    def __init__(self, *entries: str) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


class Written:
    """A network of another library: it is written as one."""

    def __init__(self, network: str) -> None:
        self._network = network

    def __str__(self) -> str:
        return self._network


class Broken:
    """An object of the program's own, which can neither be written nor looked into."""

    def __str__(self) -> str:
        raise ValueError("not now")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not now")


_in_itself: list[object] = []
_in_itself.append(_in_itself)

SLIPS = {
    "host bits": ("127.0.0.1/8", "the address has bits set"),
    "one bad entry of several": (["127.0.0.0/8", "10.0.0.0/33"], "'10.0.0.0/33' is not a network"),
    "one bad entry in a text": ("192.0.2.1, 10.0.0.0/33", "'10.0.0.0/33' is not a network"),
    "a host's name": ("localhost", "'localhost' is not a network"),
    "a pattern": (("10.0.0.*",), "'10.0.0.*' is not a network"),
    "no text": ("", "'' is not a network"),
    "bytes": (b"10.0.0.0/8", "is not a list of networks"),
    "a set": ({"10.0.0.0/8"}, "is not a list of networks"),
    "a dict": ({"10.0.0.0/8": "office"}, "is not a list of networks"),
    "a network": (ipaddress.ip_network("10.0.0.0/8"), "is not a list of networks"),
    "networks": ([ipaddress.ip_network("10.0.0.0/8")], "is not a network: networks are texts"),
    "a number among networks": (["10.0.0.0/8", 5], "5 is not a network"),
    "a variable that is not set": ([None], "None is not a network"),
    "a list in a list": ([["10.0.0.0/8"]], "['10.0.0.0/8'] is not a network"),
    "the keys of a dict": ({"10.0.0.0/8": "office"}.keys(), "is not a list of networks"),
    "another list": (deque(["10.0.0.0/8"]), "is not a list of networks"),
    "the items of a dict": ({"10.0.0.0/8": "office"}.items(), "is not a list of networks"),
    "another dict": (MappingProxyType({"10.0.0.0/8": "office"}), "is not a list of networks"),
    "an iterator of a list": (iter(["10.0.0.0/8"]), "is not a list of networks"),
    "an iterator of several": (chain(["10.0.0.0/8"]), "is not a list of networks"),
    "pairs of an iterator": (zip(["10.0.0.0/8"], strict=True), "is not a list of networks"),
    "a view of bytes": (memoryview(b"10.0.0.0/8"), "is not a list of networks"),
    "another text": (UserString("10.0.0.0/8"), "is not a list of networks"),
    "a path": (Path("/etc/denied"), "is not a list of networks"),
    "a class of the program's own": (Entries("10.0.0.0/8"), "is not a list of networks"),
    "a network of another library": (Written("10.0.0.0/8"), "is not a list of networks"),
    "such networks": ([Written("10.0.0.0/8")], "is not a network: networks are texts"),
    "a set in a list": ([{"10.0.0.0/8"}], "is not a network"),
    "a generator": ((text for text in ("10.0.0.0/8",)), "is not a list of networks"),
}
slip = pytest.mark.parametrize(("value", "sentence"), SLIPS.values(), ids=list(SLIPS))


@slip
@pytest.mark.parametrize("name", ["allow", "deny"])
def test_the_constructor_refuses_it(name: str, value: object, sentence: str) -> None:
    kind = type("Program", (socketserver.ThreadingTCPServer,), {name: value})
    with pytest.raises(Mistake) as raised:
        kind(HERE, Echo)
    assert str(raised.value).startswith(f"Program.{name}: ")
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [True, 5, [], {"alice": 1}, [("GET", "/")], len, IPv4Network, object(), Broken(), _in_itself],
    ids=[
        *("a switch", "a number", "an empty list", "a dict", "pairs", "a function", "a class"),
        *("an object", "one that raises", "a list of itself"),
    ],
)
def test_what_is_the_program_s_own_by_that_name_is_left_alone(value: object) -> None:
    with serving(server_of("threads", Echo, deny=value)) as server:
        assert ask(server.server_address) == b"hello\n"


@pytest.mark.parametrize("value", [[], (), 5, True, {}, object()], ids=repr)
def test_a_rule_that_held_becomes_no_attribute_of_the_program_s_own(value: object) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with serving(server_of("threads", Echo, allow=["127.0.0.0/8"]), 0.01) as server:
            assert ask(server.server_address) == b"hello\n"
            server.allow = value
            wait_until(lambda: is_closed_to(server.server_address))
            assert is_told(caught, "is not a list of networks, one at least")
            server.allow = None
            wait_until(lambda: ask_or_be_reset(server.server_address) == b"hello\n")


def test_a_list_of_nobody_is_refused_and_one_that_is_emptied_lets_nobody_in() -> None:
    with pytest.raises(Mistake, match="allow must be a list of networks, one at least"):
        Server(Echo, "tcp://127.0.0.1:0", allow=[])
    allowed, denied = ["127.0.0.0/8"], ["192.0.2.1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Server(Echo, "tcp://127.0.0.1:0", allow=allowed, deny=denied) as server:
            denied.clear()
            assert ask(bound(server)) == b"hello\n"
            allowed.clear()
            wait_until(lambda: is_closed_to(bound(server)))


@pytest.mark.parametrize("error", [AttributeError, FileNotFoundError, ValueError, KeyError])
def test_a_property_that_cannot_be_read_lets_no_client_in_until_it_can(
    error: type[Exception], engine: str
) -> None:
    class Program:
        is_there = False

        @property
        def allow(self) -> str:
            if not self.is_there:
                raise error("no list of friends")
            return "127.0.0.0/8"

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with serving(server_of(engine, Echo, Program), 0.01) as server:
            assert is_closed_to(server.server_address)
            server.is_there = True
            wait_until(lambda: ask_or_be_reset(server.server_address) == b"hello\n")
            # What was once read holds on.
            server.is_there = False
            if error is not AttributeError:
                assert ask(server.server_address) == b"hello\n"


def test_so_does_that_of_a_datagram_server() -> None:
    kind = type("Program", (socketserver.ThreadingUDPServer,), {"deny": "10.0.0.0/33"})
    with pytest.raises(Mistake, match=r"10\.0\.0\.0/33"):
        kind(HERE, socketserver.DatagramRequestHandler)


@slip
def test_what_is_set_before_it_serves_is_refused_when_it_does(value: object, sentence: str) -> None:
    with server_of("threads", Echo) as server:
        server.deny = value
        with pytest.raises(Mistake, match=r"ThreadingTCPServer\.deny: "):
            server.serve_forever()


def test_balancers_with_a_slip_are_refused_where_they_count() -> None:
    slips = {"proxy_trusted": "127.0.0.1/8"}
    server_of("threads", Echo, **slips).server_close()
    with pytest.raises(Mistake, match=r"ThreadingTCPServer\.proxy_trusted: '127\.0\.0\.1/8'"):
        server_of("threads", Echo, proxy_protocol=True, **slips)


def is_closed_to(address: Any) -> bool:
    """Call, speak and hear, and tell whether nothing came: a client that is refused may be reset."""
    with contextlib.suppress(ConnectionError):
        return ask(address) == b""
    return True


def ask_or_be_reset(address: Any) -> bytes:
    try:
        return ask(address)
    except ConnectionError:
        return b""


def is_told(caught: list[warnings.WarningMessage], sentence: str) -> bool:
    return any(sentence in str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [SLIPS[kind] for kind in ("host bits", "one bad entry of several", "a set", "a network")],
)
def test_one_that_is_made_while_it_serves_refuses_every_client_until_it_is_right(
    value: object, sentence: str, seen: list[events.Event]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with serving(server_of("threads", Echo), 0.01) as server:
            assert ask(server.server_address) == b"hello\n"
            server.deny = value
            wait_until(lambda: is_closed_to(server.server_address))
            assert is_told(caught, "no client is served")
            assert is_told(caught, sentence)
            server.deny = None
            wait_until(lambda: ask(server.server_address) == b"hello\n")
    assert of_kind(seen, events.ConnectionsRefused)


def test_a_handler_can_make_it_too(engine: str) -> None:
    class Closing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.server.allow = ["127.0.0.0/8", "typo"]  # type: ignore[attr-defined]
            self.wfile.write(b"done\n")

    if engine == "processes":
        return  # a forked handler has a copy of the server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with serving(server_of(engine, Closing), 0.01) as server:
            assert ask(server.server_address) == b"done\n"
            wait_until(lambda: is_closed_to(server.server_address))


def test_an_entry_that_is_added_to_a_list_in_place_counts_too() -> None:
    allowed, denied = ["127.0.0.0/8"], ["192.0.2.1"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Server(Echo, "tcp://127.0.0.1:0", allow=allowed, deny=denied) as server:
            assert ask(bound(server)) == b"hello\n"
            denied.append("10.0.0.0/33")
            wait_until(lambda: is_closed_to(bound(server)))
            assert is_told(caught, "10.0.0.0/33")
            denied.pop()
            wait_until(lambda: ask(bound(server)) == b"hello\n")


def test_a_loop_of_the_programs_own_lets_no_client_in_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with server_of("sequential", Echo) as server:
            server.deny = "10.0.0.0/33"
            server.timeout = 5
            wait_until(lambda: _asked_once(server) == b"")


def _asked_once(server: Any) -> bytes:
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    answer = ask(server.server_address)
    thread.join()
    return answer


@pytest.mark.parametrize(
    "own",
    [
        lambda self: True,
        True,
        {"GET": 1, "POST": 2},
        ["GET", object()],
        [lambda: None],
        [],
        object(),
        5,
        None,
    ],
    ids=[
        "method",
        "switch",
        "dict",
        "mixed",
        "functions",
        "empty",
        "object",
        "number",
        "none",
    ],
)
def test_what_is_the_programs_own_changes_nothing(own: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with serving(server_of("threads", Echo, allow=own, deny=own)) as server:
            assert ask(server.server_address) == b"hello\n"


def test_a_property_of_the_programs_own_is_not_asked_before_it_serves() -> None:
    class Program(socketserver.ThreadingTCPServer):
        def __init__(self) -> None:
            super().__init__(HERE, Echo)
            self.users = {"alice": 1}

        @property
        def allow(self) -> object:
            return self.users["alice"]

    with serving(Program()) as server:
        assert ask(server.server_address) == b"hello\n"


def test_a_rule_of_the_object_is_refused_by_the_constructor_too() -> None:
    class Program(socketserver.ThreadingTCPServer):
        def __init__(self) -> None:
            self.deny = "10.0.0.0/33"
            super().__init__(HERE, Echo)

    with pytest.raises(Mistake, match=r"Program\.deny: "):
        Program()


@pytest.mark.parametrize("value", ["many", 1.5, "1"])
def test_a_limit_with_a_slip_keeps_what_it_was(value: object) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"max_connections": 1, "when_full": "refuse"}
        with serving(server_of("threads", _wait, **options), 0.01) as server:
            assert ask(server.server_address) == b"hello\n"
            server.max_connections = value
            wait_until(lambda: is_told(caught, f"not {value!r}: ignored, and 1 holds"))
            with call(server.server_address) as first:
                first.sendall(b"in\n")
                assert first.recv(3) == b"in\n"
                assert is_closed_to(server.server_address)


def test_a_number_in_a_text_is_told_from_the_first_client_on() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with serving(server_of("threads", Echo, max_connections="100", max_rate="ten")) as server:
            assert ask(server.server_address) == b"hello\n"
    sentences = [str(warning.message) for warning in caught if "ignored" in str(warning.message)]
    assert sentences == [
        "max_connections of a server must be a whole number of at least 1, not '100': ignored, and None holds"
    ]


def _wait(request: Any, client_address: Any, server: Any) -> None:
    while data := request.recv(100):
        request.sendall(data)


@pytest.mark.parametrize("rules", [{"deny": "127.0.0.0/8"}, {"allow": ["192.0.2.1", "typo"]}])
@pytest.mark.parametrize("mix_in", ["ThreadingMixIn", "ForkingMixIn", "FiberMixIn"])
def test_a_mix_in_keeps_datagrams_out_too_that_the_standard_library_s_loop_receives(
    mix_in: str, rules: dict[str, Any]
) -> None:
    served: list[bytes] = []

    class Notes(standard.DatagramRequestHandler):
        def handle(self) -> None:
            served.append(self.packet)

    bases = (getattr(socketserver, mix_in), standard.UDPServer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            type("Program", bases, rules)(HERE, Notes) as server,
            socket.socket(type=socket.SOCK_DGRAM) as sender,
        ):
            for _ in range(2):
                sender.sendto(b"hello", server.server_address)
                server.handle_request()
            assert server._server_core.registry.dropped == {Reason.REFUSED_DENIED: 2}
    assert not served


@pytest.mark.parametrize(
    ("said", "is_served"),
    [
        ("127.0.0.1", (True, False)),
        (["127.0.0.1", 1], (True, False)),
        ("192.0.2.1", (False, True)),
        ("a.host", (False, False)),
        ("", (False, False)),
        (None, (False, False)),
        (["a.host", 1], (False, False)),
        ({"host": "127.0.0.1"}, (False, False)),
        (("a.host", 1), (False, False)),
    ],
    ids=repr,
)
def test_an_address_of_the_programs_own_form_gets_no_client_past_the_rules(
    said: object, is_served: tuple[bool, bool], engine: str
) -> None:
    class Program:
        def get_request(self) -> Any:
            return super().get_request()[0], said  # type: ignore[misc]

    for rules, served in zip(
        ({"allow": "127.0.0.0/8"}, {"deny": "127.0.0.0/8"}), is_served, strict=True
    ):
        with serving(server_of(engine, Echo, Program, **rules)) as server:
            assert is_closed_to(server.server_address) is not served
            assert server.connections.wait_for(at_most=0, timeout=PATIENCE)
            assert (Reason.REFUSED_DENIED in server.connections.closed) is not served


@pytest.mark.parametrize("rules", [{"allow": "10.0.0.0/8"}, {"deny": "127.0.0.0/8"}])
def test_a_unix_socket_in_the_place_of_the_listener_is_no_concern_of_theirs(
    rules: dict[str, str], tmp_path: Path
) -> None:
    class Program:
        def server_bind(self) -> None:
            self.socket.close()
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(tmp_path / "socket"))
            self.server_address = self.socket.getsockname()

    with serving(server_of("threads", Echo, Program, **rules)) as server:
        assert not is_closed_to(server.server_address)
