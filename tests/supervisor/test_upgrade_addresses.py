"""An upgrade to a program that has other addresses, or has them in another order."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands.control.client import Client, Refused, Unreachable
from tests.supervisor.kit import Caller
from tests.support.programs import Program
from tests.support.waiting import wait_until

PROGRAM = """
import os, time
from pathlib import Path
from manyhands import Server
from manyhands.framing import FramedRequestHandler

class Echo(FramedRequestHandler):
    resumable = True

    def handle(self):
        while (line := self.read_text_line()) is not None:
            if line == "close":
                self.server.server_close()
            self.wfile.write(f"{os.getpid()} {line}\\n".encode())

if __name__ == "__main__":
    if Path("await").exists():
        # The third time: after the look, and the supervisor.
        with open("runs", "a+") as runs:
            runs.write(".")
            runs.seek(0)
            count = len(runs.read())
        while count > 2 and not Path("go").exists():
            time.sleep(0.01)
    addresses = [f"unix://{each}" for each in Path("addresses").read_text().split()]
    server = Server(Echo, *addresses, workers=2, engine="threads", control="control")
    server.run(lambda: print("serves", flush=True))
"""


class Service:
    """A program that serves the Unix sockets of which it reads at its start."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self._folder = folder
        self.wait_until_served()

    def wait_until_served(self) -> None:
        assert self.program.line() == "serves"

    def call(self, name: str) -> Caller:
        return Caller(str(self._folder / name), socket.AF_UNIX)

    def do(self, verb: str) -> Any:
        clients: list[Client] = []

        def reach() -> bool:
            try:
                clients.append(Client(str(self._folder / "control")))
            except Unreachable:
                return False
            return True

        wait_until(reach)
        with clients[0] as client:
            return client.call(verb)

    def upgrade(self, addresses: str) -> None:
        (self._folder / "addresses").write_text(addresses)
        self.program.send(signal.SIGUSR2)
        self.wait_until_served()

    def generation(self) -> int:
        number: int = self.do("status")["generation"]
        return number

    def open(self) -> int:
        books = self.do("status")["books"]
        assert books["accepted"] == books["open"] + books["closed"]
        count: int = books["open"]
        return count


@contextmanager
def service(folder: Path, addresses: str) -> Iterator[Service]:
    (folder / "service.py").write_text(PROGRAM)
    (folder / "addresses").write_text(addresses)
    with Program(["service.py"], folder) as program:
        yield Service(program, folder)
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_connections_go_on_at_their_own_address_and_end_where_it_is_gone(tmp_path: Path) -> None:
    with (
        service(tmp_path, "gone a b") as served,
        served.call("gone") as gone,
        served.call("a") as first,
        served.call("b") as second,
    ):
        before = {each.ask() for each in (gone, first, second)}
        served.upgrade("b new a")
        assert gone.end() == b""
        for each in (first, second):
            wait_until(lambda each=each: each.ask() not in before)  # type: ignore[misc]
        for name in ("a", "b", "new"):
            with served.call(name) as new:
                assert new.ask() not in before
        wait_until(lambda: served.open() == 2)
        # What else the supervisor has to do is done too.
        served.do("reload")
        assert served.generation() == 3


def test_those_of_a_closed_address_end_and_keep_nobody_out(tmp_path: Path) -> None:
    with (
        service(tmp_path, "a closed") as served,
        served.call("a") as kept,
        served.call("closed") as closing,
    ):
        before = {kept.ask(), closing.ask(b"close")}
        served.upgrade("a closed")
        assert closing.end() == b""
        wait_until(lambda: kept.ask() not in before)
        with served.call("a") as new:
            assert new.ask() not in before
        wait_until(lambda: served.open() == 1)


def test_those_of_before_serve_what_they_know_until_the_new_ones_do(tmp_path: Path) -> None:
    with service(tmp_path, "a b") as served, served.call("a") as first:
        first.ask()
        (tmp_path / "await").touch()
        served.upgrade("new b")
        # The new workers are still to come.
        with served.call("new") as new, served.call("b") as second:
            new.socket.sendall(b"hi\n")
            old = second.ask()
            assert served.generation() == 1
            (tmp_path / "go").touch()
            assert new.answer() != old


def test_a_new_one_is_had_from_the_look_on(tmp_path: Path) -> None:
    with service(tmp_path, "a") as served, served.call("a") as first, ExitStack() as stack:
        stopped = first.ask()
        os.kill(stopped, signal.SIGSTOP)
        # The upgrade waits for what was dealt to the stopped one.
        for _ in range(3):
            stack.enter_context(served.call("a"))
        (tmp_path / "addresses").write_text("a new")
        served.program.send(signal.SIGUSR2)
        wait_until(lambda: answers(tmp_path / "new"))
        with (
            socket.socket(socket.AF_UNIX) as late,
            pytest.raises(OSError, match="Address already in use"),
        ):
            late.bind(str(tmp_path / "new"))
        with served.call("new") as early:
            early.socket.sendall(b"hi\n")
            os.kill(stopped, signal.SIGCONT)
            served.wait_until_served()
            assert early.answer() != stopped


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        ("a taken", "cannot listen on taken .a live server answers there"),
        ("a nowhere/b", "its folder does not exist"),
        (" ".join(map(str, range(201))), "workers can serve 200 addresses, and these are 201"),
    ],
)
def test_addresses_that_cannot_be_had_leave_the_old_program(
    addresses: str, why: str, tmp_path: Path
) -> None:
    with (
        service(tmp_path, "a") as served,
        served.call("a") as caller,
        socket.socket(socket.AF_UNIX) as taken,
    ):
        before = caller.ask()
        taken.bind(str(tmp_path / "taken"))
        taken.listen()
        files = set(tmp_path.iterdir())
        (tmp_path / "addresses").write_text(addresses)
        with pytest.raises(Refused, match=why):
            served.do("upgrade")
        assert caller.ask() == before
        assert set(tmp_path.iterdir()) <= files
        # Later, when they can be had, it is done.
        served.upgrade("a b")
        with served.call("b") as new:
            assert new.ask() != before
