"""Programs that serve with workers by `Server.run`: what they find there, and what they do at their end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervisor.kit import Caller
from tests.support.programs import Program
from tests.support.waiting import wait_until

PROGRAM = """
{first}
import os
from manyhands import Server, StreamRequestHandler

WORD = b"old"

class Pid(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))

if __name__ == "__main__":
    server = Server(Pid, "tcp://127.0.0.1:0", workers=2, engine="{engine}", drain_timeout=5)
    server.run(lambda: print(server.addresses[0].port, flush=True))
    print("a worker" if server.is_worker else "the supervisor", flush=True)
"""

PATCHED = "from gevent import monkey; monkey.patch_all()"


@contextmanager
def running(
    folder: Path, first: str = "", engine: str = "threads", launcher: tuple[str, ...] = ()
) -> Iterator[tuple[Program, int]]:
    file = folder / "program.py"
    file.write_text(PROGRAM.format(first=first, engine=engine))
    with Program([*launcher, str(file)], folder) as program:
        yield program, int(program.line())


def asked(port: int) -> int:
    with Caller(("127.0.0.1", port)) as caller:
        return caller.ask()


@pytest.mark.parametrize(
    ("first", "engine"),
    [("", "threads"), ("", "fibers"), (PATCHED, "threads"), (PATCHED, "fibers")],
)
def test_a_program_is_reloaded_whatever_its_threads_are(
    tmp_path: Path, first: str, engine: str
) -> None:
    with running(tmp_path, first, engine) as (program, port):
        before = {asked(port) for _ in range(4)}
        assert len(before) == 2
        program.send(signal.SIGHUP)
        wait_until(lambda: not before & {asked(port) for _ in range(2)})
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_it_goes_on_after_run_in_the_supervisor_and_in_workers_that_have_started_it_anew(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as (program, port):
        before = {asked(port) for _ in range(4)}
        program.send(signal.SIGHUP)
        # The first workers are copies of the program, which is the supervisor's to end.
        wait_until(lambda: not before & {asked(port) for _ in range(2)})
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert sorted(program.lines_left()) == ["a worker", "a worker", "the supervisor"]


WITH_A_THREAD = (
    "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
)


@pytest.mark.parametrize("first", ["", WITH_A_THREAD])
def test_it_has_its_own_workers_under_run_too(tmp_path: Path, first: str) -> None:
    launcher = ("-m", "manyhands", "run", "--control", str(tmp_path / "control"))
    with running(tmp_path, first, launcher=launcher) as (program, port):
        before = {asked(port) for _ in range(4)}
        program.send(signal.SIGHUP)
        # The launcher is in each process that starts the program anew, and is not to be the template there.
        wait_until(lambda: not before & {asked(port) for _ in range(2)})
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.lines_left().count("the supervisor") == 1
        assert not program.errors()
