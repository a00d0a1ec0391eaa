"""A supervisor's control socket: one answer of all workers, whatever becomes of some of them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, metrics
from manyhands.control.client import Client, Refused
from manyhands.control.protocol import Code
from manyhands.model.usage_errors import Mistake
from manyhands.testing import read_line
from tests.metrics.scraping import scrape
from tests.support import Echo, wait_until

from .conftest import Controlled
from .fleet_kit import PLACES_EACH, Supervised, Worker, supervised

MANY = 3


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    with supervised(tmp_path_factory.mktemp("fleet"), MANY) as made:
        yield made


@pytest.fixture
def fleet(all_of_them: Supervised) -> Iterator[Supervised]:
    """Workers that no client is connected with, shared by all tests that leave them alive."""
    yield all_of_them
    all_of_them.hang_up()


@pytest.fixture
def mortals(tmp_path: Path) -> Iterator[Supervised]:
    """Two workers of a test's own."""
    with supervised(tmp_path, 2) as made:
        yield made


def connected(fleet: Supervised, *numbers: int) -> list[str]:
    """Call workers, one after the other; return the ids."""
    for number in numbers:
        fleet.fleet.members[number - 1].call()
    return [item["id"] for item in fleet.client.call("connections.list", sort="age")["items"]][::-1]


def test_a_supervisor_says_what_it_is(fleet: Supervised) -> None:
    assert fleet.client.hello.role == "supervisor"


def test_the_status_has_the_supervisor_s_books_and_all_workers(fleet: Supervised) -> None:
    connected(fleet, 1, 2, 2)
    status = fleet.client.call("status")
    assert status["missing"] == []
    assert [each["number"] for each in status["workers"]] == [1, 2, 3]
    assert [each["pid"] for each in status["workers"]] == [each.pid for each in fleet.fleet.members]
    [server] = status["servers"]
    # Of the kit, whose workers have ports of their own: a real supervisor counts what it deals.
    assert status["books"]["accepted"] == 0
    [engine] = [each for each in server["engines"] if each["name"] == "threads"]
    assert engine["running"] == 3
    assert status["process"]["rss"] > max(each["process"]["rss"] for each in status["workers"])
    assert all(each["age"] > 0 for each in status["workers"])


def test_connections_of_all_workers_are_one_list(fleet: Supervised) -> None:
    connected(fleet, 2, 1, 3)
    listed = fleet.client.call("connections.list")
    assert [item["id"] for item in listed["items"]] == sorted(
        (item["id"] for item in listed["items"]), key=int
    )
    assert [item["worker"] for item in listed["items"]] == [1, 2, 3]
    assert (listed["total"], listed["open"], listed["missing"]) == (3, 3, [])
    [one] = fleet.client.call("connections.list", where={"worker": 2})["items"]
    assert one["worker"] == 2


@pytest.mark.parametrize("sort", ["id", "-id", "age", "-age", "-in", "out", "peer", "-reason"])
def test_pages_lead_through_all_of_them_in_one_order(fleet: Supervised, sort: str) -> None:
    for number in (1, 2, 3, 2, 1, 2):
        fleet.fleet.members[number - 1].call(b"x" * number * 10 + b"\n")
    whole = fleet.client.call("connections.list", sort=sort)["items"]
    assert len(whole) == 6
    paged: list[Any] = []
    after = None
    for _ in range(3):
        page = fleet.client.call("connections.list", sort=sort, limit=2, after=after)
        paged += page["items"]
        after = page["next"]
    assert after is None
    assert [item["id"] for item in paged] == [item["id"] for item in whole]


def test_an_order_is_that_of_the_values(fleet: Supervised) -> None:
    for number, size in ((1, 30), (2, 50), (3, 10), (1, 40)):
        fleet.fleet.members[number - 1].call(b"x" * size + b"\n")
    received = [item["in"] for item in fleet.client.call("connections.list", sort="-in")["items"]]
    assert received == sorted(received, reverse=True)


def test_what_a_worker_refuses_is_refused(fleet: Supervised) -> None:
    with pytest.raises(Refused, match="after must be the next of the page before"):
        fleet.client.call("connections.list", after="nonsense")
    with pytest.raises(Refused, match="there is no worker 9; there is 1, 2, 3"):
        fleet.client.call("connections.list", where={"worker": 9})
    with pytest.raises(Refused, match="there is no server 99"):
        fleet.client.call("connections.list", where={"server": 99})


