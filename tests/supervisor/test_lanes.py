"""Datagrams: each worker reads a socket of its own, and that of a neighbour which is down."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from manyhands import Server
from manyhands.control.client import Client, Refused, Unreachable
from manyhands.listening.endpoints import Endpoint
from manyhands.supervisor import lanes
from manyhands.supervisor.channels import Listening, channels_of
from manyhands.supervisor.lanes import Lanes, neighbour
from manyhands.supervisor.worker import State, Worker
from manyhands.workers.dealt_books import DealtAdmission, DealtRegistry
from manyhands.workers.records import Kind, Lane, RecordReader
from manyhands.workers.shared_page import SharedPage
from tests.supervisor.kit import ENGINES, kill, serving, workers
from tests.supervisor.test_faults import template_of
from tests.support.processes import state_of
from tests.support.programs import Program
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

UDP = "udp://127.0.0.1:0"
ENDPOINT = Endpoint(
    socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9), is_dual_stack=False, is_tls=False
)

# The rules


class Fleet:
    """Two workers of a generation, and one of the generation before."""

    def __init__(self, undo: ExitStack) -> None:
        page = SharedPage()
        undo.callback(page.close)
        lane = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.listening = [Listening(ENDPOINT, False, (lane.fileno(), lane.fileno()))]
        self.serving: Any = SimpleNamespace(number=2)
        self.suspended = False
        self.workers: list[Worker] = []
        self._links: list[socket.socket] = []
        for slot, (number, generation) in enumerate([(1, 2), (2, 2), (1, 1)]):
            with channels_of(self.listening, number) as (here, there):
                worker = Worker(number, generation, (page.slot(slot), slot), here)
                link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(there.link))
                assert [position for position, _ in there.spares] == [0]
            self._links.append(undo.enter_context(link))
            link.setblocking(False)
            undo.callback(worker.close)
            worker.state = State.SERVING
            self.workers.append(worker)
        self._lanes = Lanes(self)

    def is_suspended(self, position: int) -> bool:
        assert position == 0
        return self.suspended

    def told(self) -> list[int | None]:
        """Look, and return what each worker is told to read; None of one that is told nothing."""
        self._lanes.look()
        found: list[int | None] = []
        for link in self._links:
            try:
                [record] = RecordReader().feed(link.recv(100))
            except BlockingIOError:
                found.append(None)
                continue
            assert (record.kind, record.place) == (Kind.LANES, 0)
            found.append(int(record.body))
        return found


BOTH = Lane.OWN | Lane.NEIGHBOURS


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with ExitStack() as undo:
        yield Fleet(undo)


def test_each_has_one_neighbour_and_no_socket_is_without() -> None:
    assert [neighbour(number, 4) for number in (1, 2, 3, 4)] == [2, 3, 4, 1]


def test_an_old_generation_reads_no_more_once_another_one_serves(fleet: Fleet) -> None:
    assert fleet.told() == [None, None, Lane(0)]
    assert fleet.told() == [None, None, None]


def test_a_worker_that_is_down_has_its_socket_read_until_it_is_back(fleet: Fleet) -> None:
    fleet.told()
    fleet.workers[1].state = State.STARTING
    assert fleet.told() == [BOTH, None, None]
    assert fleet.told() == [None, None, None]
    fleet.workers[1].state = State.SERVING
    assert fleet.told() == [Lane.OWN, None, None]


def test_so_has_one_whose_loop_stands_still_but_for_one_that_serves_in_it(fleet: Fleet) -> None:
    fleet.told()
    fleet.workers[0].last_turn_at -= lanes.STANDS_STILL + 1
    assert fleet.told() == [None, BOTH, None]
    fleet.workers[0].turns_while_serving = False
    assert fleet.told() == [None, Lane.OWN, None]


def test_nobody_reads_what_is_suspended(fleet: Fleet) -> None:
    fleet.told()
    fleet.suspended = True
    assert fleet.told() == [Lane(0), Lane(0), None]
    fleet.suspended = False
    assert fleet.told() == [Lane.OWN, Lane.OWN, None]


def test_the_limits_on_datagrams_are_parted_among_the_workers() -> None:
    class Ends:
        """Is told nothing."""

        def tell_end(self, *_: object) -> None:
            raise NotImplementedError

        identify: Any = tell_end

    given = {"max_datagrams": 1000, "max_rate": 10, "rate_burst": 5, "max_rate_per_ip": 7.0}
    four = DealtAdmission(DealtRegistry(Ends()), Ends(), 4).own_part_of(given)
    assert four == {"max_datagrams": 250, "max_rate": 2.5, "rate_burst": 2, "max_rate_per_ip": 7.0}
    # A worker that serves none would leave what comes to it.
    few = DealtAdmission(DealtRegistry(Ends()), Ends(), 8).own_part_of({"max_datagrams": 3})
    assert few == {"max_datagrams": 1}


# Servers


def tell_pid(request: Any, address: Any, server: Any) -> None:
    """Answer a datagram, or one line after the other of a connection, with the process of the worker."""
    if isinstance(request, tuple):
        pid = os.getppid() if server.owner.engine.name == "processes" else os.getpid()
        request[1].sendto(b"%d" % pid, address)
        return
    with request.makefile("rwb", 0) as stream:
        for _ in stream:
            stream.write(b"%d\n" % os.getpid())


class Sender:
    """A socket for datagrams, which go to one worker."""

    def __init__(self, address: Any) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.socket.send(b"hi")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def answer(self) -> int:
        """Return the process of the worker that answers."""
        with self.socket:
            return int(self.socket.recv(100))


def answers(address: Any, count: int = 24) -> set[int]:
    """Return whose answers so many senders get: each of them has one."""
    every = [Sender(address) for _ in range(count)]
    return {each.answer() for each in every}


@pytest.mark.parametrize("engine", ENGINES)
def test_while_a_worker_is_down_its_neighbour_answers(engine: str) -> None:
    with Server(tell_pid, UDP, workers=2, engine=engine) as server:
        wait_until(lambda: len(answers(bound(server))) == 2)
        victim, other = serving(server)
        template = template_of(server)
        # So no successor comes.
        kill(template, signal.SIGSTOP)
        kill(victim)
        assert answers(bound(server)) == {other}
        kill(template, signal.SIGCONT)
        wait_until(lambda: len(answers(bound(server))) == 2)


def close_when_told(request: Any, address: Any, server: Any) -> None:
    """Answer, and close the address when that is said."""
    request[1].sendto(b"%d" % os.getpid(), address)
    if request[0] == b"close":
        server.server_close()


def is_refused(address: Any) -> bool:
    """Tell whether nothing has the address open."""
    senders = [Sender(address) for _ in range(24)]
    refused = 0
    for each in senders:
        with each.socket:
            each.socket.settimeout(0)
            try:
                each.socket.recv(100)
            except ConnectionRefusedError:
                refused += 1
            except BlockingIOError:
                pass  # it waits somewhere
    return refused == len(senders)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_an_address_that_one_worker_closes_is_closed_in_all_and_stays_so(engine: str) -> None:
    with Server(close_when_told, UDP, UDP, workers=2, engine=engine) as server:
        closed, other = bound(server), bound(server, 1)
        assert len(answers(closed)) == 2
        with Sender(closed) as sender:
            sender.socket.send(b"close")
            wait_until(lambda: is_refused(closed))
        assert len(answers(other)) == 2
        assert server.reload()
        # Old workers may answer what had come to them.
        wait_until(lambda: len(answers(other)) == 2)
        wait_until(lambda: is_refused(closed))


def test_while_a_worker_is_stopped_its_neighbour_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "STANDS_STILL", 0.0)
    with Server(tell_pid, UDP, workers=2) as server:
        victim, other = serving(server)
        kill(victim, signal.SIGSTOP)
        # Until then it may take one, and answer it later.
        wait_until(lambda: state_of(victim) == "T")
        assert answers(bound(server)) == {other}
        kill(victim, signal.SIGCONT)
        wait_until(lambda: len(answers(bound(server))) == 2)
        assert victim in serving(server)


def test_where_connections_stay_the_old_code_answers_no_datagrams() -> None:
    with (
        Server(tell_pid, UDP, "tcp://127.0.0.1:0", workers=2, reload_drain="stay") as server,
        socket.create_connection(bound(server, 1)) as caller,
        caller.makefile("rwb", 0) as stream,
    ):
        stream.write(b"hi\n")
        old = int(stream.readline())
        assert server.reload()
        new = {each.pid for each in workers(server) if each.generation == 2}
        wait_until(lambda: answers(bound(server)) == new)
        stream.write(b"hi\n")
        assert int(stream.readline()) == old
        assert answers(bound(server)) == new


def test_a_suspended_address_is_read_by_no_worker_until_it_is_resumed() -> None:
    with Server(tell_pid, UDP, workers=2) as server:
        fleet = server._sockets.fleet  # type: ignore[attr-defined]
        server.suspend()
        wait_until(lambda: [each.lanes for each in fleet.workers] == [{0: 0}, {0: 0}])
        server.resume()
        assert len(answers(bound(server))) == 2


def test_a_rate_holds_over_all_workers(tmp_path: Path) -> None:
    place = tmp_path / "control"
    limits: dict[str, Any] = {"max_rate": 0.01, "rate_burst": 6}
    with Server(tell_pid, UDP, workers=2, control=place, **limits) as server:
        every = [Sender(bound(server)) for _ in range(40)]

        def dropped() -> int:
            with Client(str(place)) as client:
                [told] = client.call("status")["servers"]
            return sum(told["dropped"].values())

        wait_until(lambda: dropped() == 34)
        with ExitStack() as stack:
            waiting = {stack.enter_context(each.socket) for each in every}

            def answered() -> int:
                """Return how many have an answer: of the last ones it may be on its way still."""
                came, _, _ = select.select(list(waiting), [], [], 0)
                waiting.difference_update(came)
                return len(every) - len(waiting)

            wait_until(lambda: answered() == 6)


ANSWERS = """
from pathlib import Path
from manyhands import Server
from tests.supervisor.test_lanes import UDP, tell_pid

