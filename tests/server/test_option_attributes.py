"""The options of a `manyhands.Server` as attributes, its addresses as pairs, and how it shows itself."""

import functools
import pydoc
import re
import socket
from typing import Any

import pytest

from manyhands import Mistake, Server, StreamRequestHandler
from manyhands.config.option import Option
from manyhands.config.options import SERVER_OPTIONS
from manyhands.model.connection_states import Reason
from tests.support import ENGINES, Echo, ask, bound, call, everything, read_line, wait_until

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_every_option_is_an_attribute() -> None:
    server = Server(Echo, ANY_PORT, engine="threads", max_threads=7, idle_timeout=4)
    values = {name: getattr(server, name) for name in SERVER_OPTIONS if name != "engine"}
    assert values["max_threads"] == 7
    assert values["idle_timeout"] == 4
    assert values["drain_timeout"] == 30.0
    assert values["certfile"] is None


def test_the_help_tells_every_option_with_its_type_unit_and_default() -> None:
    text = pydoc.plain(pydoc.render_doc(Server))
    for row in (
        'engine : Literal["sequential", "threads", "processes", "fibers"], default threads',
        "max_connections : int | None (connections), default 10000, adjustable",
        "idle_timeout : float | None (seconds), default 300.0, adjustable",
        "certfile : str | PathLike[str] | Sequence[str | PathLike[str]] | None, default none",
    ):
        assert row in text
    words = " ".join(text.replace("|", " ").split())
    for option in SERVER_OPTIONS.values():
        # In the list of the class, and at the attribute.
        assert words.count(option.help) >= (1 if option.name == "engine" else 2)


PUBLIC = {
    *(
        "addresses",
        "answering_signals",
        "close",
        "connections",
        "drain",
        "engine",
        "hurry",
        "info",
        "is_stopping",
        "is_worker",
        "listen",
        "reloading_on_change",
    ),
    *("listeners", "reload", "resume", "run", "start", "stop", "suspend", "tls_context"),
    *("controls", "exchange", "members", "seconds_to_drain", "tell", "wait_for_connections"),
}


def test_the_help_shows_no_internals() -> None:
    text = pydoc.plain(pydoc.render_doc(Server))
    assert not re.findall(r"\b_[A-Za-z]\w*", text)
    public = {name for name in dir(Server) if not name.startswith("_")}
    assert public == PUBLIC | {"ssl_context", *SERVER_OPTIONS}


SETTLED = ("engine", "max_threads", "certfile", "ssl_context", "proxy_protocol", "max_packet_size")


@pytest.mark.parametrize("name", SETTLED)
def test_what_is_settled_when_a_server_is_made_says_so(name: str) -> None:
    server = Server(Echo, ANY_PORT)
    before = getattr(server, name)
    with pytest.raises(Mistake) as mistake:
        setattr(server, name, 5)
    assert str(mistake.value) == (
        f"{name} is settled when a server is made: give it to Server(..., {name}=5)"
    )
    assert getattr(server, name) == before


@pytest.mark.parametrize("option", SERVER_OPTIONS.values(), ids=lambda option: option.name)
def test_an_option_may_be_set_when_its_row_says_that_it_is_adjustable(option: Option) -> None:
    server = Server(Echo, ANY_PORT)
    if option.is_adjustable:
        setattr(server, option.name, option.default)
        assert getattr(server, option.name) == option.default
    else:
        with pytest.raises(Mistake, match=f"^{option.name} is settled when a server is made"):
            setattr(server, option.name, option.default)


@pytest.mark.parametrize("name", [name for name in SETTLED if name != "engine"])
def test_it_says_so_to_handlers_too(engine: str, name: str) -> None:
    class Setting(StreamRequestHandler):
        def handle(self) -> None:
            with pytest.raises(Mistake) as mistake:
                setattr(self.server, name, 5)
            self.wfile.write(str(mistake.value).encode())

    with Server(Setting, ANY_PORT, engine=engine) as server, call(bound(server)) as peer:
        told = everything(peer).decode()
        assert told.startswith(f"{name} is settled when a server is made")


