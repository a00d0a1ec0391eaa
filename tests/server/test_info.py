"""`Server.info()`: the server at one moment, as plain data that leads back to nothing."""

import dataclasses
import json
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from manyhands import Mistake, Server, ServerInfo
from manyhands.serving.info import count_totals
from tests.support import Authority, bound, call, everything, wait_until

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(b"here")
    request.recv(10)


def as_json(info: ServerInfo) -> dict[str, Any]:
    """Return the snapshot as a program on the other end of a socket reads it."""
    read: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(info)))
    return read


def totals_of(server: Server) -> dict[str, Any]:
    read: dict[str, Any] = as_json(server.info(totals=True))["totals"]
    return read


def test_it_tells_where_a_server_listens_and_what_is_open_there(engine: str) -> None:
    with Server(until_told, ANY_PORT, engine=engine) as server, call(bound(server)) as peer:
        assert peer.recv(10)
        info = as_json(server.info())
        port = server.addresses[0].port
        assert [each["address"] for each in info["listeners"]] == [f"127.0.0.1:{port}"]
        assert info["accepted"] == sum(info["open"].values()) == 1
        assert info["connections"]["total"] == 1
        [connection] = info["connections"]["items"]
        assert connection["peer"] == "{}:{}".format(*peer.getsockname())
        assert connection["listener"] == f"127.0.0.1:{port}"
        assert connection["handler"] == "until_told"
        assert {each["name"]: each["running"] for each in info["engines"]}[engine] == 1
        assert not info["is_draining"]
        peer.sendall(b"go\n")
        everything(peer)
        wait_until(lambda: server.info().closed)
        info = as_json(server.info())
        assert info["accepted"] == sum(info["closed"].values()) == 1
        assert info["connections"]["items"] == []


def test_of_a_server_that_does_not_listen_it_has_the_options() -> None:
    info = Server(until_told, ANY_PORT, idle_timeout=7).info()
    assert info.listeners == ()
    assert info.options["idle_timeout"] == 7
    assert info.accepted == 0


def test_connections_come_page_by_page_in_the_order_of_their_numbers() -> None:
    with Server(until_told, ANY_PORT) as server, ExitStack() as peers:
        for _ in range(5):
            assert peers.enter_context(call(bound(server))).recv(10)
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            page = server.info(first=2, after=after).connections
            assert page.total == 5
            assert len(page.items) <= 2
            seen += [each.number for each in page.items]
            after = page.next
        assert seen == sorted(server.connections)


def test_it_has_bytes_and_durations_of_all_connections_where_they_are_counted(engine: str) -> None:
    server = Server(until_told, ANY_PORT, engine=engine)
    assert server.info(totals=True).totals is None
    count_totals(server.connections)
    assert server.info().totals is None
    with server, call(bound(server)) as peer:
        assert peer.recv(10)
        wait_until(lambda: totals_of(server)["bytes_out"] == 4)
        assert sum(totals_of(server)["by_duration"]) == 0
        peer.sendall(b"go\n")
        everything(peer)
        wait_until(lambda: sum(totals_of(server)["by_duration"]))
        totals = totals_of(server)
        assert (totals["bytes_in"], totals["bytes_out"]) == (3, 4)
        assert len(totals["by_duration"]) == len(totals["bounds"]) + 1
        assert totals["seconds"] > 0


@pytest.mark.parametrize("page", [{"first": -1}, {"first": "2"}, {"after": 1.5}], ids=str)
def test_a_page_that_is_none_is_a_mistake(page: dict[str, Any]) -> None:
    with pytest.raises(Mistake, match="must be"):
        Server(until_told, ANY_PORT).info(**page)


def test_a_snapshot_is_not_live() -> None:
    with Server(until_told, ANY_PORT) as server:
        before = server.info()
        server.max_connections = 3
        server.suspend()
        assert before.options["max_connections"] == 10_000
        assert not before.listeners[0].is_suspended
        assert server.info().options["max_connections"] == 3
        assert server.info().listeners[0].is_suspended


def test_what_is_no_plain_data_is_there_by_its_name(authority: Authority) -> None:
    server = Server(
        until_told,
        "tls://127.0.0.1:0",
        ssl_context=authority.server_context(),
        when_full=until_told,
        deny=["10.0.0.0/8"],
        refusal=b"full\n",
    )
    options = as_json(server.info())["options"]
    assert options["ssl_context"] == "SSLContext"
    assert options["when_full"] == "until_told"
    assert options["deny"] == ["10.0.0.0/8"]
    assert options["refusal"] == "full\n"
