"""A server with workers: dealt connections, exact limits, books that balance, workers that are replaced."""

import socket
import ssl
from pathlib import Path

import pytest

from manyhands import DatagramRequestHandler, Server, StreamRequestHandler
from manyhands.proxy import encode_v2
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
from tests.support.processes import stop
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"


@pytest.mark.parametrize("engine", ENGINES)
def test_long_connections_are_dealt_out_evenly(engine: str) -> None:
    with Server(Pid, ANY, workers=3, engine=engine) as server:
        every = callers(server, 9)
        by_worker = [each.ask() for each in every]
        assert sorted(by_worker.count(pid) for pid in set(by_worker)) == [3, 3, 3]
        assert set(by_worker) == set(serving(server))
        assert [each.open for each in workers(server)] == [3, 3, 3]
        close(every)
        assert server.wait_for_connections(0, PATIENCE)
    assert server.info().closed == {"peer_closed": 9}
    assert is_balanced(server)


def test_a_sequential_worker_serves_one_client_at_a_time() -> None:
    with Server(Pid, ANY, workers=2, engine="sequential") as server:
        first, second = callers(server, 2)
        third = Caller(bound(server))
        third.socket.sendall(b"hi\n")
        first.close()
        assert third.answer() in serving(server)
        close([second, third])


def test_a_unix_path_is_bound_once(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with Server(Pid, f"unix://{path}", workers=2):
        every = [Caller(str(path), socket.AF_UNIX) for _ in range(4)]
        assert len({each.ask() for each in every}) == 2
        close(every)
    assert not path.exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_is_killed_is_replaced_and_what_it_had_begun_has_ended(engine: str) -> None:
    with Server(Pid, ANY, workers=2, engine=engine) as server:
        every = callers(server, 4)
        victim = every[0].ask()
        kill(victim)
        wait_for_another(server, victim)
        wait_until(lambda: server.info().closed == {"worker_died": 2})
        assert {each.ask() for each in every[1::2]} <= set(serving(server))
        with Caller(bound(server)) as new:
            assert new.ask() in serving(server)
        close(every)
        assert is_balanced(server)


def test_what_a_dead_worker_had_not_begun_is_dealt_again() -> None:
    with Server(Pid, ANY, workers=2, max_threads=1) as server:
        first, second = callers(server, 2)
        # Both are full, so these wait in their channels.
        waiting = [Caller(bound(server)) for _ in range(8)]
        for each in waiting:
            each.socket.sendall(b"hi\n")
            each.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: server.info().accepted == 10)
        victim = first.ask()
        kill(victim)
        second.close()
        assert victim not in {each.answer() for each in waiting}
        close([first, *waiting])
        assert server.wait_for_connections(0, PATIENCE)
        assert server.info().closed == {"worker_died": 1, "peer_closed": 9}


def test_the_cap_holds_over_all_workers() -> None:
    with Server(Pid, ANY, workers=3, max_connections=4, when_full="refuse") as server:
        every = callers(server, 4)
        with Caller(bound(server)) as fifth:
            assert fifth.end() == b""
        every.pop().close()
        assert server.wait_for_connections(3, PATIENCE)
        every += callers(server, 1)
        close(every)
        assert server.wait_for_connections(0, PATIENCE)
        assert server.info().closed == {"peer_closed": 5, "refused_full": 1}


def test_the_cap_of_an_address_holds_over_all_workers() -> None:
    with Server(Pid, ANY, workers=2, max_connections_per_ip=3) as server:
        every = callers(server, 3)
        with Caller(bound(server)) as fourth:
            assert fourth.end() == b""
        close(every)
        assert server.wait_for_connections(0, PATIENCE)
        assert server.info().closed["refused_full_for_address"] == 1


def test_the_address_in_a_proxy_header_counts_over_all_workers() -> None:
    header = encode_v2(("192.0.2.7", 4711), ("192.0.2.1", 80))
    with Server(
        Pid, ANY, workers=2, max_connections_per_ip=2, proxy_protocol=True, handshake_timeout=20
    ) as server:
        every, asked = [Caller(bound(server)) for _ in range(3)], set()
        for each in every[:2]:
            each.socket.sendall(header)
            asked.add(each.ask())
        assert asked == set(serving(server))
        every[2].socket.sendall(header)
        assert every[2].end() == b""
        close(every)
        assert server.wait_for_connections(0, PATIENCE)
        assert server.info().closed == {"peer_closed": 2, "refused_full_for_address": 1}


def test_a_tls_session_is_resumed_on_another_worker(authority: Authority, tmp_path: Path) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    with Server(Pid, "tls://127.0.0.1:0", workers=2, certfile=certfile, keyfile=keyfile) as server:
        context = authority.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        asked, every, session = [], [], None
        for _ in range(2):
            # The first one stays, so that the other worker has fewer.
            plain = socket.create_connection(bound(server), PATIENCE)
            secret = context.wrap_socket(plain, server_hostname="localhost", session=session)
            secret.sendall(b"hi\n")
            asked.append((int(secret.recv(100).split()[0]), secret.session_reused))
            every.append(secret)
            session = secret.session
        assert [reused for _, reused in asked] == [False, True]
        assert {pid for pid, _ in asked} == set(serving(server))
        for secret in every:
            secret.close()


class Sum(DatagramRequestHandler):
    """Answers a datagram with its length."""

    def handle(self) -> None:
        self.wfile.write(b"%d" % len(self.rfile.read()))


def test_datagrams_are_served_by_all_workers() -> None:
    with Server(Sum, "udp://127.0.0.1:0", workers=2) as server:
        for number in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(PATIENCE)
                sender.sendto(b"x" * number, bound(server))
                assert sender.recv(100) == b"%d" % number


def test_datagrams_that_come_while_their_worker_is_down_are_served_by_its_successor() -> None:
    with Server(Sum, "udp://127.0.0.1:0", workers=1) as server:
        [victim] = serving(server)
        stop(victim)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto(b"four", bound(server))
            kill(victim)
            assert sender.recv(100) == b"4"


class Raises(StreamRequestHandler):
    """Cannot serve."""

    def handle(self) -> None:
        raise ConnectionAbortedError


def test_the_reason_of_an_end_is_that_of_its_worker() -> None:
    with Server(Raises, ANY, workers=2) as server:
        with Caller(bound(server)) as caller:
            assert caller.end() == b""
        assert server.wait_for_connections(0, PATIENCE)
        assert list(server.info().closed) == ["peer_reset"]