def test_one_connection_is_told_by_the_worker_that_has_it(fleet: Supervised) -> None:
    [wanted] = connected(fleet, 2)
    told = fleet.client.call("connections.get", id=wanted)
    assert (told["id"], told["worker"]) == (wanted, 2)
    assert told["pid"] == fleet.fleet.members[1].pid
    assert any("handle" in call for call in told["stack"])


def test_connections_of_several_workers_are_closed_at_once(fleet: Supervised) -> None:
    ids = connected(fleet, 1, 3)
    unknown = str(5 * PLACES_EACH)
    done = fleet.client.call("connections.close", ids=[*ids, unknown, "nonsense"])
    assert sorted(done["closed"]) == sorted(ids)
    assert done["gone"] == [unknown, "nonsense"]
    wait_until(lambda: not fleet.client.call("connections.list")["total"])


def test_how_a_connection_ended_is_told_by_the_worker_that_had_it(fleet: Supervised) -> None:
    [wanted] = connected(fleet, 1)
    assert fleet.client.call("connections.close", id=wanted)["closed"] == [wanted]
    wait_until(lambda: not fleet.client.call("connections.list")["total"])
    for verb in ("connections.get", "connections.close", "stacks"):
        with pytest.raises(Refused, match=rf"no connection {wanted}: it ended \d s ago, kicked"):
            fleet.client.call(verb, id=wanted)
    with pytest.raises(Refused, match="there is no connection 'a b'"):
        fleet.client.call("connections.get", id="a b")


def test_stacks_are_those_of_all_handlers(fleet: Supervised) -> None:
    ids = connected(fleet, 3, 1)
    told = fleet.client.call("stacks")
    assert [item["id"] for item in told["items"]] == sorted(ids, key=int)
    assert [item["worker"] for item in told["items"]] == [1, 3]
    assert [item["pid"] for item in told["items"]] == [
        fleet.fleet.members[0].pid,
        fleet.fleet.members[2].pid,
    ]
    assert {each.get("worker") for each in told["threads"]} == {None, 1, 2, 3}
    [one] = fleet.client.call("stacks", id=ids[0])["items"]
    assert one["id"] == ids[0]
    assert (told["total"], fleet.client.call("stacks", limit=1)["total"]) == (2, 2)


def test_rooms_are_those_of_all_workers_and_a_line_goes_to_all_members(fleet: Supervised) -> None:
    peers = [
        fleet.fleet.members[number].call(f"join {room}\n".encode())
        for number, room in ((0, "red"), (1, "red"), (1, "blue"), (2, "green"))
    ]
    listed = fleet.client.call("rooms.list")
    assert {item["room"]: item["members"] for item in listed["items"]} == {
        "blue": 1,
        "green": 1,
        "red": 2,
    }
    assert (listed["total"], listed["next"]) == (3, None)
    first = fleet.client.call("rooms.list", limit=2)
    assert [item["room"] for item in first["items"]] == ["blue", "green"]
    rest = fleet.client.call("rooms.list", limit=2, after=first["next"])
    assert [(item["room"], item["members"]) for item in rest["items"]] == [("red", 2)]
    assert rest["next"] is None
    assert fleet.client.call("rooms.tell", room="red", text="hi\n")["told"] == 2
    assert [read_line(peer) for peer in peers[:2]] == [b"hi\n", b"hi\n"]
    with pytest.raises(Refused, match="there is no room 'grey'"):
        fleet.client.call("rooms.tell", room="grey", text="hi\n")


def idle_timeout_of(fleet: Supervised, wanted: str) -> object:
    """Return a limit as the worker of a connection has it."""
    return fleet.client.call("connections.get", id=wanted)["deadlines"]["idle_timeout"]


def test_limits_are_set_in_the_supervisor_and_in_all_workers(mortals: Supervised) -> None:
    ids = connected(mortals, 1, 2)
    done = mortals.client.call("limits.set", values={"idle_timeout": "7m", "deny": "::9"})
    assert done == {"values": {"idle_timeout": 420, "deny": "::9"}, "missing": []}
    assert mortals.server.idle_timeout == 420
    assert [idle_timeout_of(mortals, each) for each in ids] == [420, 420]


def test_a_worker_that_comes_later_has_the_limits_that_were_set(mortals: Supervised) -> None:
    mortals.client.call("limits.set", values={"idle_timeout": 420})
    mortals.fleet.members[0].kill()
    made = mortals.fleet.replace(1)
    # Nobody asks for anything until then.
    wait_until(lambda: made.control.fileno() < 0)
    [wanted] = connected(mortals, 1)
    assert idle_timeout_of(mortals, wanted) == 420


