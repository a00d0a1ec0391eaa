"""Answers that come later: the client gets its own when it is there, and no other client is held up."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from manyhands import Server
from manyhands.control.later import Later
from manyhands.control.messages import Refusal
from manyhands.control.params import Param, Text
from manyhands.control.process import ControlledProcess
from manyhands.control.protocol import Code
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.control.server import ControlServer
from manyhands.control.sockets import control_sockets
from manyhands.control.verbs import Verb, Verbs
from manyhands.model.addresses import Address
from manyhands.testing import ask, call, read_line
from tests.support import (
    Echo,
    bound,
    everything,
    open_descriptors,
    wait_for_descriptors,
    wait_until,
)
from tests.support.waiting import PATIENCE

from .kit import Caller


class Slow:
    """Verbs whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: dict[str, Later] = {}
        self.limit = 60.0

    def later(self, asker: Any, *, name: str) -> Later:
        self.asked[name] = Later(self.limit, f"{name} is not there in time")
        return self.asked[name]

    @property
    def verbs(self) -> Verbs:
        name = Param("name", Text(), "which", is_required=True)
        return Verbs(
            Verb("later", self.later, "an answer that comes later", (name,)),
            Verb("now", lambda _: "now", "one that is there"),
        )


@pytest.fixture
def slow() -> Slow:
    return Slow()


Connect = Callable[[], Caller]


@pytest.fixture
def connect(slow: Slow, tmp_path: Any) -> Iterator[Connect]:
    """Connect to a control server whose verbs are slow."""
    place = str(tmp_path / "slow.sock")
    process = ControlledProcess("slow", 0.0, RecentTraffic(), list)
    with (
        ControlServer(
            Address("unix", path=place), process, may_write=True, verbs=slow.verbs
        ) as server,
        ExitStack() as stack,
    ):
        assert server

        def connected() -> Caller:
            caller = Caller(call(place))
            stack.callback(caller.close)
            return caller

        yield connected


def test_an_answer_that_comes_later_is_sent_when_another_thread_gives_it(
    slow: Slow, connect: Connect
) -> None:
    client = connect()
    client.ask(1, "later", name="a")
    wait_until(lambda: "a" in slow.asked)
    giving = threading.Thread(target=slow.asked["a"].give, args=[{"is": "there"}])
    giving.start()
    assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"is": "there"}}
    giving.join()


def test_while_a_client_awaits_its_answer_others_have_theirs_and_its_own_keep_their_order(
    slow: Slow, connect: Connect
) -> None:
    first, second = connect(), connect()
    first.ask(1, "later", name="a")
    first.ask(2, "now")
    wait_until(lambda: "a" in slow.asked)
    assert second.call("now") == "now"
    slow.asked["a"].give("late")
    assert [first.receive()["id"] for _ in range(2)] == [1, 2]


def test_a_refusal_that_comes_later_is_an_error_and_the_first_that_is_given_counts(
    slow: Slow, connect: Connect
) -> None:
    client = connect()
    client.ask(1, "later", name="a")
    wait_until(lambda: "a" in slow.asked)
    slow.asked["a"].give(Refusal(Code.NOT_NOW, "it cannot be had"))
    slow.asked["a"].give("too late")
    assert client.receive()["error"] == {"code": Code.NOT_NOW, "message": "it cannot be had"}
    assert client.call("now") == "now"


def test_an_answer_that_does_not_come_in_time_is_an_error_and_the_client_goes_on(
    slow: Slow, connect: Connect
) -> None:
    slow.limit = 0.05
    client = connect()
    client.ask(1, "later", name="a")
    assert client.receive()["error"] == {
        "code": Code.NOT_NOW,
        "message": "a is not there in time",
    }
    slow.asked["a"].give("too late")
    assert client.call("now") == "now"


def test_one_that_was_given_before_it_is_awaited_is_sent_at_once(connect: Connect) -> None:
    there = Later(60, "late")
    there.give("at once")
    told: list[bool] = []
    there.when_there(lambda: told.append(there.is_there))
    assert told == [True]
    assert there.outcome() == "at once"


def test_a_client_that_has_closed_its_side_still_gets_the_answer_it_awaits(
    slow: Slow, connect: Connect
) -> None:
    client = connect()
    client.ask(1, "later", name="a")
    client.connection.shutdown(socket.SHUT_WR)
    wait_until(lambda: "a" in slow.asked)
    slow.asked["a"].give("there")
    assert client.receive()["result"] == "there"
    assert everything(client.connection) == b""


def test_a_client_that_leaves_without_its_answer_holds_up_no_other(
    slow: Slow, connect: Connect
) -> None:
    leaving, staying = connect(), connect()
    leaving.ask(1, "later", name="a")
    wait_until(lambda: "a" in slow.asked)
    leaving.close()
    slow.asked["a"].give("there")
    assert staying.call("now") == "now"


class Connected:
    """A server that is asked about on a connection, as a worker is."""

    def __init__(self, server: Server) -> None:
        ours, theirs = socket.socketpair()
        self.leave = control_sockets.enter_connected(server.controls, theirs)
        self.client = Caller(ours)


@pytest.fixture
def connected() -> Iterator[tuple[Server, Connected]]:
    with Server(Echo, "tcp://127.0.0.1:0") as server:
        made = Connected(server)
        yield server, made
        made.leave()
        made.client.close()


def test_a_server_is_asked_about_and_watched_on_a_connection(
    connected: tuple[Server, Connected],
) -> None:
    server, made = connected
    assert made.client.hello["role"] == "worker"
    with call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        [row] = made.client.call("connections.list")["items"]
        assert made.client.call("connections.close", id=row["id"])["closed"] == [row["id"]]
    assert made.client.call("watch", what=["stats"])["watching"] == ["stats"]
    assert made.client.receive()["method"] == "stats"


def test_to_leave_closes_the_connection_and_gives_all_descriptors_back() -> None:
    with Server(Echo, "tcp://127.0.0.1:0") as server:
        # Its accept loop has all its own once it has served.
        assert ask(bound(server)) == b"hello\n"
        assert server.wait_for_connections(0, PATIENCE)
        before = open_descriptors()
        made = Connected(server)
        made.leave()
        made.leave()
        assert everything(made.client.connection) == b""
        made.client.close()
        wait_for_descriptors(before)


def test_a_client_that_has_gone_is_no_harm_to_the_server() -> None:
    with Server(Echo, "tcp://127.0.0.1:0") as server:
        made = Connected(server)
        made.client.close()
        made.leave()
        again = Connected(server)
        assert again.client.call("status")["books"]["open"] == 0
        again.leave()
        again.client.close()


def test_a_system_without_a_thread_left_leaves_no_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*_: object, name: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("manyhands.poll_server.server.start_native_thread", start)
    ours, theirs = socket.socketpair()
    with ours, pytest.raises(RuntimeError):
        control_sockets.enter_connected(Server(Echo, "tcp://127.0.0.1:0").controls, theirs)
    assert theirs.fileno() == -1
