"""SIGHUP: the terminal of a server has gone, or an operator asks for a reload."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, events
from tests.support import (
    Authority,
    Echo,
    Program,
    ask,
    bound,
    call,
    everything,
    write_handlers,
)
from tests.support.programs import environment
from tests.support.terminals import AT_A_TERMINAL, UNDER_NOHUP
from tests.support.waiting import PATIENCE

NOTHING = "manyhands: SIGHUP came, and there is nothing to reload"


class ServedAtATerminal:
    """`manyhands serve` with a controlling terminal, which can be closed."""

    def __init__(self, folder: Path, engine: str, before: str = "", *options: str) -> None:
        write_handlers(folder)
        self._terminal, screen = os.openpty()
        self._is_open = True
        serve = ["-m", "manyhands", "serve", "handlers:Busy", "--bind", "tcp://127.0.0.1:0"]
        words = [
            "-c",
            before + AT_A_TERMINAL,
            os.ttyname(screen),
            *serve,
            "--engine",
            engine,
            *options,
        ]
        self.program = Program(words, folder)
        self.address = ("127.0.0.1", int(self.program.line().rpartition(":")[2]))
        os.close(screen)

    def close_terminal(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._terminal)

    def end(self) -> None:
        self.close_terminal()
        self.program.__exit__()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    started: list[ServedAtATerminal] = []

    def start(engine: str = "threads", before: str = "", *options: str) -> ServedAtATerminal:
        started.append(ServedAtATerminal(tmp_path, engine, before, *options))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_terminal_that_is_closed_ends_the_server_gracefully(served: Any, engine: str) -> None:
    here = served(engine)
    with call(here.address) as peer:
        assert int(peer.recv(20))
        here.close_terminal()
        assert "waits up to 30 s for 1 conversation" in here.program.error_line()
        peer.sendall(b"in time\n")
        assert everything(peer) == b"finished in time\n"
    assert (here.program.wait(), here.program.errors()) == (0, "")


def test_a_terminal_that_is_closed_with_the_output_on_it_is_no_traceback(tmp_path: Path) -> None:
    write_handlers(tmp_path)
    terminal, screen = os.openpty()
    name = os.ttyname(screen)
    serve = ["-m", "manyhands", "serve", "handlers:Echo", "--bind", "tcp://127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, name, *serve],
        stdin=screen,
        stdout=screen,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**environment(), "PYTHONUNBUFFERED": "1"},  # writes even what is empty
        start_new_session=True,
    ) as process:
        os.close(screen)
        said = b""
        while b"\n" not in said:
            said += os.read(terminal, 1000)
        os.close(terminal)
        try:
            assert process.communicate(timeout=PATIENCE)[1] == ""
        finally:
            process.kill()
    # Where nothing is left to be written the end is as graceful as any. The first releases of 3.13 write what
    # is empty too, and learn so that the terminal has gone; 3.14 does not.
    assert process.returncode in {0, 128 + signal.SIGHUP}


def test_an_operator_s_sighup_stops_nothing_while_the_terminal_is_there(served: Any) -> None:
    here = served()
    here.program.send(signal.SIGHUP)
    assert here.program.error_line() == NOTHING
    with call(here.address) as peer:
        peer.sendall(b"still there\n")
        assert everything(peer).endswith(b"finished still there\n")


def test_under_nohup_a_terminal_that_is_closed_is_no_concern_of_the_server(served: Any) -> None:
    here = served(before=UNDER_NOHUP)
    here.close_terminal()
    here.program.send(signal.SIGHUP)
    with call(here.address) as peer:
        peer.sendall(b"still there\n")
        assert everything(peer).endswith(b"finished still there\n")
    here.program.send(signal.SIGTERM)
    assert (here.program.wait(), here.program.errors()) == (0, "")


def test_under_nohup_certificates_are_reloaded_all_the_same(
    served: Any, tmp_path: Path, authority: Authority
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    here = served("threads", UNDER_NOHUP, "--certfile", certfile, "--keyfile", keyfile)
    here.close_terminal()
    assert "the certificates were reloaded" in here.program.error_line()
    here.program.send(signal.SIGHUP)
    assert "the certificates were reloaded" in here.program.error_line()


def test_a_second_sighup_of_a_terminal_that_has_gone_is_no_hurry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A shell tells its jobs, and the kernel tells them once more when the shell has ended.
    is_there = [True]
    monkeypatch.setattr("manyhands.server.process.has_controlling_terminal", lambda: is_there[0])
    server = Server(Echo, "tcp://127.0.0.1:0")
    peers: list[socket.socket] = []

    def announce() -> None:
        peers.append(call(bound(server)))
        peers[0].sendall(b"the beginning of")
        is_there[0] = False
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)

    def finish(event: events.Event) -> None:
        if isinstance(event, events.Draining):
            peers[0].sendall(b" a line\n")
            peers[0].shutdown(socket.SHUT_WR)

    end = events.hub.subscribe(finish)
    try:
        assert server.run(announce) == []
        assert everything(peers[0]) == b"the beginning of a line\n"
    finally:
        end()
        peers[0].close()


def test_without_a_terminal_a_sighup_is_answered_in_a_line(tmp_path: Path, engine: str) -> None:
    write_handlers(tmp_path)
    serve = ["-m", "manyhands", "serve", "handlers:Echo", "--bind", "tcp://127.0.0.1:0"]
    with Program([*serve, "--engine", engine], tmp_path) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        for _ in range(2):
            program.send_to_group(signal.SIGHUP)
            assert program.error_line() == NOTHING
            assert ask(address) == b"hello\n"
        program.send(signal.SIGTERM)
        assert (program.wait(), program.errors()) == (0, "")


@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda *_: None])
def test_a_program_s_own_handler_of_sighup_is_left_alone(before: Any) -> None:
    had = signal.signal(signal.SIGHUP, before)
    try:
        meanwhile: list[Any] = []
        server = Server(Echo, "tcp://127.0.0.1:0")

        def announce() -> None:
            meanwhile.append(signal.getsignal(signal.SIGHUP))
            server.stop()

        server.run(announce)
        assert meanwhile == [before]
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, had)


def test_a_program_that_runs_a_server_is_told_by_an_event(seen: list[events.Event]) -> None:
    server = Server(Echo, "tcp://127.0.0.1:0")
    before = signal.getsignal(signal.SIGHUP)

    def announce() -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    def stop_when_told(event: events.Event) -> None:
        if isinstance(event, events.NothingToReload):
            server.stop()

    end = events.hub.subscribe(stop_when_told)
    try:
        server.run(announce)
    finally:
        end()
    assert [event for event in seen if isinstance(event, events.NothingToReload)]
    assert signal.getsignal(signal.SIGHUP) is before