if __name__ == "__main__":
    workers = int(Path("count").read_text())
    stays = {"reload_drain": "stay", "control": "control"}
    server = Server(tell_pid, UDP, "tcp://127.0.0.1:0", workers=workers, engine="threads", **stays)
    server.run(lambda: print(*(each.port for each in server.addresses), flush=True))
"""


@pytest.mark.parametrize(("before", "asked", "after"), [(3, 2, 3), (2, 3, 3), (1, 2, 2)])
def test_after_an_upgrade_to_another_number_of_workers_each_datagram_has_a_reader(
    before: int, asked: int, after: int, tmp_path: Path
) -> None:
    (tmp_path / "answers.py").write_text(ANSWERS)
    (tmp_path / "count").write_text(str(before))
    with Program(["answers.py"], tmp_path) as program:
        datagrams, streams = [("127.0.0.1", int(port)) for port in program.line().split()]
        with (
            socket.create_connection(streams) as caller,
            caller.makefile("rwb", 0) as stream,
        ):
            # So one of the old workers stays.
            stream.write(b"hi\n")
            old = int(stream.readline())
            (tmp_path / "count").write_text(str(asked))
            program.send(signal.SIGUSR2)
            program.line()

            def new() -> set[int]:
                """Return the processes of the new workers that serve."""
                try:
                    with Client(str(tmp_path / "control")) as client:
                        told = client.call("workers.list")["items"]
                except (Unreachable, Refused):
                    return set()
                seen = [each for each in told if each["generation"] == 2]
                return {each["pid"] for each in seen if each["state"] == "serving"}

            wait_until(lambda: len(new()) == after)
            # Sixty come to each socket, and an old worker may read its own for a moment still.
            wait_until(lambda: answers(datagrams, 60) <= new())
            stream.write(b"hi\n")
            assert int(stream.readline()) == old
