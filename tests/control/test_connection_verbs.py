"""The verbs about connections, on servers of every engine."""

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from manyhands import StreamRequestHandler
from manyhands.control.client import Client, Refused
from manyhands.control.protocol import Code
from tests.support import Echo, bound, call, is_closed_by_server, read_line, wait_until
from tests.support.waiting import PATIENCE

from .conftest import Controlled, ControlledServer

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextmanager
def talking(controlled: ControlledServer, count: int = 1) -> Iterator[list[socket.socket]]:
    """Have clients that have each said and heard a line, of different lengths."""
    with ExitStack() as stack:
        peers = [stack.enter_context(call(bound(controlled.server))) for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.sendall(b"x" * number + b"\n")
            read_line(peer)
        yield peers


def listed(client: Client, **params: Any) -> list[str]:
    return [each["id"] for each in client.call("connections.list", **params)["items"]]


def test_the_open_connections_are_listed_on_every_engine(
    controlled: Controlled, engine: str
) -> None:
    with controlled(engine=engine) as server, talking(server) as [peer]:
        answer = server.client().call("connections.list")
        assert (answer["total"], answer["open"], answer["next"]) == (1, 1, None)
        [row] = answer["items"]
        assert row["peer"] == "{}:{}".format(*peer.getsockname())
        assert row["listener"] == "{}:{}".format(*peer.getpeername())
        assert (row["handler"], row["server"]) == ("Echo", 1) or row["server"] > 1
        assert (row["in"], row["out"]) == (1, 1)
        assert 0 <= row["silent"] < PATIENCE
        assert 0 <= row["age"] < PATIENCE
        assert row["reason"] is None


@pytest.mark.usefixtures("_stacks_are_waited_for")
def test_one_connection_is_told_with_where_its_handler_stands(
    controlled: Controlled, engine: str
) -> None:
    with controlled(engine=engine, idle_timeout=7) as server, talking(server) as [peer]:
        client = server.client()
        [number] = listed(client)
        told = client.call("connections.get", id=number)
        assert told["local"] == "{}:{}".format(*peer.getpeername())
        assert told["deadlines"] == {"idle_timeout": 7, "write_timeout": 60, "max_age": None}
        assert told["tls"] is told["proxy"] is None
        assert any(line.endswith(" in Echo.handle") for line in told["stack"])
        assert (told["pid"] not in {None, client.hello.pid}) is (engine == "processes")


def test_a_handler_s_own_deadlines_are_told(controlled: Controlled) -> None:
    class Patient(StreamRequestHandler):
        def handle(self) -> None:
            self.deadlines.idle_timeout = None
            self.deadlines.max_age = 90
            Echo.handle(self)  # type: ignore[arg-type]

    with controlled(handler=Patient) as server, talking(server):
        client = server.client()
        [number] = listed(client)
        told = client.call("connections.get", id=number)["deadlines"]
        assert told == {"idle_timeout": None, "write_timeout": 60, "max_age": 90}


def test_a_connection_is_closed_under_its_handler(controlled: Controlled, engine: str) -> None:
    with controlled(engine=engine) as server, talking(server) as [peer]:
        client = server.client()
        [number] = listed(client)
        assert client.call("connections.close", id=number) == {"closed": [number], "gone": []}
        assert is_closed_by_server(peer)
        wait_until(lambda: not server.server.connections)
        with pytest.raises(Refused, match=_ended(number, "kicked", peer)):
            client.call("connections.close", id=number)


def _ended(number: str, reason: str, peer: socket.socket) -> str:
    host, port = peer.getsockname()
    return rf"there is no connection {number}: it ended . s ago, {reason} \(client {host}:{port}\)$"


def test_it_is_told_why_a_connection_ended_that_ended_while_no_client_was_there(
    controlled: Controlled, engine: str
) -> None:
    with controlled(engine=engine) as server, talking(server) as [peer]:
        [number] = map(str, server.server.connections)
        peer.shutdown(socket.SHUT_WR)
        assert is_closed_by_server(peer)
        wait_until(lambda: not server.server.connections)
        with pytest.raises(Refused, match=_ended(number, "peer_closed", peer)):
            server.client().call("connections.get", id=number)


def test_several_are_closed_at_once_and_those_that_have_gone_are_told(
    controlled: Controlled,
) -> None:
    with controlled() as server, talking(server, 3) as peers:
        client = server.client()
        ids = listed(client)
        answer = client.call("connections.close", ids=[*ids[:2], "0", "none"])
        assert answer == {"closed": ids[:2], "gone": ["0", "none"]}
        assert is_closed_by_server(peers[0])
        assert is_closed_by_server(peers[1])
        assert listed(client)[-1:] == ids[2:]


@pytest.mark.parametrize("number", ["99999999", "x", "-1", "1.5", "", "٣", "1" * 40])
def test_a_connection_that_never_was_is_refused(controlled: Controlled, number: str) -> None:
    with controlled() as server:
        for verb in ("connections.get", "connections.close"):
            with pytest.raises(Refused, match="there is no connection") as refused:
                server.client().call(verb, id=number)
            assert refused.value.code == Code.NO_SUCH_THING


@pytest.mark.parametrize("sort", ["id", "-id", "peer", "-peer", "in", "-out", "age", "reason"])
def test_pages_follow_each_other_without_a_gap_in_any_order(
    controlled: Controlled, sort: str
) -> None:
    with controlled() as server, talking(server, 7):
        client = server.client()
        whole, pages, after = listed(client, sort=sort), [], None
        while True:
            page = client.call("connections.list", sort=sort, limit=3, after=after)
            pages += [each["id"] for each in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert pages == whole
        assert len(set(whole)) == 7


def test_the_order_is_that_of_the_field(controlled: Controlled) -> None:
    with controlled() as server, talking(server, 4):
        client = server.client()
        by_number = listed(client)
        assert listed(client, sort="-in") == listed(client, sort="-id") == by_number[::-1]
        assert listed(client, sort="out", limit=2) == by_number[:2]


def test_an_order_by_traffic_is_kept_a_while_where_that_takes_long_and_the_rows_are_of_now(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.recent_traffic.WORTH_KEEPING", -1.0)
    monkeypatch.setattr("manyhands.control.recent_traffic.SHARE", 1e-9)
    with controlled() as server, talking(server, 2) as [first, _]:
        client = server.client()
        before = listed(client, sort="-in")
        first.sendall(b"x" * 100 + b"\n")
        read_line(first)
        with talking(server) as _:
            rows = client.call("connections.list", sort="-in")["items"]
            assert [each["id"] for each in rows if each["id"] in before] == before
            assert len(rows) == 3
            assert [each["in"] for each in rows if each["id"] == before[1]] == [102]


def test_a_filter_leaves_those_that_match(controlled: Controlled) -> None:
    with (
        controlled("tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as server,
        talking(server, 3) as peers,
    ):
        client = server.client()
        whole = listed(client)
        port = peers[1].getsockname()[1]

        def found(**where: Any) -> list[str]:
            answer = client.call("connections.list", where=where, limit=1)
            assert answer["open"] == 3
            assert len(answer["items"]) == min(1, answer["total"])
            return listed(client, where=where)

        assert found(peer=f":{port}") == found(text=f":{port}") == [whole[1]]
        assert found(peer="127.0.0.0/8") == found(peer="127.0.0.1/32") == whole
        assert found(peer="10.0.0.0/8") == found(peer="::/0") == []
        listeners = [each.bound_address for each in server.server.listeners]
        assert found(listener=f"127.0.0.1:{listeners[0].port}") == whole
        assert found(listener=f"127.0.0.1:{listeners[1].port}") == []
        assert found(handler="Echo", state="open", age_over=0) == whole
        assert found(handler="Other") == found(age_over=1000) == found(idle_over=1000) == []
        assert found(text="Ech") == whole
        assert whole[2] in found(text=whole[2])


def test_a_parameter_that_is_null_is_left_out(controlled: Controlled) -> None:
    with controlled() as server, talking(server, 2):
        client = server.client()
        whole = client.request("connections.list", {"sort": "-id"})
        nulls = {"where": {"peer": None, "text": None}, "limit": None, "after": whole["next"]}
        page = client.request("connections.list", {**nulls, "sort": "-id"})
        assert [each["id"] for each in page["items"]] == [each["id"] for each in whole["items"]]
        assert client.request("limits.set", {"values": {"max_age": None}}) == {
            "values": {"max_age": None}
        }
        with pytest.raises(Refused, match="id is missing: it must be a text"):
            client.request("connections.get", {"id": None})


def test_connections_of_a_server_that_is_not_there_are_refused(controlled: Controlled) -> None:
    with controlled() as server, talking(server), pytest.raises(Refused) as refused:
        server.client().call("connections.list", where={"server": 200000000})
    assert refused.value.code == Code.NO_SUCH_THING
    assert str(refused.value).startswith("there is no server 200000000; there is ")


def cursor(*members: object) -> str:
    """Return what is written as the cursor of a page, whatever is in it."""
    return base64.urlsafe_b64encode(json.dumps(members).encode()).decode()


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"sort": "size"}, "sort must be id, -id, .* not 'size'"),
        ({"limit": 0}, "limit must be a whole number from 1 to 1000, not 0"),
        ({"limit": True}, "limit must be a whole number"),
        ({"limit": 10**200}, "not such a number"),
        ({"lmit": 5}, "no parameter 'lmit'; did you mean limit?"),
        ({"where": {"pear": "x"}}, "no parameter 'where.pear'; did you mean peer?"),
        ({"where": {"state": "shut"}}, "where.state must be accepted"),
        (
            {"where": {"peer": "10.0.0.0/99"}},
            "where.peer: .* must be a whole number from /0 to /32",
        ),
        ({"where": []}, "where must be an object with some of state"),
        ({"after": "x"}, "after must be the next of the page before"),
        ({"after": "W10="}, "after must be the next of the page before"),
        ({"after": "WyJpZCIsIDAsICJ4IiwgMV0="}, "after must be the next of the page before"),
        *(
            (
                {"after": cursor(*forged), "sort": forged[0]},
                "after must be the next of the page before",
            )
            for forged in (
                ("id", [], 1, 1),
                ("id", {}, 1, 1),
                ("id", 2, 1, 1),
                ("id", 0, "abc", 1),
                ("id", 0, 1, "x"),
                ("id", 0, 1, None),
                ("reason", 1, "abc", 1),
                ("reason", 0, 1, 1),
                ("-reason", 0, "abc", 1),
                ("in", 1, [0], 1),
            )
        ),
        ({"after": "WyItaWQiLCAxLCAxLCAxXQ=="}, "sorted by '-id': sort by the same"),
    ],
)
def test_what_cannot_be_listed_is_refused_in_a_sentence(
    controlled: Controlled, params: dict[str, Any], sentence: str
) -> None:
    # With a connection, whose key a cursor would be compared with.
    with controlled() as server, talking(server):
        with pytest.raises(Refused, match=sentence) as refused:
            server.client().call("connections.list", **params)
        assert refused.value.code == Code.BAD_PARAMS