def test_a_limit_that_does_not_fit_is_set_nowhere(fleet: Supervised) -> None:
    before = fleet.server.idle_timeout
    with pytest.raises(Refused, match="max_connections must be"):
        fleet.client.call("limits.set", values={"idle_timeout": 7, "max_connections": -1})
    assert fleet.server.idle_timeout == before


def test_what_one_worker_refuses_is_set_nowhere_in_the_end(tmp_path: Path) -> None:
    with supervised(tmp_path, 1) as fleet:
        # One of another kind, whose server has no such limit.
        fleet.fleet.members.append(other := Worker(2, kind="drop-in"))
        other.wait_until_it_serves()
        [wanted] = connected(fleet, 1)
        drain, idle = fleet.server.drain_timeout, fleet.server.idle_timeout
        assert idle_timeout_of(fleet, wanted) == idle
        values = {"idle_timeout": 777, "drain_timeout": drain + 1}
        with pytest.raises(Refused, match="worker 2 refuses: there is no limit 'drain_timeout'"):
            fleet.client.call("limits.set", values=values)
        assert (fleet.server.drain_timeout, fleet.server.idle_timeout) == (drain, idle)
        assert idle_timeout_of(fleet, wanted) == idle


def test_a_worker_that_does_not_answer_is_missing_and_holds_up_nobody_for_long(
    fleet: Supervised,
) -> None:
    connected(fleet, 1, 2)
    with fleet.fleet.members[1].stopped(), Client(fleet.place) as other:
        began = time.monotonic()
        asking = threading.Thread(target=other.call, args=["status"])
        asking.start()
        # Not even meanwhile: what needs no worker is answered at once.
        assert fleet.client.call("workers.list")["items"]
        assert time.monotonic() - began < 1
        status = fleet.client.call("status")
        assert status["missing"] == [2]
        assert len(status["workers"]) == MANY
        listed = fleet.client.call("connections.list")
        assert ([item["worker"] for item in listed["items"]], listed["missing"]) == ([1], [2])
        with pytest.raises(
            Refused, match=r"worker 2, process \d+, has not answered in 1 s"
        ) as said:
            fleet.client.call("connections.close", id=str(2 * PLACES_EACH + 1))
        assert said.value.code == Code.NOT_NOW
        asking.join()
    wait_until(lambda: not fleet.client.call("status")["missing"])


def test_a_worker_that_ends_is_no_error_and_its_successor_is_asked(mortals: Supervised) -> None:
    assert mortals.client.call("status")["missing"] == []
    mortals.fleet.members[0].kill()
    assert mortals.client.call("status")["missing"] == [1]
    made = mortals.fleet.replace(1)
    status = mortals.client.call("status")
    assert status["missing"] == []
    first = status["workers"][0]
    assert (first["pid"], first["restarts"]) == (made.pid, 1)