def test_a_deadline_that_is_set_while_it_runs_holds_for_open_connections(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is seen at the next look, which may be so many seconds away.
    monkeypatch.setattr("manyhands.model.timeouts.LONGEST_INTERVAL", 0.1)
    with Server(Echo, ANY_PORT, engine=engine) as server, call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        server.idle_timeout = 0.2
        assert everything(peer) == b""
        wait_until(lambda: server.connections.closed == {Reason.IDLE: 1})


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_deadline_that_a_handler_sets_for_its_server_holds_for_all(engine: str) -> None:
    class Setting(StreamRequestHandler):
        def handle(self) -> None:
            self.server.idle_timeout = 7.0
            self.server.drain_timeout = 8.0
            self.wfile.write(str(self.server.idle_timeout).encode())

    with Server(Setting, ANY_PORT, ANY_PORT, engine=engine) as server:
        with call(bound(server)) as peer:
            assert everything(peer) == b"7.0"
        assert (server.idle_timeout, server.drain_timeout) == (7.0, 8.0)


def test_the_time_to_drain_may_be_set_until_the_end() -> None:
    def until_the_end(request: socket.socket, client_address: Any, listener: Any) -> None:
        request.sendall(b"begun\n")
        request.recv(1)

    server = Server(until_the_end, ANY_PORT, drain_timeout=3600)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"begun\n"
        server.drain_timeout = 0
        assert len(server.close()) == 1


def test_a_value_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    server = Server(Echo, ANY_PORT, idle_timeout=3)
    with pytest.raises(
        Mistake, match=r"^idle_timeout must be a number of seconds above 0 .* not -1$"
    ):
        server.idle_timeout = -1
    assert server.idle_timeout == 3


def test_an_address_may_be_what_a_socket_says_of_itself() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        name = taken.getsockname()
    with Server(Echo, name) as server:
        assert str(server.addresses[0]) == f"tcp://[::1]:{name[1]}"
        assert ask(bound(server)) == b"hello\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "", "localhost"])
def test_an_address_may_be_a_pair(host: str) -> None:
    with Server(Echo, (host, 0)) as server:
        assert {address.scheme for address in server.addresses} == {"tcp"}
        assert ask(bound(server)) == b"hello\n"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            8008,
            "8008 is not an address: it must be a text, such as tcp://127.0.0.1:8008, or a pair",
        ),
        (("127.0.0.1",), r"\('127.0.0.1',\) is not an address: it must be a text"),
        (("127.0.0.1", "80"), r"\('127.0.0.1', '80'\) is not an address"),
        (["127.0.0.1", 80], r"\['127.0.0.1', 80\] is not an address"),
        (("127.0.0.1", True), r"\('127.0.0.1', True\) is not an address: the port must be"),
        (
            ("127.0.0.1", 70_000),
            r"\('127.0.0.1', 70000\) is not an address: the port must be from 0",
        ),
        (("127.0.0.1", 10**5000), "such a number is not an address: the port must be from 0"),
        (("::1", 80, 0, 2**32), r"\('::1', 80, 0, 4294967296\) is not an address"),
        (("a/b", 80), r"\('a/b', 80\) is not an address: it has a '/'"),
        (b"127.0.0.1:80", "b'127.0.0.1:80' is not an address"),
    ],
)
def test_what_is_no_address_is_told_in_a_sentence(address: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=f"^{sentence}"):
        Server(Echo, address)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_shows_its_handler_where_it_listens_and_how_far_it_has_come(engine: str) -> None:
    server = Server(functools.partial(Echo), ANY_PORT, engine=engine)
    assert (
        repr(server)
        == "<Server of functools.partial of Echo on no address yet: not serving, 0 open>"
    )
    with server:
        where = f"tcp://127.0.0.1:{bound(server)[1]}"
        assert repr(server).endswith(f"Echo on {where}: serving, 0 open>")
        with call(bound(server)) as peer:
            assert server.wait_for_connections(1, 20)
            assert repr(server).endswith("serving, 1 open>")
            # A forked handler has a copy of the peer: the drain would wait for it.
            peer.shutdown(socket.SHUT_RDWR)
        server.stop()
        assert repr(server).endswith("stopping, 0 open>") or "1 open" in repr(server)
    assert "not serving" in repr(server)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "wait_for_connections takes n, or at_least and at_most"),
        ({"n": 1, "at_most": 2}, "wait_for_connections takes n, or at_least and at_most"),
        ({"n": -1}, "n must be a whole number of at least 0, or none, not -1"),
        ({"n": "2"}, "n must be a whole number of at least 0, or none, not '2'"),
        ({"at_least": 1.5}, "at_least must be a whole number of at least 0, or none, not 1.5"),
        (
            {"at_least": 3, "at_most": 2},
            "at_least 3 is more than at_most 2: that never comes about",
        ),
        ({"n": 1, "timeout": -1}, "timeout must be a number of seconds from 0 up to"),
    ],
)
def test_a_wait_that_makes_no_sense_is_told_in_a_sentence(
    asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Mistake) as mistake:
        Server(Echo, ANY_PORT).wait_for_connections(**asked)
    assert str(mistake.value).startswith(sentence)


def test_a_wait_is_no_wait_where_it_has_come_about() -> None:
    with Server(Echo, ANY_PORT) as server, socket.create_connection(bound(server)):
        assert server.wait_for_connections(1, timeout=20)
        assert server.wait_for_connections(at_least=0, at_most=1, timeout=0)
