"""Workers that die, hang, are stopped, or are out of something: in each state, with books that balance."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from pathlib import Path

import gevent
import pytest

from manyhands import Server, StreamRequestHandler, events
from tests.supervisor.kit import (
    ENGINES,
    Caller,
    Pid,
    callers,
    close,
    is_balanced,
    kill,
    serving,
    wait_for_another,
    workers,
)
from tests.support.certificates import Authority
from tests.support.processes import children_of, stop
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"


def closed_in_the_end(server: Server) -> dict[str, int]:
    """Wait until nothing is open; return the reasons."""
    assert server.wait_for_connections(0, PATIENCE)
    assert is_balanced(server)
    return server.info().closed


# Killed in each state


def test_a_worker_is_killed_while_it_shakes_hands(authority: Authority, tmp_path: Path) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    with Server(Pid, "tls://127.0.0.1:0", workers=1, certfile=certfile, keyfile=keyfile) as server:
        [victim] = serving(server)
        with Caller(bound(server)) as caller:
            # The beginning of a record of TLS, which the worker waits for the rest of.
            caller.socket.sendall(b"\x16\x03\x01\x02\x00")
            wait_until(lambda: workers(server)[0].begun == 1)
            kill(victim)
            caller.wait_for_the_end()
        assert closed_in_the_end(server) == {"worker_died": 1}


def test_a_worker_is_killed_while_it_waits_for_the_rest_of_a_proxy_header() -> None:
    with Server(
        Pid, ANY, workers=1, proxy_protocol=True, max_connections_per_ip=1, handshake_timeout=60
    ) as server:
        [victim] = serving(server)
        with Caller(bound(server)) as caller:
            caller.socket.sendall(b"PROXY TCP4 192.0.2.7 ")
            wait_until(lambda: workers(server)[0].begun == 1)
            kill(victim)
            caller.wait_for_the_end()
        # Neither address is counted any more.
        wait_for_another(server, victim, 1)
        for _ in range(3):
            with Caller(bound(server)) as caller:
                caller.socket.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
                assert caller.ask() in serving(server)
            assert server.wait_for_connections(0, PATIENCE)
        assert closed_in_the_end(server) == {"worker_died": 1, "peer_closed": 3}


class Stays(StreamRequestHandler):
    """Is not impressed by a drain."""

    def handle(self) -> None:
        self.wfile.write(b"%d hi\n" % os.getpid())
        sleep = gevent.sleep if self.server.owner.engine.name == "fibers" else time.sleep
        while True:
            sleep(0.01)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_worker_is_killed_while_it_drains(engine: str) -> None:
    with Server(Stays, ANY, workers=2, engine=engine, drain_timeout=60) as server:
        with Caller(bound(server)) as caller:
            victim = caller.answer()
            kill(victim, signal.SIGTERM)
            wait_until(lambda: "draining" in {each.state for each in workers(server)})
            wait_for_another(server, victim)
            kill(victim)
            assert caller.end() == b""
        assert closed_in_the_end(server) == {"worker_died": 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_that_never_returns_is_cut_off_by_the_drain(engine: str) -> None:
    server = Server(Stays, ANY, workers=2, engine=engine)
    server.start()
    every = [Caller(bound(server)) for _ in range(4)]
    for each in every:
        each.answer()
    left = server.drain(0.3)
    assert [each.number for each in left] == [1, 2, 3, 4]
    assert all("Stays" in each.doing or "in handle" in each.doing for each in left)
    assert closed_in_the_end(server) == {"cut_off": 4}
    close(every)


def test_the_drain_of_a_worker_that_is_stopped_has_an_end() -> None:
    server = Server(Pid, ANY, workers=2)
    server.start()
    every = callers(server, 2)
    stop(every[0].ask())
    server.drain(0.2)
    assert sum(closed_in_the_end(server).values()) == 2
    close(every)


class Exits(StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        os._exit(3)


@pytest.mark.parametrize("engine", ["threads", "fibers", "sequential"])
def test_a_handler_that_ends_its_process_ends_that_worker_alone(
    engine: str, seen: list[events.Event]
) -> None:
    with Server(Exits, ANY, workers=2, engine=engine) as server:
        with Caller(bound(server)) as first, Caller(bound(server)) as second:
            wait_until(lambda: [each.open for each in workers(server)] == [1, 1])
            first.socket.sendall(b"now\n")
            assert first.end() == b""
            wait_until(lambda: any(isinstance(each, events.WorkerDied) for each in seen))
            wait_until(lambda: len(serving(server)) == 2)
            [died] = [each for each in seen if isinstance(each, events.WorkerDied)]
            assert (died.how, died.lost, died.dealt_again) == ("with the status 3", 1, 0)
            second.socket.shutdown(socket.SHUT_RDWR)
            assert server.wait_for_connections(0, PATIENCE)
        assert is_balanced(server)


# Stopped


def test_clients_go_elsewhere_when_a_stopped_worker_has_had_its_share() -> None:
    with Server(Pid, ANY, workers=2) as server:
        stopped = serving(server)[0]
        stop(stopped)
        waiting = [Caller(bound(server)) for _ in range(4)]
        for each in waiting:
            each.socket.sendall(b"hi\n")
        wait_until(lambda: server.info().accepted == 4)
        # Every other one is the stopped worker's; the others the other's.
        kill(stopped, signal.SIGCONT)
        assert [each.answer() for each in waiting].count(stopped) == 2
        close(waiting)
        assert closed_in_the_end(server) == {"peer_closed": 4}


def test_a_stopped_worker_keeps_no_more_waiting_than_its_credits_and_death_gives_them_back() -> (
    None
):
    with Server(Pid, ANY, workers=2, max_threads=200) as server:
        stopped, other = serving(server)
        stop(stopped)
        every = [Caller(bound(server)) for _ in range(200)]
        for each in every:
            each.socket.sendall(b"hi\n")
        wait_until(lambda: server.info().accepted == 200)
        wait_until(lambda: sorted(each.open for each in workers(server)) == [64, 136])
        kill(stopped)
        answers = {each.answer() for each in every}
        assert stopped not in answers
        assert other in answers
        close(every)
        assert closed_in_the_end(server) == {"peer_closed": 200}


# Hangs


class HoldsTheInterpreter(StreamRequestHandler):
    def handle(self) -> None:
        if self.rfile.readline() == b"hold\n":
            ctypes.PyDLL(None).sleep(1000)
        self.wfile.write(b"%d hi\n" % os.getpid())


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_worker_that_holds_the_interpreter_is_replaced_and_tells_where(
    engine: str, seen: list[events.Event]
) -> None:
    with Server(HoldsTheInterpreter, ANY, workers=2, engine=engine, worker_timeout=3) as server:
        with Caller(bound(server)) as bad, Caller(bound(server)) as good:
            wait_until(lambda: [each.open for each in workers(server)] == [1, 1])
            began = time.monotonic()
            bad.socket.sendall(b"hold\n")
            assert bad.end() == b""
            assert time.monotonic() - began >= 3
            good.socket.sendall(b"hi\n")
            pid = good.answer()
            wait_until(lambda: len(serving(server)) == 2)
            assert pid in serving(server)
        hung, *others = [each for each in seen if isinstance(each, events.WorkerHung)]
        assert not others, (hung, others)
        assert hung.seconds >= 3
        assert "in handle" in hung.stacks
        closed = closed_in_the_end(server)
        assert closed.pop("worker_died") == 1
        assert sum(closed.values()) == 1


def test_a_stopped_worker_does_not_count_as_hung(seen: list[events.Event]) -> None:
    with Server(Pid, ANY, workers=1, worker_timeout=3) as server:
        [stopped] = serving(server)
        slot = server._sockets.fleet.workers[0]  # type: ignore[attr-defined]
        stop(stopped)
        began = slot.last_turn_at
        # Each time that it would have hung it is found stopped.
        wait_until(lambda: slot.last_turn_at > began + 3)
        kill(stopped, signal.SIGCONT)
        with Caller(bound(server)) as caller:
            assert caller.ask() == stopped
        assert not any(isinstance(each, events.WorkerHung) for each in seen)


# Out of descriptors


class Greedy(StreamRequestHandler):
    """Has its worker be out of descriptors, or lets go of them again."""

    held: list[int] = []  # noqa: RUF012 - of the process

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"take\n":
                resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
                with contextlib.suppress(OSError):
                    while True:
                        self.held.append(os.dup(0))
            self.wfile.write(b"%d hi\n" % os.getpid())


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_what_a_worker_has_no_descriptor_for_is_dealt_to_another(engine: str) -> None:
    with Server(Greedy, ANY, workers=2, engine=engine) as server:
        every = [Caller(bound(server)) for _ in range(2)]
        poor = every[0].ask_any(b"take")
        rich = every[1].ask_any(b"hi")
        assert poor != rich
        for _ in range(10):
            every.append(Caller(bound(server)))
            assert every[-1].ask_any(b"hi") == rich
        close(every)
        assert closed_in_the_end(server) == {"peer_closed": 12}


# Kept going


def test_a_worker_that_dies_again_and_again_leaves_the_others_alone() -> None:
    with Server(Pid, ANY, workers=2) as server, Caller(bound(server)) as caller:
        safe = caller.ask()
        for _ in range(4):
            wait_until(lambda: len(serving(server)) == 2)
            [victim] = [pid for pid in serving(server) if pid != safe]
            kill(victim)
            wait_until(lambda victim=victim: victim not in serving(server))
            assert caller.ask() == safe
        wait_until(lambda: len(serving(server)) == 2)
        assert [each.restarts for each in workers(server) if each.pid != safe] == [4]


def hub_of_this_process() -> int:
    """Return the process of the hub; 0 while there is none."""
    for pid in children_of(os.getpid()):
        with contextlib.suppress(OSError):
            if b"manyhands.hub.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


def test_the_hub_is_made_again() -> None:
    with Server(Pid, ANY, workers=2) as server:
        victim = hub_of_this_process()
        kill(victim)
        wait_until(lambda: hub_of_this_process() not in {victim, 0})
        every = callers(server, 2)
        close(every)
        assert closed_in_the_end(server) == {"peer_closed": 2}
