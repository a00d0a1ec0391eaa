"""Rooms, connections and the exchange of a server with workers: for its handlers, and for the program."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server
from tests.dealing.kit import Client, hang_up
from tests.hub.program import Talker
from tests.supervisor.command import shop
from tests.supervisor.kit import ENGINES, kill, serving, wait_for_another
from tests.support.processes import children_of
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"


@contextmanager
def several_clients(address: Any, *names: str) -> Iterator[list[Client]]:
    """Clients of the workers in turn, who are members of a room."""
    with contextlib.ExitStack() as stack:
        every = []
        for name in names:
            client = Client(address)
            stack.callback(hang_up, client.socket)
            assert client.ask(f"join red {name}") == "True"
            every.append(client)
        yield every


def hub() -> int:
    """Return the process of the hub: this one is the supervisor."""
    (found,) = [
        pid
        for pid in children_of(os.getpid())
        if b"manyhands.hub.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_handlers_and_the_program_reach_the_clients_of_all_workers(engine: str) -> None:
    names = ["anna", "bob", "carl", "dora"]
    with (
        Server(Talker, ANY, workers=2, engine=engine, idle_timeout=None) as server,
        several_clients(bound(server), *names) as several,
    ):
        anna, bob, carl, dora = several
        assert anna.ask("tell red hello") == "3"
        assert bob.hear() == carl.hear() == dora.hear() == "hello"
        assert dora.ask("members red") == str(names)
        for client in (bob, carl, dora):
            assert anna.ask(f"send {client.number} psst") == "True"
            assert client.hear() == "psst"
        assert server.tell("red", b"of the program\n") == 4
        assert server.connections.send_all(b"to all\n") == 4
        assert [member.name for member in server.members("red")] == names
        assert server.connections[carl.number].send(b"to carl\n")
        assert server.connections.get(carl.number + 100) is None
        for client in several:
            assert client.hear() == "of the program"
            assert client.hear() == "to all"
        assert carl.hear() == "to carl"
        assert anna.ask("subscribe time") == "subscribed"
        assert bob.ask("request time now") == dora.ask("request time now") == "to now"
        assert server.exchange.request("time", b"then", timeout=PATIENCE) == b"to then"


def test_a_hub_that_is_killed_is_made_again_and_the_workers_come_back_to_it() -> None:
    with (
        Server(Talker, ANY, workers=2, idle_timeout=None) as server,
        several_clients(bound(server), "anna", "bob") as (anna, bob),
    ):
        killed = hub()
        kill(killed)
        wait_until(lambda: killed not in children_of(os.getpid()))
        wait_until(lambda: anna.ask("members red") == "['anna', 'bob']")
        wait_until(lambda: len(server.members("red")) == 2)
        assert anna.ask("tell red again") == "1"
        assert bob.hear() == "again"


def test_a_worker_that_is_killed_leaves_its_rooms_and_the_next_one_joins_them() -> None:
    with (
        Server(Talker, ANY, workers=2, idle_timeout=None) as server,
        several_clients(bound(server), "anna", "bob") as (anna, bob),
    ):
        assert {anna.pid, bob.pid} == set(serving(server))
        kill(bob.pid)
        wait_for_another(server, bob.pid)
        wait_until(lambda: anna.ask("members red") == "['anna']")
        with several_clients(bound(server), "carl", "dora"):
            assert anna.ask("members red") == "['anna', 'carl', 'dora']"


@pytest.mark.parametrize("engine", ENGINES)
def test_members_stay_with_the_last_generation_and_hear_those_of_the_next(
    tmp_path: Path, engine: str
) -> None:
    (tmp_path / "shop.py").write_text("from tests.hub.program import Talker as Echo\n")
    with (
        shop(tmp_path, "--engine", engine, "--reload-drain", "stay") as under_test,
        several_clients(under_test.address, "anna", "bob") as (anna, bob),
    ):
        assert under_test.reload()["generation"] == 2
        with several_clients(under_test.address, "carl") as (carl,):
            assert carl.pid not in {anna.pid, bob.pid}
            assert carl.ask("tell red hello") == "2"
            assert anna.hear() == bob.hear() == "hello"
            assert anna.ask("members red") == "['anna', 'bob', 'carl']"


def test_a_server_without_workers_loads_nothing_of_what_is_between_them() -> None:
    program = """
import sys
from manyhands import Server, StreamRequestHandler

class Silent(StreamRequestHandler):
    def handle(self): ...

with Server(Silent, "tcp://127.0.0.1:0") as server:
    server.tell("red", b"piece")
    server.exchange.publish("subject", b"message")
print(*(name for name in sys.modules if name.startswith("manyhands.")))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    rooms = {name.split(".")[1] for name in loaded.stdout.split()}
    assert "exchange" in rooms
    assert not rooms & {"dealing", "supervisor"}
    assert not [name for name in loaded.stdout.split() if name.startswith("manyhands.hub")]
