"""An upgrade: another program takes the supervisor's process over, with its listeners and its workers."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands.control.client import Client, Refused, Unreachable
from tests.supervisor.command import is_free
from tests.supervisor.kit import Caller, idle_timeout_of
from tests.support.processes import children_of, has_ended
from tests.support.programs import Program
from tests.support.waiting import PATIENCE, wait_until

HANDLER = """
import os
from manyhands import StreamRequestHandler

class Pid(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))
"""


class Served:
    """`manyhands serve` of the handler in a folder, and its operator."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.address = self._address()
        self.client = Client(str(folder / "control"))

    def _address(self) -> Any:
        where = self.program.line().removeprefix("listening on ")
        if where.startswith("unix"):
            name = where.removeprefix("unix://")
            return "\0" + name[1:] if name.startswith("@") else name
        host, _, port = where.removeprefix("tcp://").rpartition(":")
        return host, int(port)

    def call(self) -> Caller:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        return Caller(self.address, family)

    def status(self) -> Any:
        return self.client.call("status")

    def upgrade(self) -> None:
        """Have it upgraded; return when the new program has its own workers."""
        generation = self.status()["generation"]
        self.client.request("upgrade", timeout=60)
        assert self.program.line().startswith("listening on")
        self.client.close()
        wait_until(self._reach)
        wait_until(lambda: self.status()["generation"] > generation)

    def _reach(self) -> bool:
        """Connect to the control socket; return False while it is not there: clients come first."""
        try:
            self.client = Client(self.client.place)
        except Unreachable:
            return False
        return True


@contextmanager
def served(folder: Path, *words: str, bind: str = "tcp://127.0.0.1:0") -> Iterator[Served]:
    (folder / "shop.py").write_text(HANDLER)
    command = ["-m", "manyhands", "serve", "shop:Pid", "--bind", bind, "--workers", "2"]
    with Program([*command, "--control", str(folder / "control"), *words], folder) as program:
        yield Served(program, folder)


def test_callers_stay_and_the_books_go_on(tmp_path: Path) -> None:
    with served(tmp_path, "--reload-drain", "stay") as server, ExitStack() as stack:
        before = [stack.enter_context(server.call()) for _ in range(4)]
        asked = [each.ask() for each in before]
        pid = server.program.pid
        server.upgrade()
        assert server.status()["pid"] == pid
        # Those of before are where they were, and new ones are with new workers.
        assert [each.ask() for each in before] == asked
        with server.call() as new:
            assert new.ask() not in asked
        wait_until(lambda: server.status()["books"]["open"] == 4)
        books = server.status()["books"]
        assert books["accepted"] == 5
        assert books["closed"] == 1


def test_old_workers_are_asked_by_operators_as_before(tmp_path: Path) -> None:
    with served(tmp_path, "--reload-drain", "stay") as server, ExitStack() as stack:
        watching = stack.enter_context(Client(server.client.place))
        watching.call("watch", what=["stats", "events"])
        before = [stack.enter_context(server.call()) for _ in range(2)]
        asked = {each.ask() for each in before}
        for _ in range(2):
            server.upgrade()
            # Those between have no connection, and leave.
            wait_until(lambda: len(server.client.call("workers.list")["items"]) == 4)
            listed = server.client.call("connections.list")
            assert (listed["total"], listed["missing"]) == (2, [])
            stacks = server.client.call("stacks")
            assert {each["pid"] for each in stacks["items"]} == asked
            status = server.status()
            assert status["missing"] == []
            assert asked <= {each["pid"] for each in status["workers"] if "process" in each}
        [ended, _] = [each["id"] for each in listed["items"]]
        server.client.call("connections.close", id=ended)
        wait_until(lambda: server.status()["books"]["open"] == 1)


