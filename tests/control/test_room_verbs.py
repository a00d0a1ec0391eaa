"""The verbs about rooms, and what a list of connections tells of them."""

import base64
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from manyhands import StreamRequestHandler
from manyhands.control.client import Client, Refused
from manyhands.control.protocol import Code
from manyhands.testing import half_close
from tests.support import bound, call, read_line, wait_until

from .conftest import Controlled, ControlledServer

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Joining(StreamRequestHandler):
    """Joins the rooms that its client names, one a line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.join(line.decode().strip())
            self.wfile.write(b"joined\n")


@contextmanager
def members(server: ControlledServer, *rooms: str) -> Iterator[list[socket.socket]]:
    """Have a client in each of some rooms."""
    with ExitStack() as stack:
        peers = []
        for room in rooms:
            peer = stack.enter_context(call(bound(server.server)))
            peer.sendall(f"{room}\n".encode())
            assert read_line(peer) == b"joined\n"
            peers.append(peer)
            # A forked handler has a copy of each peer of this process, which a close leaves open.
            stack.callback(half_close, peer)
        yield peers


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_all_in_a_room_are_told_and_no_other(controlled: Controlled, engine: str) -> None:
    with controlled(handler=Joining, engine=engine) as server:
        client = server.client()
        with members(server, "red", "red", "blue") as [first, second, other]:
            listed = client.call("rooms.list")["items"]
            assert [(each["room"], each["members"]) for each in listed] == [("blue", 1), ("red", 2)]
            assert client.call("status")["servers"][0]["rooms"] == 2
            assert client.call("rooms.tell", room="red", text="grüße\n") == {"told": 2}
            coded = base64.b64encode(b"\xff\0\n").decode()
            assert client.call("rooms.tell", room="blue", base64=coded) == {"told": 1}
            assert read_line(first) == read_line(second) == "grüße\n".encode()
            assert read_line(other) == b"\xff\0\n"
        wait_until(lambda: client.call("rooms.list")["items"] == [])


def test_rooms_come_by_page(controlled: Controlled) -> None:
    names = [f"room {number:02}" for number in range(7)]
    with controlled(handler=Joining) as server, members(server, *names, names[0]):
        client = server.client()
        told, after = [], None
        while True:
            page = client.call("rooms.list", limit=3, after=after)
            assert (page["total"], len(page["items"]) <= 3) == (7, True)
            told += [(each["room"], each["members"]) for each in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert told == [(name, 2 if name == names[0] else 1) for name in names]
        for forged in ("x", "1", "1 ", "-1 x", "٣ x", f"{'9' * 900} x"):
            with pytest.raises(Refused, match="after must be the next of the page before"):
                client.call("rooms.list", after=forged)


@pytest.mark.parametrize(
    ("room", "shown"), [("{}", 20), ("é" * 100 + "{}", 4), ("😀" * 250 + "{}", 1)]
)
def test_a_connection_in_very_many_rooms_costs_a_list_no_more_than_others(
    controlled: Controlled, room: str, shown: int
) -> None:
    with controlled(handler=Joining) as server, call(bound(server.server)) as peer:
        for number in range(100):
            peer.sendall(room.format(number).encode() + b"\n")
            assert read_line(peer) == b"joined\n"
        [row] = server.client().call("connections.list")["items"]
        assert (len(row["rooms"]), row["rooms_total"]) == (shown, 100)


def test_an_answer_has_a_bound(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.control.served_client.LONGEST_ANSWER", 1000)
    with controlled(handler=Joining) as server, members(server, *map(str, range(30))):
        client = server.client()
        with pytest.raises(
            Refused, match="and 1000 are the most: a smaller limit helps"
        ) as refused:
            client.call("rooms.list")
        assert refused.value.code == Code.NOT_NOW
        assert len(client.call("rooms.list", limit=2)["items"]) == 2


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_list_of_connections_tells_their_rooms_and_what_waits_for_them(
    controlled: Controlled, engine: str
) -> None:
    options = {"handler": Joining, "engine": engine, "outbox": 4096, "when_behind": "drop_new"}
    with controlled(**options) as server:
        client = server.client()

        def rows(**params: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.call("connections.list", **params)["items"]
            return found

        with members(server, "red", "blue") as [_, other]:
            assert [each["rooms"] for each in rows()] == [["red"], ["blue"]]
            [row] = rows(where={"room": "blue"})
            assert row["peer"].endswith(f":{other.getsockname()[1]}")
            assert (row["waiting"], row["missed"]) == (0, 0)
            # Until both are seen at once: the kernel may enlarge a buffer after a piece was missed, and so
            # empty the outbox. (That of a handler in a process of its own is not looked at.)
            while not (row["missed"] and (row["waiting"] or engine == "processes")):
                _tell_much(client, "blue")
                [row] = rows(where={"room": "blue"})
            assert row["waiting"] <= 4096 or engine == "processes"
            assert [each["id"] for each in rows(sort="-missed", limit=1)] == [row["id"]]
            # The one that came later, where nothing waits any more.
            assert [each["id"] for each in rows(sort="-waiting", limit=1)] == [row["id"]]


def _tell_much(client: Client, room: str) -> None:
    for _ in range(100):
        client.call("rooms.tell", room=room, text="x" * 4000)


@pytest.mark.parametrize(
    ("params", "code", "sentence"),
    [
        ({"room": "nowhere", "text": "x"}, Code.NO_SUCH_THING, "there is no room 'nowhere'"),
        ({"room": "red"}, Code.BAD_PARAMS, "takes a text, or base64"),
        (
            {"room": "red", "text": "x", "base64": "eA=="},
            Code.BAD_PARAMS,
            "takes a text, or base64",
        ),
        ({"room": "red", "base64": "x"}, Code.BAD_PARAMS, "base64 is none"),
        ({"room": "red", "text": "\ud800"}, Code.BAD_PARAMS, "send base64"),
        ({"room": "red", "text": "x" * 10_000}, Code.BAD_PARAMS, "10000 bytes"),
        ({"room": "x" * 256, "text": "x"}, Code.BAD_PARAMS, "at most 255 characters"),
        ({"text": "x"}, Code.BAD_PARAMS, "room is missing"),
    ],
)
def test_what_cannot_be_told_is_refused(
    controlled: Controlled, params: dict[str, Any], code: Code, sentence: str
) -> None:
    with controlled(handler=Joining, outbox=4096) as server, members(server, "red"):
        with pytest.raises(Refused, match=sentence) as refused:
            server.client().call("rooms.tell", **params)
        assert refused.value.code == code
