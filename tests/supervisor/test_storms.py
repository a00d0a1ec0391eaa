"""Limits and books of a server with workers in a storm of clients, while workers are killed."""

import contextlib
import random
import select
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from manyhands import Server, StreamRequestHandler
from tests.supervisor.kit import close, is_balanced, kill, serving
from tests.supervisor.programs import service
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"

KILLS = 8


class Greets(StreamRequestHandler):
    """Greets, and serves until its client has had enough."""

    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        self.rfile.read()
        self.wfile.write(b"bye\n")


class Storm:
    """Clients that call, one after the other, from many threads; each counts what it was told."""

    def __init__(self, server: Server) -> None:
        self._address = bound(server)
        self._lock = threading.Lock()
        self._greeted: set[socket.socket] = set()
        self.is_over = False
        self.most = 0
        """How many were greeted, and were neither cut off nor about to leave, at the most."""

        self.outcomes: Counter[bytes] = Counter()

    def run(self, clients: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._call, args=(each,)) for each in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def _call(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.is_over:
            told = self._call_once(dice.random() * 0.02)
            with self._lock:
                self.outcomes[told] += 1

    def _call_once(self, seconds: float) -> bytes:
        told = b""
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            client.connect(self._address)
            with contextlib.suppress(ConnectionError):
                told = client.recv(100)
                if told:
                    self._note_greeting(client)
                    try:
                        time.sleep(seconds)
                    finally:
                        with self._lock:
                            self._greeted.discard(client)
                    with contextlib.suppress(OSError):  # it is reset, if its worker was killed
                        client.shutdown(socket.SHUT_WR)
                    while data := client.recv(100):
                        told += data
        return told

    def _note_greeting(self, client: socket.socket) -> None:
        with self._lock:
            self._greeted.add(client)
            self.most = max(self.most, sum(map(_goes_on, self._greeted.copy())))


def _goes_on(client: socket.socket) -> bool:
    """Tell whether a connection has not ended: its worker may have been killed."""
    return not select.select([client], [], [], 0)[0]


@pytest.mark.parametrize("engine", ["threads", "fibers"])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_connections": 5, "when_full": "refuse"}, "refused_full"),
        ({"max_connections_per_ip": 5}, "refused_full_for_address"),
        ({"max_connections": 5}, None),
    ],
)
def test_there_are_never_more_than_the_cap_and_each_is_greeted_once(
    engine: str, limits: dict[str, object], reason: str | None
) -> None:
    with Server(Greets, ANY, workers=4, engine=engine, **limits) as server:  # type: ignore[arg-type]
        storm = Storm(server)
        threads = storm.run(16)
        dice = random.Random(7)
        for _ in range(KILLS):
            before = server.info().accepted
            wait_until(lambda before=before: server.info().accepted > before + 50)
            victims = serving(server)
            if victims:
                with contextlib.suppress(ProcessLookupError):  # it was the last one as well
                    kill(dice.choice(victims))
        storm.is_over = True
        for thread in threads:
            thread.join(PATIENCE)
        assert server.wait_for_connections(0, PATIENCE)
        assert storm.most <= 5
        assert set(storm.outcomes) <= {b"", b"hello\n", b"hello\nbye\n"}
        assert is_balanced(server)
        closed = server.info().closed
        assert closed.get("worker_died", 0) >= 1
        if reason is not None:
            assert closed[reason] >= 1
        assert server.info().accepted == sum(storm.outcomes.values())


def test_a_rate_holds_while_workers_are_killed() -> None:
    with Server(Greets, ANY, workers=2, max_rate=20) as server:
        storm, began = Storm(server), time.monotonic()
        threads = storm.run(8)
        for _ in range(4):
            wait_until(lambda: len(serving(server)) == 2)
            kill(serving(server)[0])
            wait_until(lambda: len(serving(server)) < 2)
        wait_until(lambda: server.info().accepted > 100)
        storm.is_over = True
        for thread in threads:
            thread.join(PATIENCE)
        greeted = sum(count for told, count in storm.outcomes.items() if told)
        # As many as a second's worth at once, and then as they come.
        assert greeted <= 20 + 20 * (time.monotonic() - began)
        assert is_balanced(server)


def test_out_of_descriptors_the_supervisor_rests_and_loses_nobody(tmp_path: Path) -> None:
    with service(
        tmp_path,
        """
        from tests.support.descriptors import none_left

        def wait_for(name):
            while not os.path.exists(name):
                time.sleep(0.01)

        def beside():
            wait_for("take")
            with none_left():
                print("taken", flush=True)
                wait_for("give")

        server = Server(Pid, ("127.0.0.1", 0), workers=2)
        """,
    ) as program:
        before = program.workers(2)
        (tmp_path / "take").touch()
        program.wait_for("taken")
        waiting = [program.call() for _ in range(10)]
        for each in waiting:
            each.socket.sendall(b"hi\n")
        victim = min(before)
        kill(victim)
        program.wait_for("AcceptPaused")
        (tmp_path / "give").touch()
        answers = {each.answer() for each in waiting}
        assert victim not in answers
        close(waiting)
        assert len(program.workers(2) - before) == 1