def test_connections_are_drained_where_a_reload_drains_them(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.call() as before:
        before.ask()
        server.upgrade()
        assert before.end() == b""
        wait_until(lambda: server.status()["servers"][0]["closed"] == {"drained": 1})


def test_what_ends_in_workers_of_two_programs_before_is_counted(tmp_path: Path) -> None:
    with served(tmp_path, "--reload-drain", "stay") as server, ExitStack() as stack:
        first = stack.enter_context(server.call())
        first.ask()
        server.upgrade()
        second = stack.enter_context(server.call())
        second.ask()
        server.upgrade()
        first.close()
        wait_until(lambda: server.status()["books"]["open"] == 1)
        second.close()
        wait_until(lambda: server.status()["books"]["open"] == 0)
        assert server.status()["servers"][0]["closed"] == {"peer_closed": 2}


def test_new_code_serves_after_it(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        (tmp_path / "shop.py").write_text(HANDLER.replace("os.getpid()", "4711"))
        server.upgrade()
        with server.call() as caller:
            assert caller.ask() == 4711


def test_a_program_that_cannot_be_imported_leaves_the_old_one(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.call() as before:
        asked = before.ask()
        (tmp_path / "shop.py").write_text("import nothing_of_this_name")
        with pytest.raises(Refused, match="shop cannot be imported"):
            server.client.request("upgrade", timeout=60)
        lines = iter(server.program.error_line, "")
        assert any("not upgraded, the old program goes on" in line for line in lines)
        assert before.ask() == asked
        (tmp_path / "shop.py").write_text(HANDLER)
        server.upgrade()


def test_sigusr2_asks_for_it(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.program.send(signal.SIGUSR2)
        assert server.program.line().startswith("listening on")
        with server.call() as caller:
            caller.ask()
        server.program.send(signal.SIGTERM)
        assert server.program.wait() == 0


def test_a_unix_path_is_the_same_file_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with served(tmp_path, bind=f"unix://{path}") as server:
        file = path.stat().st_ino
        server.upgrade()
        assert path.stat().st_ino == file
        with server.call() as caller:
            caller.ask()
        server.program.send(signal.SIGTERM)
        assert server.program.wait() == 0
    assert not path.exists()


def test_the_limit_of_an_address_counts_those_of_before(tmp_path: Path) -> None:
    words = ("--reload-drain", "stay", "--max-connections-per-ip", "2")
    with served(tmp_path, *words) as server, server.call() as first, server.call() as second:
        first.ask()
        second.ask()
        server.upgrade()
        with server.call() as third:
            assert third.end() == b""
        second.close()
        wait_until(lambda: server.status()["books"]["open"] == 1)
        with server.call() as fourth:
            fourth.ask()


def test_a_limit_that_an_operator_has_set_holds_on(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.client.request("limits.set", {"values": {"max_connections": 77}})
        server.upgrade()
        limits = server.client.call("limits.get")["items"]
        [limit] = [each["value"] for each in limits if each["name"] == "max_connections"]
        assert limit == 77


def test_a_deadline_that_an_operator_has_set_holds_in_new_workers_too(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.client.call("limits.set", values={"idle_timeout": "7m"})
        for _ in range(2):
            server.upgrade()
            with server.call() as caller:
                assert idle_timeout_of(caller, server.client) == 420
        server.client.call("reload")
        with server.call() as caller:
            assert idle_timeout_of(caller, server.client) == 420


def test_a_worker_of_before_that_dies_is_counted(tmp_path: Path) -> None:
    with served(tmp_path, "--reload-drain", "stay") as server, server.call() as before:
        asked = before.ask()
        server.upgrade()
        os.kill(asked, signal.SIGKILL)
        wait_until(lambda: server.status()["servers"][0]["closed"] == {"worker_died": 1})
        with server.call() as new:
            new.ask()


def test_no_descriptor_is_left_behind_by_several(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        counts = []
        for _ in range(3):
            server.upgrade()
            workers = server.client.call("workers.list")["items"]
            wait_until(lambda: len(server.client.call("workers.list")["items"]) == 2)
            assert {each["generation"] for each in workers} >= {server.status()["generation"]}
            counts.append(len(list(Path(f"/proc/{server.program.pid}/fd").iterdir())))
        assert counts[0] == counts[1] == counts[2], json.dumps(counts)


CLOSES = """
import os
from manyhands import StreamRequestHandler

class Pid(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line == b"close\\n":
                self.server.server_close()
            self.wfile.write(b"%d %s" % (os.getpid(), line))
"""


def test_an_address_that_a_handler_has_closed_stays_closed(tmp_path: Path) -> None:
    with served(tmp_path, "--reload-drain", "stay", "--bind", "tcp://127.0.0.1:0") as server:
        _, _, port = server.program.line().rpartition(":")
        (tmp_path / "shop.py").write_text(CLOSES)
        server.client.request("reload", timeout=60)
        with server.call() as kept:
            before = kept.ask()
            with Caller(("127.0.0.1", int(port))) as closing:
                assert closing.ask(b"close") > 0
            wait_until(lambda: is_free(("127.0.0.1", int(port))))
            for _ in range(2):
                server.upgrade()
                assert not server.program.has_line()
                assert is_free(("127.0.0.1", int(port)))
                with server.call() as caller:
                    assert caller.ask() != before
            assert kept.ask() == before
        server.program.send(signal.SIGTERM)
        assert server.program.wait() == 0


def test_a_program_that_cannot_have_its_control_socket_serves_on(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.call() as before:
        before.ask()
        place = Path(server.client.place)
        server.client.request("upgrade", timeout=60)
        # While the old program serves still, something else is put in the place of its socket.
        place.unlink()
        place.mkdir()
        assert server.program.line().startswith("listening on")
        lines = iter(server.program.error_line, "")
        assert any("no control socket: " in line for line in lines)
        with server.call() as new:
            new.ask()


@pytest.mark.parametrize("bind", ["unix://{name}", "unix://@{name}"])
def test_names_of_unix_sockets_that_are_of_no_file_stay_too(tmp_path: Path, bind: str) -> None:
    words = ("--reload-drain", "stay", "--max-rate", "1000")
    with served(tmp_path, *words, bind=bind.format(name=tmp_path / "name")) as server:
        for number in range(2):
            with socket.socket(socket.AF_UNIX) as caller:
                # Clients have such names as well, be they text or not.
                caller.bind(b"\0%s\xff%d" % (os.fsencode(tmp_path), number))
                caller.settimeout(PATIENCE)
                caller.connect(server.address)
                caller.sendall(b"hi\n")
                before = caller.recv(100)
                server.upgrade()
                caller.sendall(b"hi\n")
                assert before == caller.recv(100) != b""
                wait_until(lambda: server.status()["books"]["open"] == 1)
            wait_until(lambda: server.status()["books"]["open"] == 0)


WAITS = (
    """
import os, time
open(f"begun {os.getpid()}", "w").close()
while not os.path.exists(f"go {os.getpid()}"):
    time.sleep(0.01)
"""
    + HANDLER
)
"""Waits when it is imported."""


def begun(folder: Path) -> set[int]:
    """Return the processes that wait while they import the program."""
    return {int(each.name.removeprefix("begun ")) for each in folder.glob("begun *")}


def test_a_template_that_is_to_come_at_that_moment_ends_with_its_generation(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        generation = server.status()["generation"]
        (tmp_path / "shop.py").write_text(WAITS)
        [template] = [each for each in children_of(server.program.pid) if children_of(each)]
        os.kill(template, signal.SIGKILL)
        wait_until(lambda: begun(tmp_path))
        [coming] = begun(tmp_path)
        (tmp_path / "shop.py").write_text(HANDLER)
        server.upgrade()
        assert server.status()["generation"] > generation
        (tmp_path / f"go {coming}").touch()
        wait_until(lambda: has_ended(coming))


def test_the_end_of_the_server_is_that_of_a_look_at_a_program(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        (tmp_path / "shop.py").write_text(WAITS)
        server.program.send(signal.SIGUSR2)
        wait_until(lambda: begun(tmp_path))
        processes = children_of(server.program.pid)
        assert begun(tmp_path) <= set(processes)
        server.program.send(signal.SIGTERM)
        assert server.program.wait() == 0
        wait_until(lambda: all(map(has_ended, processes)))