def counters(text: str) -> dict[str, float]:
    """Return the figures of Prometheus that never fall, by their names and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {
        name: float(value) for name, _, value in lines if name.partition("{")[0][-6:] == "_total"
    }


def test_figures_are_added_up_and_no_counter_falls_when_a_worker_ends(mortals: Supervised) -> None:
    mortals.client.call("metrics")
    for worker in mortals.fleet.members:
        worker.call(b"x" * 99 + b"\n")
    text = mortals.client.call("metrics")["text"]
    before = counters(text)
    assert before["manyhands_received_bytes_total"] == 200
    assert 'manyhands_engine_running{engine="threads",worker="1"} 1.0' in text
    assert 'process_resident_memory_bytes{worker="2"}' in text
    mortals.fleet.members[0].kill()
    mortals.fleet.replace(1).call(b"hello\n")
    after = counters(mortals.client.call("metrics")["text"])
    assert after["manyhands_received_bytes_total"] == 206
    own = {name: value for name, value in before.items() if not name.startswith("process_")}
    assert {name: after[name] for name, value in own.items() if after[name] < value} == {}


def test_a_scrape_has_the_figures_of_all_and_waits_for_no_worker_long(mortals: Supervised) -> None:
    with metrics.serve(mortals.server, "127.0.0.1:0") as exporter:
        scrape(exporter)
        for worker in mortals.fleet.members:
            worker.call(b"x" * 99 + b"\n")
        # A worker that is late counts with what it told before: on a busy machine the first ones are.
        wait_until(lambda: scrape(exporter)["manyhands_received_bytes_total"] == 200)
        figures = scrape(exporter)
        assert figures['manyhands_engine_running{engine="threads",worker="2"}'] == 1
        with mortals.fleet.members[0].stopped():
            began = time.monotonic()
            # With what it told last.
            assert scrape(exporter)["manyhands_received_bytes_total"] == 200
            assert time.monotonic() - began < 1
    with metrics.serve(Server(Echo, "tcp://127.0.0.1:0"), "127.0.0.1:0") as other:
        assert not [name for name in scrape(other) if "worker=" in name]


def test_those_who_watch_are_told_of_all_workers(fleet: Supervised) -> None:
    with Client(fleet.place) as client:
        client.watch("stats", "events", every=0.1)
        peer = fleet.fleet.members[2].call()
        [wanted] = [item["id"] for item in fleet.client.call("connections.list")["items"]]
        peer.close()
        told: list[dict[str, Any]] = []
        stats: dict[str, Any] = {}
        while not told or not stats:
            notification = client.receive()
            assert notification is not None
            if notification.kind == "stats":
                stats = notification.params
            else:
                items = notification.params["items"]
                told += [each for each in items if each["event"] == "ConnectionClosed"]
        assert (told[0]["number"], told[0]["worker"]) == (int(wanted), 3)
        assert stats["missing"] == []
        assert len(stats["workers"]) == MANY


def test_stats_add_the_bytes_of_all_workers_up_and_no_sum_falls(mortals: Supervised) -> None:
    def bytes_in() -> Any:
        while True:
            notification = client.receive()
            assert notification is not None
            if notification.kind == "stats":
                return notification.params["servers"][0]["bytes_in"]

    with Client(mortals.place) as client:
        client.watch("stats", every=0.1)
        for worker in mortals.fleet.members:
            worker.call(b"x" * 99 + b"\n")
        wait_until(lambda: bytes_in() == 200)
        mortals.fleet.members[1].kill()
        mortals.fleet.replace(2)
        for _ in range(12):
            assert bytes_in() == 200


def test_workers_are_replaced_and_counted_and_the_outcome_is_the_answer(fleet: Supervised) -> None:
    held: list[Any] = []
    fleet.fleet.say = held.append
    fleet.fleet.asked.clear()
    with Client(fleet.place) as waiting:
        answers: list[Any] = []
        for verb, params in (
            ("workers.restart", {"worker": 2}),
            ("workers.restart", {}),
            ("workers.scale", {"count": 5}),
            ("reload", {}),
        ):
            asking = threading.Thread(
                target=lambda verb, params: answers.append(waiting.call(verb, **params)),
                args=[verb, params],
            )
            asking.start()
            wait_until(lambda: held)
            # Others are answered meanwhile.
            assert fleet.client.call("workers.list")["generation"] == 1
            held.pop()(None)
            asking.join()
    assert fleet.fleet.asked == [("restart", 2), ("restart", None), ("scale", 5), ("reload",)]
    assert answers == [
        {"restarted": True},
        {"restarted": True},
        {"count": 5},
        {"reloaded": True, "what": "generation 1", "generation": 1},
    ]
    fleet.fleet.say = lambda done: done("the program cannot be loaded: no module named shop")
    with pytest.raises(Refused, match="no module named shop") as said:
        fleet.client.call("reload")
    assert said.value.code == Code.NOT_NOW
    with pytest.raises(Refused, match="there is no worker 9"):
        fleet.client.call("workers.restart", worker=9)


def test_a_server_without_workers_says_so(controlled: Controlled) -> None:
    with controlled() as server:
        client = server.client()
        for verb, params in (
            ("workers.list", {}),
            ("workers.restart", {"worker": 1}),
            ("workers.scale", {"count": 2}),
            ("connections.list", {"where": {"worker": 1}}),
        ):
            with pytest.raises(Refused, match="this server has no workers") as said:
                client.call(verb, **params)
            assert said.value.code == Code.NOT_NOW


def test_listeners_and_the_drain_are_the_supervisor_s(mortals: Supervised) -> None:
    done = mortals.client.call("listeners.suspend")
    assert [each["is_suspended"] for each in done["listeners"]] == [True]
    assert mortals.server.info().listeners[0].is_suspended
    assert mortals.client.call("drain") == {"is_draining": True}
    wait_until(lambda: mortals.server.info().is_draining or not mortals.server.addresses)


def test_another_server_of_the_process_cannot_share_its_socket(fleet: Supervised) -> None:
    other = Server(Echo, "tcp://127.0.0.1:0", control=fleet.place)
    with pytest.raises(Mistake, match="a server with workers has a control socket of its own"):
        other.listen()
    assert fleet.client.call("status")["missing"] == []
